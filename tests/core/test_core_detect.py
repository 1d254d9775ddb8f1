"""Levels: entered at a threshold, left a gap above it, on hosts with and without swap."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cgoom.core.detect import detect, raw_level, shortage
from cgoom.model import Amount, HostMemory, HostPolicy, Level, Threshold

from .examples import FEW, MIB, hosts, make_memory, memories, naive_level, naive_raw

HOST = HostPolicy()
LEVELS = st.sampled_from(Level)


@pytest.mark.parametrize(
    ("mem_pct", "swap_pct", "level"),
    [
        (11, 0, Level.OK),
        (10, 10, Level.WARN),
        (10, 11, Level.OK),
        (5, 6, Level.WARN),
        (6, 5, Level.WARN),
        (5, 5, Level.KILL),
        (0, 0, Level.KILL),
        (0, 100, Level.OK),
    ],
)
def test_both_memory_and_swap_must_be_short(mem_pct: int, swap_pct: int, level: Level) -> None:
    assert raw_level(HOST, make_memory(mem_pct, swap_pct)) == level


@pytest.mark.parametrize(("mem_pct", "level"), [(10.1, Level.OK), (10, Level.WARN), (5.1, Level.WARN), (5, Level.KILL)])
def test_without_swap_memory_alone_decides(mem_pct: float, level: Level) -> None:
    assert raw_level(HOST, make_memory(mem_pct)) == level


@pytest.mark.parametrize("swap_pct", [None, 0])
def test_a_level_is_held_until_the_gap_is_crossed(swap_pct: int | None) -> None:
    """Down to the kill line and up again: 5 % enters, 7 % still holds, 12 % still warns, above is well."""
    level, seen = Level.OK, []
    for mem_pct in (30, 11, 10, 6, 5, 5.1, 7, 7.1, 11, 12, 9, 12.1, 11):
        level = detect(HOST, level, make_memory(mem_pct, swap_pct))
        seen.append(level)
    ok, warn, kill = Level.OK, Level.WARN, Level.KILL
    assert seen == [ok, ok, warn, warn, kill, kill, kill, warn, warn, warn, warn, ok, ok]


def test_swap_alone_can_end_a_level() -> None:
    assert detect(HOST, Level.KILL, make_memory(3, 7)) == Level.KILL
    assert detect(HOST, Level.KILL, make_memory(3, 8)) == Level.WARN
    assert detect(HOST, Level.WARN, make_memory(3, 12)) == Level.WARN
    assert detect(HOST, Level.WARN, make_memory(3, 13)) == Level.OK


def test_amounts_in_bytes_count_as_they_are() -> None:
    host = HostPolicy(
        warn=Threshold(Amount(200 * MIB, False), Amount(10, True)),
        kill=Threshold(Amount(100 * MIB, False), Amount(10, True)),
        recover=Threshold(Amount(300 * MIB, False), Amount(10, True)),
    )
    for total in (1000 * MIB, 64_000 * MIB):
        memory = HostMemory(total, 100 * MIB, 0, 0)
        assert raw_level(host, memory) == Level.KILL
        assert raw_level(host, replace(memory, available_bytes=100 * MIB + 1)) == Level.WARN
        assert raw_level(host, replace(memory, available_bytes=200 * MIB + 1)) == Level.OK
        assert detect(host, Level.KILL, replace(memory, available_bytes=200 * MIB)) == Level.KILL
        assert detect(host, Level.KILL, replace(memory, available_bytes=200 * MIB + 1)) == Level.WARN
        assert detect(host, Level.WARN, replace(memory, available_bytes=300 * MIB + 1)) == Level.OK


def test_b15_low_swap_fires_enough_swap_does_not_and_no_swap_is_ignored() -> None:
    amount = Threshold(Amount(100, True), Amount(20, True))
    host = HostPolicy(warn=amount, kill=amount, recover=amount)
    total = 20_971_512 * 1024
    low = HostMemory(2 * total, total, total, (20_971_512 - 20_971_440) * 1024)
    assert raw_level(host, low) == Level.KILL
    assert raw_level(host, replace(low, swap_free_bytes=total // 2)) == Level.OK
    assert raw_level(host, replace(low, swap_total_bytes=0, swap_free_bytes=0)) == Level.KILL


@FEW
@given(hosts(), memories())
def test_the_raw_level_is_the_exact_one(host: HostPolicy, memory: HostMemory) -> None:
    assert raw_level(host, memory) == naive_raw(host, memory)


@FEW
@given(hosts(), LEVELS, memories())
def test_hysteresis_is_the_documented_one(host: HostPolicy, previous: Level, memory: HostMemory) -> None:
    assert detect(host, previous, memory) == naive_level(host, previous, memory)


@FEW
@given(hosts(), LEVELS, memories())
def test_a_level_rises_at_once_and_is_stable(host: HostPolicy, previous: Level, memory: HostMemory) -> None:
    level = detect(host, previous, memory)
    assert raw_level(host, memory) <= level <= max(previous, raw_level(host, memory))
    assert detect(host, level, memory) == level
    assert detect(host, Level.OK, memory) == raw_level(host, memory)


@FEW
@given(hosts(), LEVELS, LEVELS, memories(), st.integers(0, 100 * MIB))
def test_more_memory_or_a_calmer_past_never_mean_a_higher_level(
    host: HostPolicy, one: Level, other: Level, memory: HostMemory, more_bytes: int
) -> None:
    assert detect(host, min(one, other), memory) <= detect(host, max(one, other), memory)
    more = replace(memory, available_bytes=memory.available_bytes + more_bytes)
    assert detect(host, one, more) <= detect(host, one, memory)


@FEW
@given(st.lists(st.floats(5.01, 7, allow_nan=False), min_size=1, max_size=20))
def test_a_host_that_wavers_within_the_gap_changes_its_level_once(wavering: list[float]) -> None:
    levels = [detect(HOST, Level.OK, make_memory(5))]
    for mem_pct in wavering:
        levels.append(detect(HOST, levels[-1], make_memory(mem_pct)))
    assert set(levels) == {Level.KILL}


def test_a_shortage_is_told_in_numbers() -> None:
    assert shortage(HOST, Level.KILL, make_memory(4.8, 2)) == (
        "MemAvailable 4.8% (48.0M) <= 5%, SwapFree 2.0% (10.0M) <= 5%"
    )
    assert shortage(HOST, Level.WARN, make_memory(11)) == "MemAvailable 11.0% (110M) > 10%"
    assert shortage(HOST, Level.OK, make_memory(60, 5)) == "MemAvailable 60.0% (600M)"
    in_bytes = replace(HOST, kill=Threshold(Amount(512 * MIB, False), Amount(5, True)))
    assert shortage(in_bytes, Level.KILL, make_memory(4.8)) == "MemAvailable 4.8% (48.0M) <= 512M"


@FEW
@given(hosts(), LEVELS, memories())
def test_a_shortage_says_what_is_true(host: HostPolicy, level: Level, memory: HostMemory) -> None:
    text = shortage(host, level, memory)
    assert ("SwapFree" in text) == (level > Level.OK and memory.swap_total_bytes > 0)
    raw = raw_level(host, memory)
    if raw > Level.OK:
        assert ">" not in shortage(host, raw, memory)

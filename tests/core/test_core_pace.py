"""The next sample comes before the fastest filler can have reached the next threshold, within fixed bounds."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from cgoom.core.detect import detect, find_gap, raw_level
from cgoom.core.pace import (
    COOLING_LEAST_USEC,
    HELPLESS_USEC,
    LONGEST_USEC,
    SHORTEST_USEC,
    cooling_usec,
    next_sample_usec,
    spare_usec,
)
from cgoom.model import Amount, HostMemory, HostPolicy, Level

from .examples import FEW, MIB, hosts, make_memory, memories

FILLS = st.one_of(st.integers(1, 20_000 * MIB), st.integers(50 * MIB, 20_000 * MIB))
HOST = HostPolicy()


@pytest.mark.parametrize(
    ("memory", "fill_bytes_per_sec", "usec"),
    [
        (make_memory(60), 1000 * MIB, 500_000),  # 500 MiB to the warning
        (make_memory(10), 1000 * MIB, 50_000),  # 50 MiB from there to the kill
        (make_memory(8, 8), 1000 * MIB, 30_000),  # the farther of 30 MiB of memory and 15 MiB of swap
        (make_memory(8, 40), 100 * MIB, 1_000_000),  # 150 MiB of swap would take 1.5 s
        (make_memory(8, 20), 1000 * MIB, 50_000),  # memory is short already: 50 MiB of swap to the warning
        (make_memory(90), MIB, 1_000_000),
        (make_memory(10.05), 1000 * MIB, 1_000),
    ],
)
def test_the_time_is_the_distance_over_the_rate(memory: HostMemory, fill_bytes_per_sec: int, usec: int) -> None:
    assert next_sample_usec(HOST, memory, fill_bytes_per_sec) == pytest.approx(usec, rel=1e-4)


@FEW
@given(hosts(), memories(), st.one_of(FILLS, st.integers(-(2**63), 2**63)))
def test_it_never_leaves_its_bounds(host: HostPolicy, memory: HostMemory, fill_bytes_per_sec: int) -> None:
    usec = next_sample_usec(host, memory, fill_bytes_per_sec)
    assert isinstance(usec, int)
    assert 1_000 == SHORTEST_USEC <= usec <= LONGEST_USEC == 1_000_000
    if raw_level(host, memory) == Level.KILL:
        assert usec == HELPLESS_USEC


@FEW
@given(hosts(), memories(), FILLS, st.floats(0, 1))
def test_the_fastest_filler_is_not_missed(
    host: HostPolicy, memory: HostMemory, fill_bytes_per_sec: int, share: float
) -> None:
    """However a filler divides its bytes between memory and swap, the level is still the same just before."""
    raw = raw_level(host, memory)
    assume(raw < Level.KILL)
    usec = next_sample_usec(host, memory, fill_bytes_per_sec)
    assume(usec > SHORTEST_USEC)
    filled = fill_bytes_per_sec * (usec - 1) // 1_000_000
    to_swap = min(int(filled * share), memory.swap_free_bytes)
    later = replace(
        memory,
        available_bytes=max(0, memory.available_bytes - (filled - to_swap)),
        swap_free_bytes=memory.swap_free_bytes - to_swap,
    )
    assert raw_level(host, later) == raw


@FEW
@given(hosts(), memories(), FILLS)
def test_it_does_not_look_much_earlier_than_memory_alone_allows(
    host: HostPolicy, memory: HostMemory, fill_bytes_per_sec: int
) -> None:
    """An early sample costs power: on a host without swap the time is the whole of what the filler needs."""
    memory = replace(memory, swap_total_bytes=0, swap_free_bytes=0)
    raw = raw_level(host, memory)
    assume(raw < Level.KILL)
    usec = next_sample_usec(host, memory, fill_bytes_per_sec)
    assume(usec < LONGEST_USEC)
    filled = fill_bytes_per_sec * (usec + 1) // 1_000_000 + 1
    assert raw_level(host, replace(memory, available_bytes=max(0, memory.available_bytes - filled))) > raw


@FEW
@given(hosts(), memories(), FILLS, FILLS)
def test_a_faster_filler_never_means_a_later_sample(host: HostPolicy, memory: HostMemory, one: int, other: int) -> None:
    assert next_sample_usec(host, memory, max(one, other)) <= next_sample_usec(host, memory, min(one, other))


@pytest.mark.parametrize(
    ("memory", "fill_bytes_per_sec", "usec"),
    [
        (make_memory(5.5), 1000 * MIB, 30_000),  # of 55 MiB 25 stay, half of the threshold
        (make_memory(5.5, 6), 100 * MIB, 300_000),  # and the 5 MiB of swap to the threshold are less
        (make_memory(2, 80), 1000 * MIB, 375_000),  # 75 % of 500 MiB of swap
        (make_memory(2, 4), 1000 * MIB, 0),
        (make_memory(5.5), 0, 30_000 * 1000 * MIB),
    ],
)
def test_a_look_may_be_late_until_half_of_the_threshold_is_left(
    memory: HostMemory, fill_bytes_per_sec: int, usec: int
) -> None:
    assert spare_usec(HOST, memory, fill_bytes_per_sec) == pytest.approx(usec, rel=1e-4)


@pytest.mark.parametrize(
    ("memory", "fill_bytes_per_sec", "usec"),
    [
        (make_memory(6), 1000 * MIB, 10_000),  # half of 20 MiB from the end of a warning to its beginning
        (make_memory(6, 6), 1000 * MIB, 5_000),  # either of them ends it: half of 20 MiB of memory or 10 MiB of swap
        (make_memory(6), 100 * MIB, 20_000),
        (make_memory(4), 0, 20_000),
        (make_memory(4), 20_000 * MIB, 5_000),
    ],
)
def test_who_cools_down_looks_as_often_as_the_hysteresis_allows(
    memory: HostMemory, fill_bytes_per_sec: int, usec: int
) -> None:
    assert cooling_usec(HOST, memory, fill_bytes_per_sec) == pytest.approx(usec, rel=1e-4)


def test_swap_that_does_not_count_makes_nobody_look_more_often() -> None:
    host = HostPolicy(*(replace(each, swap_free=Amount(100, True)) for each in (HOST.warn, HOST.kill, HOST.recover)))
    assert cooling_usec(host, make_memory(6, 6), 1000 * MIB) == pytest.approx(10_000, rel=1e-4)


@FEW
@given(hosts(), memories(), FILLS, st.booleans())
def test_a_recovery_is_seen_before_it_is_undone(
    host: HostPolicy, memory: HostMemory, fill_bytes_per_sec: int, of_swap: bool
) -> None:
    """It goes half the hysteresis beyond it right after a look, and is taken again as fast as it can be."""
    usec = cooling_usec(host, memory, fill_bytes_per_sec)
    assume(usec > COOLING_LEAST_USEC)
    gaps = find_gap(host, memory)
    filled = fill_bytes_per_sec * usec // 1_000_000
    if of_swap:
        assume(host.kill.swap_free.of(memory.swap_total_bytes) < memory.swap_total_bytes)
        peak = host.kill.swap_free.of(memory.swap_total_bytes) + gaps[1] + gaps[1] // 2 + 1
        later = replace(memory, swap_free_bytes=peak - filled)
    else:
        peak = host.kill.mem_available.of(memory.total_bytes) + gaps[0] + gaps[0] // 2 + 1
        later = replace(memory, available_bytes=peak - filled)
    assert detect(host, Level.KILL, later) < Level.KILL

"""The module and the daemon never disagree on how short the host is."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from hypothesis import example, given, settings
from hypothesis import strategies as st

from cgoom.core.detect import detect, raw_level
from cgoom.core.pace import next_sample_usec
from cgoom.model import Amount, HostMemory, HostPolicy, Level, Threshold

from .pure import comes_near_c, detect_c, next_usec_c, raw_level_c

MANY = settings(max_examples=200, deadline=None)
LEVELS = st.sampled_from(Level)
# KiB; from a board to the largest machine there is.
TOTALS = st.one_of(st.sampled_from([1, 1000 << 10, 0xF5A3C]), st.integers(1, 1 << 36))
# Microseconds; as level.c has them.
LONGEST_USEC = {Level.OK: 1_000_000, Level.WARN: 100_000, Level.KILL: 10_000}


@st.composite
def amounts(draw: st.DrawFn, total_kib: int) -> Amount:
    """Whole percentages and sizes of whole KiB."""
    if draw(st.booleans()):
        return Amount(draw(st.integers(0, 100)), True)
    return Amount(draw(st.integers(0, total_kib)) << 10, False)


@st.composite
def near(draw: st.DrawFn, total_kib: int, lines_bytes: list[int]) -> int:
    """KiB of a part: anything, or at a line and just beside it."""
    line_kib = draw(st.sampled_from(lines_bytes)) >> 10
    beside = st.integers(-2, 2).map(lambda off: line_kib + off)
    return min(total_kib, max(0, draw(st.one_of(st.integers(0, total_kib), beside))))


def lines_of(total_bytes: int, low: Amount, warn: Amount, recover: Amount) -> list[int]:
    """Every line that a level is entered or left at, in bytes."""
    ends = [each.of(total_bytes) for each in (low, warn, recover)]
    return [*ends, ends[0] + max(0, ends[2] - ends[1])]


@st.composite
def hosts_and_memories(draw: st.DrawFn, count: int = 1) -> tuple[HostPolicy, list[HostMemory]]:
    """Thresholds in any order and of any kind, and samples of one host near them."""
    mem_kib, swap_kib = draw(TOTALS), draw(st.one_of(st.just(0), TOTALS))
    kill, warn, recover = (Threshold(draw(amounts(mem_kib)), draw(amounts(swap_kib))) for _ in range(3))
    mem_lines = lines_of(mem_kib << 10, kill.mem_available, warn.mem_available, recover.mem_available)
    swap_lines = lines_of(swap_kib << 10, kill.swap_free, warn.swap_free, recover.swap_free)
    memories = [
        HostMemory(
            mem_kib << 10,
            draw(near(mem_kib, mem_lines)) << 10,
            swap_kib << 10,
            draw(near(swap_kib, swap_lines)) << 10 if swap_kib else 0,
        )
        for _ in range(count)
    ]
    return HostPolicy(warn, kill, recover), memories


@MANY
@given(hosts_and_memories())
@example((HostPolicy(), [HostMemory(1000 << 20, 50 << 20, 0, 0)]))
@example((HostPolicy(), [HostMemory(1000 << 20, (50 << 20) + 1024, 0, 0)]))
def test_one_sample_has_one_level(case: tuple[HostPolicy, list[HostMemory]]) -> None:
    host, (memory,) = case
    assert raw_level_c(host, memory) == raw_level(host, memory)


@MANY
@given(hosts_and_memories(), LEVELS)
def test_every_step_is_the_same(case: tuple[HostPolicy, list[HostMemory]], previous: Level) -> None:
    host, (memory,) = case
    assert detect_c(host, previous, memory) == detect(host, previous, memory)


@MANY
@given(hosts_and_memories(count=12))
def test_a_sequence_takes_the_same_course(case: tuple[HostPolicy, list[HostMemory]]) -> None:
    host, memories = case
    ours = theirs = Level.OK
    for memory in memories:
        ours, theirs = detect(host, ours, memory), detect_c(host, theirs, memory)
        assert ours == theirs


@MANY
@given(TOTALS, st.integers(0, 100 * 10_000), LEVELS, st.integers(-1, 1))
def test_a_fraction_of_a_percent_is_the_same_on_the_line_and_beside_it(
    total_kib: int, ppm: int, previous: Level, off_kib: int
) -> None:
    amount = Threshold(Amount(ppm / 10_000, True), Amount(0, True))
    host = HostPolicy(amount, amount, amount)
    available_kib = min(total_kib, max(0, total_kib * ppm // 1_000_000 + off_kib))
    memory = HostMemory(total_kib << 10, available_kib << 10, 0, 0)
    assert detect_c(host, previous, memory) == detect(host, previous, memory)


@MANY
@given(hosts_and_memories(), st.integers(1 << 20, 1 << 40))
def test_the_next_look_is_never_later_than_the_daemons(
    case: tuple[HostPolicy, list[HostMemory]], fill_bytes_per_sec: int
) -> None:
    host, (memory,) = case
    fill_bytes_per_sec &= ~1023
    level = raw_level(host, memory)
    found = next_usec_c(host, level, memory, fill_bytes_per_sec)
    assert found <= LONGEST_USEC[level]
    if level == Level.KILL:
        assert found == LONGEST_USEC[level]
        return
    wanted = next_sample_usec(host, memory, fill_bytes_per_sec)
    # A KiB of rounding on either side, and the daemon's shortest sleep, which here is the kernel's tick.
    slack_usec = 1024 * 1_000_000 // fill_bytes_per_sec + 1
    assert found <= wanted + slack_usec
    assert found >= min(wanted, LONGEST_USEC[level]) - max(slack_usec, 1000)


def test_a_level_that_is_held_is_looked_at_often() -> None:
    memory = HostMemory(1000 << 20, 60 << 20, 0, 0)
    assert detect_c(HostPolicy(), Level.KILL, memory) == Level.KILL
    assert next_usec_c(HostPolicy(), Level.KILL, memory, 1 << 20) == LONGEST_USEC[Level.KILL]
    ample = replace(memory, available_bytes=1000 << 20)
    assert next_usec_c(HostPolicy(), Level.WARN, ample, 1 << 20) == LONGEST_USEC[Level.WARN]
    assert next_usec_c(HostPolicy(), Level.OK, ample, 1 << 20) == LONGEST_USEC[Level.OK]


# Microseconds; as the header has it.
NEAR_USEC = 100_000
MIB = 1 << 20
FILL = 1000 * MIB  # bytes per second


def at_distance(usec: int) -> HostMemory:
    """A host that can be at its warning after so many microseconds at the earliest."""
    total = 100_000 * MIB
    return HostMemory(total, total // 10 + FILL * usec // 1_000_000, 0, 0)


def tell_near(course: Sequence[tuple[Level, int]]) -> list[int]:
    """The distances of this course at which the module says that a threshold comes near."""
    told, near_usec = [], 0
    for level, usec in course:
        is_told, near_usec = comes_near_c(HostPolicy(), level, at_distance(usec), FILL, near_usec)
        told += [usec] * is_told
    return told


def test_near_is_told_at_the_line_and_at_each_half() -> None:
    down = [(Level.OK, usec) for usec in range(500_000, 0, -1000)]
    assert tell_near(down) == [100_000, 50_000, 25_000, 12_000]
    assert tell_near([*down, *reversed(down), *down]) == [100_000, 50_000, 25_000, 12_000] * 2
    assert tell_near([(Level.OK, usec) for usec in (500_000, 99_000, 120_000, 61_000, 110_000, 51_000)]) == [
        99_000,
        51_000,
    ]


def test_near_is_not_told_of_what_wavers_or_of_another_level() -> None:
    assert tell_near([(Level.OK, 500_000), *[(Level.OK, 3_000), (Level.OK, 18_000)] * 9]) == [3_000]
    assert tell_near([(Level.OK, 500_000), *[(Level.WARN, 0)] * 9, (Level.OK, 50_000), (Level.OK, 40_000)]) == []


@MANY
@given(st.integers(2 * NEAR_USEC, 3_000_000), st.integers(1, 1000))
def test_what_comes_near_is_told_before_it_is_there(usec: int, permille: int) -> None:
    """However fast memory is filled, up to the rate that is reckoned with: half of the time at least is left."""
    left_usec, told, near_usec = usec, False, 0
    while not told:
        told, near_usec = comes_near_c(HostPolicy(), Level.OK, at_distance(left_usec), FILL, near_usec)
        if not told:
            wait_usec = next_usec_c(HostPolicy(), Level.OK, at_distance(left_usec), FILL, near_usec)
            left_usec -= max(1000, wait_usec) * permille // 1000
    assert left_usec >= NEAR_USEC // 2 - 2000


def test_nobody_looks_for_a_warning_that_is_held() -> None:
    memory = at_distance(1000)
    assert detect_c(HostPolicy(), Level.WARN, memory) == Level.WARN
    assert next_usec_c(HostPolicy(), Level.WARN, memory, FILL) == LONGEST_USEC[Level.WARN]

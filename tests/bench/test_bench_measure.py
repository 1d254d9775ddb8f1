"""The numbers of one run."""

from __future__ import annotations

import pytest

from bench.measure import STANDSTILL_MS, Line, measure, measure_stalls, name_sender
from bench.trace import Sent
from tests.support.sampler import Sample, Seen

LINE = Line(total_kib=1000, swap_kib=0, share=0.10)
TARGETS = {34: "low", 35: "high"}
DAEMON = {7}


def samples(*available_kib: int, swap_free_kib: int = 0) -> list[Sample]:
    """One look a millisecond."""
    return [Sample(1000 * at, kib, swap_free_kib) for at, kib in enumerate(available_kib)]


def kill(t_usec: int, target: int, *, sender: int = 7, signo: int = 9, by_kernel: bool = False) -> Sent:
    return Sent(t_usec, sender, "comm", signo, target, by_kernel)


def test_times_count_from_the_crossing() -> None:
    seen = Seen(samples(300, 100, 90, 80, 110, 121, 300), {"low": 3500, "high": None})
    shown = measure(seen, [kill(2500, 34, signo=15), kill(3000, 34)], TARGETS, DAEMON, LINE)
    assert (shown["first"], shown["by"], shown["order"]) == ("low", "daemon", ["low"])
    assert (shown["asked_ms"], shown["kill_ms"], shown["empty_ms"], shown["recovered_ms"]) == (1.5, 2.0, 2.5, 4.0)
    assert (shown["available_at_kill_kib"], shown["below_line_kib"], shown["lowest_available_kib"]) == (80, 20, 80)
    assert shown["longest_gap_ms"] == 1.0


def test_a_kill_before_the_crossing_is_below_zero_and_without_one_is_unknown() -> None:
    assert measure(Seen(samples(300, 200, 90)), [kill(500, 34)], TARGETS, DAEMON, LINE)["kill_ms"] == -1.5
    assert measure(Seen(samples(300, 200)), [kill(500, 34)], TARGETS, DAEMON, LINE)["kill_ms"] is None


def test_with_swap_both_have_to_be_short() -> None:
    line = Line(total_kib=1000, swap_kib=500, share=0.10)
    assert not line.is_short(Sample(0, 50, 51))
    assert not line.is_short(Sample(0, 101, 0))
    assert line.is_short(Sample(0, 100, 50))


def test_other_peoples_deaths_do_not_count() -> None:
    shown = measure(Seen(samples(90)), [kill(1, 99), kill(2, 35, sender=1)], TARGETS, DAEMON, LINE)
    assert (shown["first"], shown["by"]) == ("high", "comm")


def test_nobody_died() -> None:
    shown = measure(Seen(samples(300)), [], TARGETS, DAEMON, LINE)
    assert (shown["first"], shown["by"], shown["kill_ms"], shown["order"]) == (None, None, None, [])


def test_the_kernel_is_named_whoever_was_running() -> None:
    assert name_sender(kill(0, 34, by_kernel=True), DAEMON) == "kernel"


def turns(*stalls_usec: int) -> list[tuple[int, int]]:
    """One turn every 10 ms."""
    return [(10_000 * at, stall_usec) for at, stall_usec in enumerate(stalls_usec)]


def test_the_worst_stall_is_told_with_its_time() -> None:
    looks = samples(*[300] * 1000)
    shown = measure_stalls(turns(*range(1, 100), 7_000), looks)
    assert shown == {
        "turns": 100,
        "left_out": 0,
        "median_usec": 51,
        "p99_usec": 7_000,
        "worst_usec": 7_000,
        "worst_at_usec": 990_000,
    }


@pytest.mark.parametrize(
    ("gap_usec", "left_out", "worst_usec"),
    [(STANDSTILL_MS * 1000, 1, 3_000), (STANDSTILL_MS * 1000 - 1, 0, 25_000)],
)
def test_a_turn_counts_where_the_measuring_program_was_on_time(gap_usec: int, left_out: int, worst_usec: int) -> None:
    """The gap begins and ends in the second turn."""
    later = range(11_000 + gap_usec, 40_000, 4_000)
    looks = [Sample(t_usec, 300, 0) for t_usec in (0, 4_000, 11_000, *later)]
    shown = measure_stalls([(0, 3_000), (10_000, 25_000), (35_000, 2_000)], looks)
    assert (shown["left_out"], shown["worst_usec"]) == (left_out, worst_usec)


def test_a_probe_that_stood_still_throughout_has_no_times() -> None:
    shown = measure_stalls(turns(30_000), [Sample(0, 300, 0), Sample(40_000, 300, 0)])
    assert (shown["turns"], shown["left_out"], shown["worst_usec"], shown["worst_at_usec"]) == (0, 1, None, None)

"""Medians, ranges, and the page."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench.contestant import complete
from bench.contestants import CONTESTANTS
from bench.render import render_page, render_ratio, render_spread, render_stalls
from bench.scenario import LOW, SCENARIOS, fit
from bench.summary import _weigh, chance_of, count_words, longer_share, parse_lines, spread_of, summarise


def run_line(**fields: Any) -> dict[str, Any]:
    line = {"kind": "run", "scenario": "original", "contestant": "cgoom-best", "first": LOW, "by": "daemon"}
    return line | {"order": [LOW], "kill_share": 0.1, "kill_ms": 10.0, "died": True} | fields


def test_a_spread_is_of_what_was_seen() -> None:
    spread = spread_of([4.0, None, 1.0, 2.0])
    assert spread is not None
    assert (spread.median, spread.least, spread.p99, spread.most, spread.seen, spread.runs) == (
        2.0,
        1.0,
        4.0,
        4.0,
        3,
        4,
    )
    assert spread_of([None, None]) is None


def test_a_percentile_is_a_value_that_was_seen() -> None:
    spread = spread_of([float(value) for value in range(1, 201)])
    assert spread is not None
    assert spread.p99 == 198.0


def test_runs_are_grouped_and_counted() -> None:
    lines = [run_line(), run_line(first="high", by="kernel", order=["high", LOW], kill_ms=None), {"kind": "versions"}]
    (row,) = summarise(lines)
    assert (row.runs, row.right, row.by, row.killed) == (2, 1, "daemon 1, kernel 1", "1-2")
    assert (row.spreads["kill_ms"].seen, row.spreads["kill_ms"].runs) == (1, 2)
    assert "died" not in row.spreads


def test_rows_are_listed_whoever_ran_first() -> None:
    ran = [("leak", "kernel"), ("fast", "kernel"), ("leak", "earlyoom-best"), ("leak", "cgoom-best")]
    rows = summarise(run_line(scenario=scenario, contestant=contestant) for scenario, contestant in ran)
    listed = [("leak", "cgoom-best"), ("leak", "earlyoom-best"), ("leak", "kernel"), ("fast", "kernel")]
    assert [(row.scenario, row.contestant) for row in rows] == listed


def test_words_are_counted_the_most_frequent_first() -> None:
    assert count_words(["kernel", "daemon", None, "daemon"]) == "daemon 2, kernel 1, nobody 1"


def test_a_line_cut_by_a_lost_guest_does_not_count_but_a_broken_file_is_an_error() -> None:
    whole = json.dumps(run_line())
    assert parse_lines(f"{whole}\n{whole[:20]}") == [run_line()]
    with pytest.raises(ValueError, match=r"delimiter|Expecting|Unterminated"):
        parse_lines(f"{whole[:20]}\n{whole}")


def test_a_spread_says_how_often_it_was_seen() -> None:
    assert render_spread(spread_of([1000.0, 3000.0, 2000.0]), 1000, 1) == "2.0 (1.0-3.0)"
    assert render_spread(spread_of([5.0, None])) == "5 1/2"
    assert render_spread(None) == "-"


def test_everybody_is_compared_with_the_same_one_of_the_same_scenario() -> None:
    other = [run_line(contestant="kernel", kill_ms=25.0), run_line(contestant="kernel", scenario="fast")]
    reference, kernel, fast = summarise([run_line(), *other])
    rows = [reference, kernel, fast]
    assert [render_ratio(row, rows) for row in rows] == ["1.0", "2.5", "-"]


def test_the_longer_of_every_pair_is_counted() -> None:
    assert longer_share([([1.0, 4.0], [0.0, 4.0])]) == (1 + 0 + 1 + 0.5) / 4
    assert longer_share([([5.0], [1.0, 2.0])]) == 1.0
    assert longer_share([([5.0], [1.0, 2.0]), ([1.0] * 9, [2.0])]) == 0.5  # each scenario counts as one


def test_a_difference_is_held_against_what_the_same_runs_show_in_any_order() -> None:
    low, high = [float(value) for value in range(10)], [float(value) for value in range(10, 20)]
    assert 0 < chance_of([(high, low)]) < 0.001  # one division of 184,756, which is there
    assert chance_of([(low, high)]) == 1.0
    assert 0.4 < chance_of([(low, low)]) < 0.65
    # No more than that can be known of one run each, nor of four, in which ours is the longer in three or more.
    assert chance_of([([2.0], [1.0])]) == pytest.approx(0.5, abs=0.02)
    assert chance_of([([2.0], [1.0])] * 3 + [([0.1], [0.2])]) == pytest.approx(5 / 16, abs=0.02)


def test_scenarios_of_other_sizes_are_not_compared_with_each_other() -> None:
    slow, fast = [100.0, 101.0, 102.0, 103.0], [1.0, 2.0, 3.0, 4.0]
    assert chance_of([(slow, slow[:1]), (fast[:1], fast)]) > 0.4  # ours are slow for the most part, and not for it


@given(st.lists(st.integers(0, 5), min_size=1, max_size=6), st.lists(st.integers(0, 5), min_size=1, max_size=6))
def test_a_sum_of_ranks_counts_the_pairs(ours: list[int], theirs: list[int]) -> None:
    weights, count = _weigh(ours, theirs), len(ours)
    least = count * (count + 1) / 2 - count / 2  # of ranks from a half on
    assert sum(weights[:count]) - least / (count * len(theirs)) == pytest.approx(longer_share([(ours, theirs)]))


def test_the_probe_beside_cgoom_is_held_against_the_lowest_of_the_peers() -> None:
    worst = {"cgoom-best": 6000, "cgoom-module": 2000, "earlyoom-best": 5000, "nohang-best": 4000, "kernel": 1000}
    rows = summarise(run_line(contestant=name, probe_worst_usec=usec) for name, usec in worst.items())
    assert [line for line in render_stalls(rows) if line.startswith("| original")] == [
        "| original | cgoom-best | 6.0 | nohang-best | 4.0 | 1.50 | 1.00 | 0.50 |",
        "| original | cgoom-module | 2.0 | nohang-best | 4.0 | 0.50 | 0.00 | 1.00 |",
    ]
    assert render_stalls(summarise([run_line(probe_worst_usec=1)])) == []


def test_all_scenarios_together_are_held_against_who_was_in_all_of_them() -> None:
    worst = {"cgoom-best": 4000, "earlyoom-best": 2000, "nohang-best": 1000, "systemd-oomd-best": 500}
    lines = [run_line(contestant=name, probe_worst_usec=usec) for name, usec in worst.items()]
    lines += [
        run_line(scenario="fast", contestant=name, probe_worst_usec=2000)
        for name in ("cgoom-best", "earlyoom-best", "nohang-best")
    ]
    assert [line for line in render_stalls(summarise(lines)) if line.startswith("| all")] == [
        "| all 2 | cgoom-best |  | earlyoom-best |  | 1.41 | 0.75 | 0.50 |",
        "| all 2 | cgoom-best |  | nohang-best |  | 2.00 | 0.75 | 0.50 |",
    ]


def test_the_page_has_one_row_for_each_and_says_what_is_missing() -> None:
    skipped: list[dict[str, Any]] = [
        {"kind": "skipped", "scenario": name, "contestant": "cgoom-module", "why": "no module"} for name in "ab"
    ]
    skipped.append({"kind": "broken", "scenario": "fast", "contestant": "oomd", "run": 3, "why": "Traceback\nAh: no\n"})
    versions = {"kernel": "6.1", "commands": ["python -m bench -- fast"], "date": "today"}
    page = render_page(summarise([run_line(), run_line(contestant="kernel")]), [], versions, skipped)
    assert page.count("| original | ") == 2
    assert page.count("- cgoom-module: no module") == 1
    assert "- oomd, run 3 of fast: Ah: no" in page
    assert "    python -m bench -- fast\n" in page


@pytest.mark.parametrize("scenario", SCENARIOS.values(), ids=SCENARIOS.keys())
def test_what_is_filled_in_advance_fits_the_host(scenario: Any) -> None:
    available_kib, line_kib = 1_600_000, 200_000
    growers = fit(scenario, available_kib, scenario.swap_mib * 1024, line_kib)
    assert sum(grower.burst_mib for grower in growers) * 1024 < available_kib - line_kib
    assert all(grower.burst_mib <= grower.limit_mib for grower in growers)
    assert growers[0].name == LOW
    assert max(growers, key=lambda grower: grower.priority).name == LOW


def test_every_best_contestant_is_told_the_same_threshold() -> None:
    shares = {each.kill_share for name, each in CONTESTANTS.items() if name.endswith(("-best", "-module"))}
    assert shares == {0.10}


def test_a_file_keeps_of_another_what_it_does_not_set_itself() -> None:
    assert complete("a = 3\n@RULE x\n", "# about a\na = 1\nb=2") == "# about a\nb=2\na = 3\n@RULE x\n"


def test_a_chance_that_hardly_any_division_shows_is_not_nothing() -> None:
    lines = [run_line(probe_worst_usec=usec) for usec in range(100, 110)]
    lines += [run_line(contestant="nohang-best", probe_worst_usec=usec) for usec in range(10)]
    assert render_stalls(summarise(lines))[-1].endswith("| 1.00 | < 0.01 |")

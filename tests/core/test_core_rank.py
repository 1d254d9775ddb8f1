"""The order of death: total, deterministic, blind to the order of scanning; size breaks ties and nothing else."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import groupby
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cgoom.core.eligible import skip_reason
from cgoom.core.explain import explain
from cgoom.core.match import Scope
from cgoom.core.rank import place_reason, rank, rank_first
from cgoom.model import Candidate, MatchRule, Policy, TieBreak, VictimPolicy

from .examples import (
    FEW,
    MIB,
    OWN_PATH,
    PRIORITIES,
    SIZES,
    VICTIMS,
    candidates_lists,
    make_candidate,
    make_workload,
    naive_first,
)

DEFAULT = VictimPolicy()


def ids(candidates: list[Candidate]) -> list[int]:
    return [each.workload.ref.cgroup_id for each in candidates]


@FEW
@given(candidates_lists(), VICTIMS, st.randoms(use_true_random=False))
def test_the_order_of_scanning_is_irrelevant(candidates: list[Candidate], victim: VictimPolicy, random: Random) -> None:
    shuffled = list(candidates)
    random.shuffle(shuffled)
    assert rank(shuffled, victim) == rank(candidates, victim)


@FEW
@given(candidates_lists(), VICTIMS)
def test_everyone_has_one_place_and_it_is_the_one_that_sieving_gives(
    candidates: list[Candidate], victim: VictimPolicy
) -> None:
    ranked = rank(iter(candidates), victim)
    assert sorted(ids(ranked)) == sorted(ids(candidates))
    left = list(candidates)
    for place in ranked:
        expected = naive_first(left, victim.tie_break)
        if expected is None:
            assert place.skip
        else:
            assert place == expected
        left.remove(place)


@FEW
@given(candidates_lists(), VICTIMS, st.integers(1, 40).map(lambda each: each + 100), PRIORITIES, SIZES)
def test_one_more_candidate_does_not_reorder_the_others(
    candidates: list[Candidate], victim: VictimPolicy, cgroup_id: int, priority: int, size_bytes: int | None
) -> None:
    more = make_candidate(cgroup_id, priority, size_bytes)
    ranked = rank([*candidates, more], victim)
    assert [each for each in ranked if each != more] == rank(candidates, victim)


@FEW
@given(candidates_lists(), VICTIMS, st.integers(1, 12), st.randoms(use_true_random=False))
def test_the_first_ones_are_those_of_the_whole_order(
    candidates: list[Candidate], victim: VictimPolicy, limit: int, random: Random
) -> None:
    shuffled = list(candidates)
    random.shuffle(shuffled)
    shuffled.sort(key=lambda each: -each.workload.priority)
    equals = [list(group) for _, group in groupby(shuffled, key=lambda each: each.workload.priority)]
    eligible = [each.workload for each in rank(candidates, victim) if not each.skip]
    assert list(rank_first(equals, victim, limit)) == eligible[:limit]


def test_no_more_equals_are_looked_at_than_the_order_has_places() -> None:
    looked_at = []

    def equals() -> Iterator[list[Candidate]]:
        for priority in (900, 800, 700):
            looked_at.append(priority)
            yield [make_candidate(priority + each, priority, MIB) for each in range(3)]

    assert len(rank_first(equals(), DEFAULT, 4)) == 4
    assert looked_at == [900, 800]


@FEW
@given(candidates_lists(), VICTIMS)
def test_the_larger_number_goes_first_whatever_the_size(candidates: list[Candidate], victim: VictimPolicy) -> None:
    eligible = [each for each in rank(candidates, victim) if not each.skip]
    priorities = [each.workload.priority for each in eligible]
    assert priorities == sorted(priorities, reverse=True)
    assert rank(candidates, victim)[: len(eligible)] == eligible


@pytest.mark.parametrize(
    ("tie_break", "order"),
    [
        ((), [4, 3, 2, 1]),
        ((TieBreak.LARGEST,), [2, 4, 1, 3]),
        ((TieBreak.SMALLEST,), [3, 4, 1, 2]),
        ((TieBreak.NEWEST,), [4, 3, 2, 1]),
        ((TieBreak.OLDEST,), [1, 2, 3, 4]),
        ((TieBreak.LARGEST, TieBreak.OLDEST), [2, 1, 4, 3]),
        ((TieBreak.OLDEST, TieBreak.LARGEST), [1, 2, 3, 4]),
    ],
)
def test_the_tie_breaks_come_in_their_order_and_the_newest_last(
    tie_break: tuple[TieBreak, ...], order: list[int]
) -> None:
    candidates = [make_candidate(1, 5, 20), make_candidate(2, 5, 60), make_candidate(3, 5, 0), make_candidate(4, 5, 20)]
    assert ids(rank(candidates, VictimPolicy(tie_break))) == order


def test_an_unread_usage_counts_as_nothing() -> None:
    assert ids(rank([make_candidate(9, 5, None), make_candidate(1, 5, 1)], DEFAULT)) == [1, 9]


def test_b6_the_order_is_global_and_not_local_to_siblings() -> None:
    """A sibling-local rank would weigh B (600 + 700) against A first and take B/F."""
    tree = {"A/Z": 900, "A/X": 0, "B/F": 600, "B/G": 700}
    found = [
        Candidate(make_workload(number, priority, path=path))
        for number, (path, priority) in enumerate(tree.items(), start=1)
    ]
    assert [each.workload.ref.path for each in rank(found, DEFAULT)] == ["A/Z", "B/G", "B/F", "A/X"]


def test_b7_a_managed_cgroup_stands_for_all_that_is_below_it() -> None:
    scope = Scope((MatchRule("test.slice/*/M", priority=700),))
    rule = scope.match("test.slice/Y/M")
    assert rule is not None
    assert rule.priority == 700
    for below in ("test.slice/Y/M/Z", "test.slice/Y/M/X"):
        assert scope.match(below) is None
    assert not scope.descends("test.slice/Y/M")


def test_b8_a_dead_cgroup_is_passed_over() -> None:
    first, second = make_workload(1, 1000, path="B/F"), make_workload(2, 10, path="A/Z")
    candidates = [
        Candidate(first, skip=skip_reason(first, OWN_PATH, populated=False)),
        Candidate(second, skip=skip_reason(second, OWN_PATH, populated=True)),
    ]
    assert [each.workload.ref.path for each in rank(candidates, DEFAULT)] == ["A/Z", "B/F"]


@pytest.mark.parametrize(
    ("shown", "first"),
    [
        ([(60, 500), (20, 1000), (40, 500)], 20),  # preferred overrides size
        ([(60, 1000), (30, 0), (20, 1000)], 60),  # the larger of two preferred ones
        ([(60, 500), (30, 0), (20, 0)], 60),  # avoiding has no effect where nobody asks for it
        ([(60, 0), (30, 0), (20, 0)], 60),
    ],
)
def test_b12_priority_wins_over_size_and_size_only_breaks_ties(shown: list[tuple[int, int]], first: int) -> None:
    candidates = [make_candidate(number, priority, size) for number, (size, priority) in enumerate(shown, start=1)]
    usage = rank(candidates, DEFAULT)[0].usage
    assert usage is not None
    assert usage.freeable_bytes == first


def test_every_place_has_its_reason() -> None:
    candidates = [
        make_candidate(1, 100, 3 * MIB),
        make_candidate(2, 100, 2 * MIB),
        make_candidate(3, 100, 2 * MIB),
        make_candidate(4, 10, 900 * MIB),
        make_candidate(5, 1000, 0, skip="protected"),
    ]
    found = explain(Policy(), candidates)
    assert [(each.name, each.why) for each in found] == [
        ("w1", "same priority 100, larger (3.0M to 2.0M)"),
        ("w3", "same priority 100, newer"),
        ("w2", "priority 100 over 10"),
        ("w4", "the last one that can be chosen"),
        ("w5", "protected"),
    ]
    assert [each.usage_bytes for each in found[:2]] == [3 * MIB, 2 * MIB]
    assert explain(Policy(), candidates, limit=2) == found[:2]


def test_a_reason_names_the_tie_break_that_decided() -> None:
    pair = [make_candidate(1, 7, MIB), make_candidate(2, 7, 2 * MIB)]
    for tie_break, why in (
        ((TieBreak.SMALLEST,), "same priority 7, smaller (1.0M to 2.0M)"),
        ((TieBreak.OLDEST, TieBreak.LARGEST), "same priority 7, older"),
        ((), "same priority 7, newer"),
    ):
        victim = VictimPolicy(tie_break)
        assert place_reason(rank(pair, victim), 0, victim) == why
    assert place_reason(pair[:1], 0, DEFAULT) == "the only one that can be chosen"


@FEW
@given(candidates_lists(), VICTIMS)
def test_explain_tells_the_order_that_rank_gives(candidates: list[Candidate], victim: VictimPolicy) -> None:
    found = explain(Policy(victim=victim), candidates)
    assert [each.name for each in found] == [each.workload.name for each in rank(candidates, victim)]
    assert all(each.why for each in found)


@pytest.mark.parametrize(
    ("path", "protect", "populated", "chosen"),
    [
        ("cgoom.slice/a.scope", False, True, True),
        ("cgoom.slice/a.scope", True, True, False),
        ("cgoom.slice/a.scope", False, False, False),
        ("", False, True, False),
        ("cg", False, True, False),
        ("cg/daemon", False, True, False),
        ("cg/daemon/below", False, True, True),
        ("c", False, True, True),
        ("cg/daem", False, True, True),
        ("cg/daemon2", False, True, True),
        ("x/cg/daemon", False, True, True),
    ],
)
def test_who_may_be_chosen(path: str, protect: bool, populated: bool, chosen: bool) -> None:
    workload = make_workload(1, path=path, protect=protect)
    assert (skip_reason(workload, OWN_PATH, populated) == "") == chosen


def test_where_cgoom_runs_in_the_root_nothing_else_is_its_ancestor() -> None:
    assert skip_reason(make_workload(1, path="cgoom.slice/a.scope"), "", populated=True) == ""
    assert skip_reason(make_workload(1, path=""), "", populated=True)

"""The order among equals: by sizes that are of now, in the time that there is."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

import cgoom.daemon.docket as docket_module
from cgoom.core.rank import rank_first
from cgoom.daemon.docket import SIZE_LIMIT_USEC
from cgoom.model import TieBreak
from tests.daemon.world import GIB, World

HOUR_USEC = 3_600_000_000


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    made = World(tmp_path)
    yield made
    made.close()


def first(world: World, now_usec: int, *, urgent: bool) -> str:
    """Who would die first; empty while sizes are still being read."""
    found = world.docket.look(frozenset(), now_usec, urgent=urgent)
    return found[0].workload.name if found else ""


@pytest.mark.parametrize("urgent", [True, False])
def test_a_size_of_an_earlier_shortage_counts_for_nothing(world: World, urgent: bool) -> None:
    world.add("a", 500, GIB)
    small = world.add("b", 500, 1 << 20)
    assert first(world, 0, urgent=True) == "a"
    world.resize(small, 50 * GIB)
    assert first(world, HOUR_USEC, urgent=urgent) == "b"


def test_a_size_is_read_again_while_the_shortage_lasts(world: World) -> None:
    world.add("a", 500, GIB)
    small = world.add("b", 500, 1 << 20)
    assert first(world, 0, urgent=False) == "a"
    world.resize(small, 50 * GIB)
    assert not world.docket.is_fresh(SIZE_LIMIT_USEC // 2)
    assert first(world, SIZE_LIMIT_USEC // 2, urgent=False) == "b"
    assert world.docket.is_fresh(SIZE_LIMIT_USEC // 2)


def test_many_equals_are_read_in_slices(world: World) -> None:
    members = [world.add(f"w{number}", 500, GIB) for number in range(300)]
    world.resize(members[150], 60 * GIB)
    looks = 0
    while not first(world, 0, urgent=False):
        looks += 1
        assert world.docket.unread
        assert not world.docket.is_fresh(0)
        assert looks < 300, "each look reads at least one"
    assert looks > 0
    assert first(world, 0, urgent=False) == "w150"
    considered = world.docket.find_considered(world.docket.look(frozenset(), 0, urgent=False)[0])
    assert considered[0].name == "w150"
    assert considered[0].usage_bytes == 60 * GIB


def test_only_the_largest_number_is_read(world: World) -> None:
    world.add("a", 900, 1 << 20)
    world.add("b", 500, GIB)
    world.add("c", 500, 2 * GIB)
    found = world.docket.look(frozenset(), 0, urgent=True)
    assert [(each.workload.name, each.usage) for each in found] == [("a", None), ("b", None)]


def test_what_is_gone_has_the_last_place(world: World) -> None:
    gone = world.add("a", 500, GIB)
    world.add("b", 500, 1 << 20)
    for control in ("memory.current", "memory.stat"):
        (world.directory / "a" / control).unlink()
    assert gone.populated
    assert first(world, 0, urgent=True) == "b"


def test_the_stuck_one_is_passed_over(world: World) -> None:
    stuck = world.add("a", 900)
    world.add("b", 500)
    found = world.docket.look(frozenset({stuck.workload.ref}), 0, urgent=True)
    assert [each.workload.name for each in found] == ["b"]
    assert first(world, 0, urgent=True) == "a"


def test_an_old_size_says_nothing_of_a_priority(world: World) -> None:
    """Whoever was an equal in a shortage and is none any more has its new place in the order."""
    world.add("a", 500, GIB)
    moved = world.add("b", 500, 1 << 20)
    assert first(world, 0, urgent=True) == "a"
    moved.workload = replace(moved.workload, priority=100)
    world.view.changes.note(500)
    groups = world.docket.find_equals(64, may_read=False)
    assert [[each.workload.priority for each in group] for group in groups] == [[500], [100]]


def test_the_first_two_stand_until_somebody_comes_or_goes_before_the_third(world: World) -> None:
    one, two = world.add("a", 900), world.add("b", 500)
    assert names(world) == "ab"
    known = world.docket.generation
    world.add("c", 499)
    assert names(world) == "ab"
    assert world.docket.generation == known < world.view.changes.generation
    world.add("d", 700)
    assert names(world) == "ad"
    world.empty(one)
    assert names(world) == "db"
    world.empty(two)
    assert names(world) == "dc"


def test_a_second_that_turns_out_to_have_another_priority_is_found(world: World) -> None:
    world.add("a", 900)
    two, three = world.add("b", 500), world.add("c", 300)
    world.list_only(three)
    world.view.rated[three.workload.ref] = 400
    assert names(world) == "ab"
    world.empty(two)
    assert names(world) == "ac"


def names(world: World) -> str:
    """The first two."""
    return "".join(each.workload.name for each in world.docket.look(frozenset(), 0, urgent=False))


def test_equals_that_are_not_followed_yet_are_read_in_slices_too(world: World) -> None:
    members = [world.add(f"w{number}", 500, GIB) for number in range(300)]
    world.resize(members[150], 60 * GIB)
    world.list_only(*members)
    assert first(world, 0, urgent=False) == ""
    assert 0 < world.docket.unread < 300
    while not first(world, 0, urgent=False):
        assert world.docket.unread
    assert first(world, 0, urgent=False) == "w150"
    assert not world.view.listed


def test_who_dies_now_is_the_largest_of_those_that_there_was_time_for(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each clock that is read is 3 ms later: there is time for the newest ones, and never one of more worth."""
    members = [world.add(f"w{number}", 500, GIB) for number in range(9)]
    members.sort(key=lambda member: member.workload.ref.cgroup_id)
    world.resize(members[0], 60 * GIB)
    world.resize(members[-3], 3 * GIB)
    world.list_only(*members, world.add("precious", 100, 90 * GIB))
    ticks = iter(range(0, HOUR_USEC, 3_000))
    monkeypatch.setattr(docket_module, "read_usec", lambda: next(ticks))
    assert first(world, 0, urgent=True) == members[-3].workload.name
    assert world.docket.unread


def test_an_empty_one_is_never_chosen_and_the_next_one_is(world: World) -> None:
    """Nobody knows that it is empty before it is followed."""
    empty = [world.add(f"e{number}", 900) for number in range(3)]
    for member in empty:
        world.empty(member)
    world.list_only(*empty, world.add("alive", 500), world.add("other", 400))
    for _ in range(3):
        found = world.docket.look(frozenset(), 0, urgent=True)
        assert [each.workload.name for each in found] == ["alive", "other"]


@pytest.mark.parametrize("tie_break", [TieBreak.NEWEST, TieBreak.OLDEST])
def test_age_alone_decides_among_those_that_are_not_followed_yet(world: World, tie_break: TieBreak) -> None:
    world.policy = replace(world.policy, victim=replace(world.policy.victim, tie_break=(tie_break,)))
    world.docket.set_policy(world.policy)
    members = [world.add(name, 500) for name in ("a", "b", "c")]
    members.sort(key=lambda member: member.workload.ref.cgroup_id)
    world.list_only(members[0], members[2], world.add("precious", 100))
    picked = [members[2], members[1]] if tie_break is TieBreak.NEWEST else [members[0], members[1]]
    found = world.docket.look(frozenset(), 0, urgent=True)
    assert [each.workload for each in found] == [member.workload for member in picked]
    assert world.docket.unread == 0


@pytest.mark.parametrize("tie_break", [TieBreak.NEWEST, TieBreak.OLDEST, TieBreak.LARGEST])
def test_the_second_of_equals_that_are_not_followed_yet_is_one_of_them(world: World, tie_break: TieBreak) -> None:
    world.policy = replace(world.policy, victim=replace(world.policy.victim, tie_break=(tie_break,)))
    world.docket.set_policy(world.policy)
    world.list_only(*[world.add(name, 500) for name in ("a", "b", "c")], world.add("precious", 100))
    found = world.docket.look(frozenset(), 0, urgent=True)
    assert [each.workload.priority for each in found] == [500, 500]


@pytest.mark.parametrize("name", ["a", "b", "c"])
@pytest.mark.parametrize("urgent", [True, False])
def test_who_turns_out_to_have_a_larger_number_is_chosen_at_once(world: World, name: str, urgent: bool) -> None:
    """It was listed with another priority than it has by now."""
    members = {each: world.add(each, 500, GIB) for each in ("a", "b", "c")}
    world.list_only(*members.values())
    world.view.rated[members[name].workload.ref] = 900
    assert first(world, 0, urgent=urgent) == name


def test_what_was_followed_by_somebody_else_is_read_too(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """There was time for one of them before."""
    members = [world.add(name, 500, size * GIB) for name, size in (("a", 1), ("b", 60), ("c", 1))]
    world.list_only(*members)
    with monkeypatch.context() as context:
        ticks = iter(range(0, HOUR_USEC, 4_000))
        context.setattr(docket_module, "read_usec", lambda: next(ticks))
        assert first(world, 0, urgent=False) == ""
    while world.view.listed:
        world.view.follow_next(500, oldest=False)
    assert first(world, 0, urgent=True) == "b"


def test_nobody_is_passed_over_while_those_who_cannot_be_chosen_are_followed(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A look that takes longer than it has goes on all the same, and so does one that ends with the last of them."""
    unable = [world.add(f"e{number}", 900) for number in range(5)]
    for member in unable:
        world.empty(member)
    world.list_only(*unable[2:])
    world.add("able", 500)
    ticks = iter(range(0, HOUR_USEC, 60_000))
    monkeypatch.setattr(docket_module, "read_usec", lambda: next(ticks))
    looks = [first(world, 0, urgent=False) for _ in range(4)]
    assert looks == ["", "", "able", "able"]


def test_who_comes_second_is_not_looked_for_at_length(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    world.add("first", 900)
    unable = [world.add(f"e{number}", number) for number in range(100, 130)]
    for member in unable:
        world.empty(member)
    world.list_only(*unable, world.add("second", 5))
    ticks = iter(range(0, HOUR_USEC, 500))
    monkeypatch.setattr(docket_module, "read_usec", lambda: next(ticks))
    assert first(world, 0, urgent=True) == "first"
    assert len(world.view.listed) > 20


@pytest.mark.parametrize("count", [3, 200])
def test_the_order_that_is_handed_over_follows_no_more_than_it_needs(world: World, count: int) -> None:
    members = [world.add(f"w{number:03}", 500) for number in range(count)]
    members.append(world.add("precious", 100))
    world.list_only(*members)
    order = rank_first(world.docket.find_equals(64, may_read=True), world.policy.victim, 64)
    assert len(order) == min(count + 1, 64)
    newest = sorted(members[:-1], key=lambda member: -member.workload.ref.cgroup_id)
    assert set(order) == {member.workload for member in (newest[:64] if count > 64 else members)}
    assert len(world.view.listed) == max(0, count + 1 - 65)


@pytest.mark.parametrize("tie_break", [TieBreak.NEWEST, TieBreak.OLDEST])
def test_many_that_are_followed_do_not_hide_who_comes_before_them(world: World, tie_break: TieBreak) -> None:
    """As after a rescan: those that were followed before stay so, and the first of all is only listed."""
    world.policy = replace(world.policy, victim=replace(world.policy.victim, tie_break=(tie_break,)))
    world.docket.set_policy(world.policy)
    members = [world.add(f"w{number}", 500) for number in range(12)]
    members.sort(key=lambda member: member.workload.ref.cgroup_id, reverse=tie_break is TieBreak.NEWEST)
    world.list_only(*members[:3], members[-1])
    order = rank_first(world.docket.find_equals(4, may_read=False), world.policy.victim, 4)
    assert order == tuple(member.workload for member in members[:4])


def test_the_order_ends_where_there_was_no_time_to_know_more(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    unable = [world.add(f"e{number}", 900) for number in range(9)]
    for member in unable:
        world.empty(member)
    world.list_only(*unable, world.add("able", 900), world.add("precious", 100))
    ticks = iter(range(0, HOUR_USEC, 4_000))
    monkeypatch.setattr(docket_module, "read_usec", lambda: next(ticks))
    orders = []
    while world.view.listed:
        order = rank_first(world.docket.find_equals(64, may_read=False), world.policy.victim, 64)
        orders.append(tuple(each.name for each in order))
        assert world.docket.is_cut == bool(world.view.listed)
    assert len(orders) > 1
    assert set(orders[:-1]) <= {(), ("able",)}
    assert orders[-1] == ("able", "precious")


@pytest.mark.parametrize("tie_break", [(TieBreak.NEWEST,), (TieBreak.LARGEST, TieBreak.OLDEST)])
def test_a_look_that_has_time_ends_and_goes_on_at_the_next(
    world: World, monkeypatch: pytest.MonkeyPatch, tie_break: tuple[TieBreak, ...]
) -> None:
    """Nine that cannot be chosen stand before the first that can, and four before another one of more worth."""
    world.policy = replace(world.policy, victim=replace(world.policy.victim, tie_break=tie_break))
    world.docket.set_policy(world.policy)
    unable = [world.add(f"e{number}", 900) for number in range(9)] + [
        world.add(f"f{number}", 400) for number in range(4)
    ]
    for member in unable:
        world.empty(member)
    world.list_only(*unable, world.add("able", 500), world.add("other", 400))
    ticks = iter(range(0, HOUR_USEC, 1_000))
    monkeypatch.setattr(docket_module, "read_usec", lambda: next(ticks))
    looks = 1
    while not (found := world.docket.look(frozenset(), 0, urgent=False)):
        assert world.docket.unread
        looks += 1
        assert looks < 20
    assert looks > 2
    assert found[0].workload.name == "able"
    assert world.docket.generation == world.view.changes.generation
    urgent = world.docket.look(frozenset(), 0, urgent=True)
    assert urgent[0].workload.name == "able"

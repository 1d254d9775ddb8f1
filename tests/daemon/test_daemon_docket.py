"""The order among equals: by sizes that are of now, in the time that there is."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from cgoom.daemon.docket import SIZE_LIMIT_USEC
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
    assert first(world, SIZE_LIMIT_USEC // 2, urgent=False) == "b"


def test_many_equals_are_read_in_slices(world: World) -> None:
    members = [world.add(f"w{number}", 500, GIB) for number in range(300)]
    world.resize(members[150], 60 * GIB)
    looks = 0
    while not first(world, 0, urgent=False):
        looks += 1
        assert world.docket.unread
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
    world.view.generation += 1
    groups = world.docket.find_equals(64, may_read=False)
    assert [[each.workload.priority for each in group] for group in groups] == [[500], [100]]

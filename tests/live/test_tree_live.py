"""The view of workloads that were there before it: listed at once, followed when somebody asks or there is time."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from cgoom.core.match import Scope
from cgoom.kernel.cgroup import Cgroup, find_mount, open_cgroup
from cgoom.kernel.clock import read_usec
from cgoom.kernel.clone import spawn_into
from cgoom.kernel.identity import Identity, write_identity, write_priority
from cgoom.model import CgroupRef
from cgoom.observe.tree import ChangeKind, Tree
from tests.live.kernel_scene import exec_shell, scratch_cgroup

pytestmark = [pytest.mark.live, pytest.mark.skipif(os.geteuid() != 0, reason="needs root")]

HOUR_USEC = 3_600_000_000


class Stage:
    """A slice of the test's own in this host's cgroup2, or a copy of one in plain files."""

    def __init__(self, root: Cgroup, slice_: Cgroup) -> None:
        self.root, self.slice = root, slice_
        self.trees: list[Tree] = []

    def add(self, name: str, priority: int, *, protect: bool = False) -> CgroupRef:
        """A workload without a process."""
        with self.slice.make_child(name) as made:
            write_identity(made.fd, Identity(name, priority, protect))
            return made.ref

    def rate(self, name: str, priority: int) -> None:
        """Another priority."""
        with self.slice.open_child(name) as child:
            write_priority(child.fd, priority)

    def look(self) -> Tree:
        """A view that has just begun."""
        self.trees.append(tree := Tree(self.root, self.slice.ref.path, Scope(())))
        assert tree.rescan() == []
        return tree


@pytest.fixture
def stage() -> Iterator[Stage]:
    with scratch_cgroup() as slice_, open_cgroup(find_mount().path) as root:
        made = Stage(root, slice_)
        yield made
        for tree in made.trees:
            tree.close()


def names(tree: Tree) -> dict[int, list[str]]:
    """Everyone in the order that the view tells, each priority newest first; they are followed thereby."""
    order: dict[int, list[str]] = {}
    for priority in tree.priorities():
        order[priority] = [member.workload.name for member in tree.followed(priority)]
        while tree.count_listed(priority):
            if (member := tree.follow_next(priority, oldest=False)) is not None:
                order[priority].append(member.workload.name)
    return order


def test_who_was_there_is_counted_at_once_and_followed_in_the_order_of_its_end(stage: Stage) -> None:
    for name, priority in (("a", 10), ("b", 700), ("c", 10), ("d", 700), ("e", 20)):
        stage.add(name, priority)
    tree = stage.look()
    assert (len(tree), tree.unfollowed) == (5, 5)
    assert tree.priorities() == [700, 20, 10]
    assert [each.workload.name for each in tree.members()] == []
    assert names(tree) == {700: ["d", "b"], 20: ["e"], 10: ["c", "a"]}
    assert (len(tree), tree.unfollowed) == (5, 0)
    oldest = stage.look().follow_next(10, oldest=True)
    assert oldest is not None
    assert oldest.workload.name == "a"


def test_there_is_time_for_all(stage: Stage) -> None:
    refs = {stage.add(f"w{number}", number % 7) for number in range(20)}
    tree = stage.look()
    changes = []
    while tree.is_behind:
        changes += tree.follow(read_usec(), oldest=False)
        assert len(tree) == 20
    assert {change.workload.ref for change in changes} == refs
    assert {change.kind for change in changes} == {ChangeKind.APPEARED}
    assert [each.workload.priority for each in tree.members()] == sorted((n % 7 for n in range(20)), reverse=True)


def test_who_is_asked_for_is_followed_and_its_processes_are_known(stage: Stage) -> None:
    full, empty = stage.add("full", 5), stage.add("empty", 5)
    with stage.slice.open_child("full") as cgroup:
        spawn_into(cgroup.fd, exec_shell("sleep 3600"))
    tree = stage.look()
    for ref, populated in ((full, True), (empty, False)):
        member = tree.find(ref)
        assert member is not None
        assert (member.workload.ref, member.populated) == (ref, populated)
        assert tree.find(CgroupRef(ref.path, ref.cgroup_id + 1)) is None
    assert tree.find(CgroupRef(f"{stage.slice.ref.path}/nobody", 1)) is None
    assert {change.workload.ref for change in tree.follow(HOUR_USEC, oldest=False)} == {full, empty}


def test_a_new_priority_counts_whether_or_not_its_event_was_taken(stage: Stage) -> None:
    for name in ("a", "b", "c", "d"):
        stage.add(name, 100)
    tree = stage.look()
    stage.rate("b", 900)
    assert tree.priorities() == [100]
    tree.drain()
    assert tree.priorities() == [900, 100]
    stage.rate("c", 800)
    followed = [tree.follow_next(100, oldest=False) for _ in range(3)]
    assert [each.workload.name if each else None for each in followed] == ["d", None, "a"]
    assert names(tree) == {900: ["b"], 800: ["c"], 100: ["d", "a"]}


def test_whoever_is_followed_is_news(stage: Stage) -> None:
    """For whoever keeps an order of some of them; who followed it alone knows that there is no other news."""
    for name in ("a", "b", "c", "d"):
        stage.add(name, 100)
    tree = stage.look()
    generation = tree.changes.generation
    assert tree.follow_next(100, oldest=False) is not None
    assert tree.changes.generation == generation + 1
    stage.rate("c", 900)
    assert tree.follow_next(100, oldest=False) is None
    stage.rate("b", 100)
    tree.drain()
    assert tree.changes.generation == generation + 3
    stage.slice.remove_child("a")
    assert tree.follow_next(100, oldest=False) is None
    assert (tree.changes.generation, tree.unfollowed) == (generation + 3, 0)
    assert tree.follow_next(100, oldest=False) is None


def test_who_is_gone_is_not_there_whether_or_not_its_event_was_taken(stage: Stage) -> None:
    stage.add("a", 100)
    gone, again = stage.add("b", 100), stage.add("c", 100)
    tree = stage.look()
    stage.slice.remove_child("b")
    stage.slice.remove_child("c")
    new = stage.add("c", 300)
    assert tree.find(gone) is None
    assert tree.find(again) is None
    assert tree.find(new) is not None
    tree.drain()
    assert names(tree) == {300: ["c"], 100: ["a"]}
    stage.slice.remove_child("a")
    tree.drain()
    assert names(tree) == {300: ["c"]}


def test_who_says_no_priority_or_no_name_is_looked_at(stage: Stage) -> None:
    with stage.slice.make_child("half") as half:
        write_priority(half.fd, 900)
        stage.slice.make_child("bare").close()
        with stage.slice.make_child("forged") as forged:
            write_identity(forged.fd, Identity("forged", 1))
            os.setxattr(forged.fd, "trusted.cgoom.priority", b"9e9")
        with stage.slice.make_child("plain") as plain:
            write_identity(plain.fd, Identity("plain", 1))
            os.removexattr(plain.fd, "trusted.cgoom.priority")
        stage.trees.append(tree := Tree(stage.root, stage.slice.ref.path, Scope(())))
        assert [change.workload.name for change in tree.rescan()] == ["plain"]
        assert names(tree) == {900: [], 500: ["plain"]}
        assert len(tree) == 1
        write_identity(half.fd, Identity("half", 900))
    tree.drain()
    assert names(tree) == {900: ["half"], 500: ["plain"]}


@pytest.mark.parametrize("is_touched", [True, False])
def test_a_slice_that_was_made_again_is_another_one(stage: Stage, is_touched: bool) -> None:
    """All events are taken in one turn, as after a last workload that ended and a first one that was launched."""
    with stage.slice.make_child("inner.slice") as inner, open_cgroup(stage.slice.fd) as root:
        made = Stage(root, inner).add("old", 100)
    old = CgroupRef("inner.slice/old", made.cgroup_id)
    tree = Tree(root := open_cgroup(stage.slice.fd), "inner.slice", Scope(()))
    tree.rescan()
    assert tree.find(old) is not None
    with stage.slice.open_child("inner.slice") as inner:
        if is_touched:  # then the new one is there at an event that comes before those of the old one's end
            os.setxattr(inner.fd, "trusted.cgoom.test", b"")
        inner.remove_child("old")
    stage.slice.remove_child("inner.slice")
    with stage.slice.make_child("inner.slice") as inner:
        again = Stage(root, inner)
        again.add("old", 300)
        tree.drain()
        assert tree.find(old) is None
        assert names(tree) == {300: ["old"]}
        again.add("late", 700)
        tree.drain()
        assert names(tree) == {700: ["late"], 300: ["old"]}
    assert not tree.blind
    tree.close()
    root.close()


def test_a_slice_that_is_gone_when_its_events_are_taken_takes_all_with_it(stage: Stage) -> None:
    with stage.slice.make_child("inner.slice") as inner, open_cgroup(stage.slice.fd) as root:
        old = CgroupRef("inner.slice/old", Stage(root, inner).add("old", 100).cgroup_id)
        tree = Tree(root, "inner.slice", Scope(()))
        tree.rescan()
        assert tree.find(old) is not None
        os.setxattr(inner.fd, "trusted.cgoom.test", b"")
        inner.remove_child("old")
        stage.slice.remove_child("inner.slice")
        tree.drain()
        assert (len(tree), tree.find(old)) == (0, None)
        with stage.slice.make_child("inner.slice") as again:
            Stage(root, again).add("old", 900)
            tree.drain()
            assert names(tree) == {900: ["old"]}
        tree.close()


def test_what_was_lost_is_listed_again(stage: Stage) -> None:
    stage.add("a", 100)
    tree = stage.look()
    assert names(tree) == {100: ["a"]}
    stage.add("b", 900)
    stage.add("c", 500)
    generation = tree.changes.generation
    tree.rescan()
    assert tree.changes.down_to(900) > generation
    assert names(tree) == {900: ["b"], 500: ["c"], 100: ["a"]}


@pytest.mark.parametrize(
    ("slice_before", "slice_after", "told"),
    [((0, 0), (1, 1), True), ((0, 0), (0, 0), False), ((1, 1), (2, 2), False), ((1, 0), (1, 1), False)],
)
@pytest.mark.parametrize("own_limit", [True, False])
def test_what_the_kernel_killed_before_its_turn_came_is_told(
    tmp_path: Path, slice_before: tuple[int, int], slice_after: tuple[int, int], told: bool, own_limit: bool
) -> None:
    """In plain files: a slice that counts nothing was mounted with memory_localevents."""

    def count(directory: Path, oom: int, oom_kill: int) -> None:
        (directory / "memory.events").write_text(f"oom {oom}\noom_kill {oom_kill}\n", encoding="ascii")

    (tmp_path / "s").mkdir()
    with open_cgroup(str(tmp_path)) as root, root.open_child("s") as slice_:
        stage = Stage(root, slice_)
        stage.add("a", 100)
        (tmp_path / "s" / "a" / "cgroup.events").write_text("populated 1\n", encoding="ascii")
        count(tmp_path / "s", *slice_before)
        count(tmp_path / "s" / "a", 0, 0)
        tree = stage.look()
        count(tmp_path / "s", *slice_after)
        count(tmp_path / "s" / "a", int(own_limit), 1)
        changes = tree.follow(HOUR_USEC, oldest=False)
        tree.close()
    kills = [change.own_limit for change in changes if change.kind == ChangeKind.KERNEL_KILL]
    assert kills == ([own_limit] if told else [])

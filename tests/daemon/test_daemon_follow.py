"""When those that are only listed are followed beside everything else."""

from __future__ import annotations

import itertools
from collections.abc import Sequence

import pytest

import cgoom.daemon.follow as follow_module
from cgoom.act.execute import Answer
from cgoom.core.match import Scope
from cgoom.daemon.follow import RESCAN_USEC, Follower
from cgoom.daemon.loop import Loop
from cgoom.daemon.parts import Parts
from cgoom.daemon.sources import NEVER_USEC
from cgoom.kernel.cgroup import open_cgroup
from cgoom.model import Candidate, CgroupRef, HostMemory, HostPolicy, Ladder, Level, Outcome, Policy, Workload
from cgoom.observe.tree import Change, ChangeKind, Tree
from tests.daemon.loop_world import AMPLE, CLOSE, LOW, Known, Short, find_second_wait_usec, set_clock
from tests.daemon.world import Deeds


class Behind(Tree):
    """Two turns follow everybody; how often there was one."""

    followed_turns = 0

    @property
    def unfollowed(self) -> int:
        return max(0, 2 - self.followed_turns)

    @property
    def is_behind(self) -> bool:
        return self.unfollowed > 0


WARNED = HostMemory(1 << 30, (1 << 30) // 14, 0, 0)
LEAVING = HostMemory(1 << 30, (1 << 30) // 17, 0, 0)  # above the kill threshold, and not yet out of the level


@pytest.mark.parametrize(
    ("memory", "kill", "unread", "times_usec"),
    [
        ([AMPLE], None, 0, [10_000, 10_000]),
        ([WARNED], None, 0, [10_000, 10_000]),
        ([CLOSE], None, 0, [0, 0]),  # one of them each time
        ([LOW], None, 0, [10_000, 10_000]),
        ([LOW], Outcome.DONE, 0, []),
        ([LOW], Outcome.GONE, 0, []),  # the next one may have to die in a moment
        ([LOW, LEAVING], None, 0, [0, 0]),
        ([WARNED], None, 3, []),  # the docket follows whom it needs
    ],
)
def test_who_is_only_listed_is_followed_where_there_is_time(
    parts: Parts,
    victim: Workload,
    monkeypatch: pytest.MonkeyPatch,
    memory: list[HostMemory],
    kill: Outcome | None,
    unread: int,
    times_usec: list[int],
) -> None:
    """`kill`: what comes of the kill of the one that can be chosen; None: nobody can."""
    assert isinstance(parts.docket, Known)
    monkeypatch.setattr(Known, "unread", unread)
    parts.docket.found = () if kill is None else (Candidate(victim),)
    monkeypatch.setattr(Deeds, "kill", lambda *_: Answer(kill or Outcome.FAILED, ""))
    now_usec, given_usec = [1_000_000], []

    def follow(tree: Behind, until_usec: int, *, oldest: bool) -> list[Change]:
        given_usec.append(until_usec - now_usec[0])
        tree.followed_turns += 1
        now_usec[0] += 2_000
        return []

    set_clock(monkeypatch, lambda: now_usec[0])
    monkeypatch.setattr(Short, "read", lambda _: memory[0])
    monkeypatch.setattr(Behind, "follow", follow)
    root = open_cgroup(parts.root_fd)
    parts.tree = Behind(root, "cgoom.slice", Scope(()))
    loop = Loop(parts, Policy(ladder=Ladder(warn=())))
    if len(memory) > 1:
        monkeypatch.setattr(Behind, "unfollowed", 0)
        loop.step(frozenset())
        monkeypatch.setattr(Behind, "unfollowed", 1)
        del memory[0]
    for _ in range(2):
        loop.step(frozenset())
        loop.step(frozenset())  # too early for more
        now_usec[0] += 100_000
    assert given_usec == times_usec
    parts.tree.close()
    root.close()


def test_a_tree_that_is_not_all_watched_is_scanned_once_in_a_while(
    parts: Parts, victim: Workload, monkeypatch: pytest.MonkeyPatch
) -> None:
    now_usec, found = 1_000_000, [Change(ChangeKind.APPEARED, victim)]
    monkeypatch.setattr(follow_module, "read_usec", lambda: now_usec)
    monkeypatch.setattr(Tree, "rescan", lambda _: found)
    follower = Follower(parts.tree, parts.meminfo, parts.standby, parts.ledger, parts.journal, parts.root_fd)
    assert follower.drain(now_usec, is_told=False) == []
    parts.tree.blind = True
    assert follower.drain(now_usec, is_told=False) == found
    assert follower.rescan_due_usec == now_usec + RESCAN_USEC
    assert follower.drain(follower.rescan_due_usec - 1, is_told=False) == []
    assert follower.drain(follower.rescan_due_usec, is_told=False) == found


def test_what_was_found_is_told_one_by_one_and_all_of_it_at_the_end(
    parts: Parts, victim: Workload, monkeypatch: pytest.MonkeyPatch
) -> None:
    """To tell one takes longer than a turn has."""
    now_usec = itertools.count(0, follow_module.FOLLOW_USEC)
    monkeypatch.setattr(follow_module, "read_usec", lambda: next(now_usec))
    told: list[int] = []

    def follow(_tree: Tree, _until_usec: int, *, oldest: bool) -> list[Change]:
        return [Change(ChangeKind.APPEARED, victim)] * 3 if not told else []

    def take(_follower: Follower, changes: Sequence[Change], _level: Level) -> frozenset[CgroupRef]:
        told.append(len(changes))
        return frozenset()

    monkeypatch.setattr(Tree, "follow", follow)
    monkeypatch.setattr(Follower, "take", take)
    follower = Follower(parts.tree, parts.meminfo, parts.standby, parts.ledger, parts.journal, parts.root_fd)
    assert follower.due_usec == NEVER_USEC
    for turn in range(2):
        follower.catch_up(Level.OK, is_early=True, oldest=False)
        assert len(told) == turn
        assert follower.due_usec != NEVER_USEC
    follower.finish(Level.OK)
    assert told == [1, 1, 1]
    assert follower.due_usec == NEVER_USEC


def test_a_look_is_not_later_for_those_that_were_followed_before_it(
    parts: Parts, monkeypatch: pytest.MonkeyPatch
) -> None:
    now_usec = [1_000_000]

    def follow(_tree: Behind, _until_usec: int, *, oldest: bool) -> list[Change]:
        now_usec[0] += 2_000
        return []

    set_clock(monkeypatch, lambda: now_usec[0])
    monkeypatch.setattr(Short, "read", lambda _: CLOSE)
    monkeypatch.setattr(Behind, "follow", follow)
    root = open_cgroup(parts.root_fd)
    parts.tree = Behind(root, "cgoom.slice", Scope(()))
    loop = Loop(parts, Policy(host=HostPolicy(warn=HostPolicy().kill)))
    wait_usec = find_second_wait_usec(loop, monkeypatch)
    assert now_usec[0] > 1_000_000
    assert wait_usec <= 1_000
    parts.tree.close()
    root.close()

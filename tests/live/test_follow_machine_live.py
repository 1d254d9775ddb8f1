"""Workloads come, go and change while the daemon follows them bit by bit: whoever is chosen is the first of all.

In plain files of a tmpfs, which like cgroup2 never gives out an inode number twice.
"""

from __future__ import annotations

import os
import tempfile
from dataclasses import dataclass, replace
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, rule

import cgoom.daemon.docket as docket_module
from cgoom.core.rank import rank_first
from cgoom.kernel.cgroup import open_cgroup
from cgoom.kernel.identity import Identity, write_identity
from cgoom.model import Candidate, Policy, TieBreak, VictimPolicy
from tests.live.test_follow_live import Host

pytestmark = [pytest.mark.live, pytest.mark.skipif(os.geteuid() != 0, reason="needs root for trusted.* xattrs")]

NAMES = st.sampled_from("abcdefgh")
PRIORITIES = st.sampled_from([100, 500, 900])
SIZES = st.integers(1, 4).map(lambda number: number << 20)
TIE_BREAKS = st.sampled_from(
    [(TieBreak.NEWEST,), (TieBreak.OLDEST,), (TieBreak.LARGEST, TieBreak.NEWEST), (TieBreak.LARGEST, TieBreak.OLDEST)]
)


@dataclass(frozen=True)
class Resident:
    """What is known of a workload without the daemon."""

    cgroup_id: int
    priority: int
    size_bytes: int
    protect: bool = False
    populated: bool = True


class Following(RuleBasedStateMachine):
    """The host's own book of its workloads beside the daemon's view of them."""

    @initialize(tie_break=TIE_BREAKS, there=st.dictionaries(NAMES, st.tuples(PRIORITIES, SIZES), min_size=3))
    def begin(self, tie_break: tuple[TieBreak, ...], there: dict[str, tuple[int, int]]) -> None:
        self.scratch = tempfile.TemporaryDirectory(prefix="cgoom-follow-", dir="/dev/shm")
        self.host = Host(Path(self.scratch.name), Policy(victim=VictimPolicy(tie_break=tie_break)))
        self.residents: dict[str, Resident] = {}
        self.monkeypatch = pytest.MonkeyPatch()
        self.now_usec, self.tick_usec = 0, 0
        self.found: tuple[Candidate, ...] = ()  # the last look, and the generation that it knew
        self.known = 0
        self.monkeypatch.setattr(docket_module, "read_usec", self.read_usec)
        for name, (priority, size_bytes) in there.items():
            self.add(name, priority, size_bytes)
        self.host.tree.rescan()

    def read_usec(self) -> int:
        """A clock that is later each time, when looks are to take time."""
        self.now_usec += self.tick_usec
        return self.now_usec

    def teardown(self) -> None:
        if hasattr(self, "host"):
            self.monkeypatch.undo()
            self.host.close()
            self.scratch.cleanup()

    def write(self, name: str) -> None:
        """The files say what the book says."""
        resident = self.residents[name]
        self.host.live(name, is_alive=resident.populated)
        self.host.resize(name, resident.size_bytes)

    @rule(name=NAMES, priority=PRIORITIES, size_bytes=SIZES)
    def add(self, name: str, priority: int, size_bytes: int) -> None:
        """It is launched, or the one of that name is over and it is launched again."""
        if name in self.residents:
            self.host.remove(name)
        self.host.add(name, priority, size_bytes)
        cgroup_id = (self.host.directory / "s" / name).stat().st_ino
        self.residents[name] = Resident(cgroup_id, priority, size_bytes)

    @rule(name=NAMES)
    def remove(self, name: str) -> None:
        if self.residents.pop(name, None) is not None:
            self.host.remove(name)

    @rule(name=NAMES, priority=PRIORITIES, protect=st.booleans())
    def rate(self, name: str, priority: int, protect: bool) -> None:
        if name in self.residents:
            with open_cgroup(str(self.host.directory), f"s/{name}") as cgroup:
                write_identity(cgroup.fd, Identity(name, priority, protect))
            self.residents[name] = replace(self.residents[name], priority=priority, protect=protect)

    @rule(name=NAMES, populated=st.booleans(), size_bytes=SIZES)
    def live(self, name: str, populated: bool, size_bytes: int) -> None:
        if name in self.residents:
            self.residents[name] = replace(self.residents[name], populated=populated, size_bytes=size_bytes)
            self.write(name)

    @rule()
    def restart(self) -> None:
        """Another daemon: everybody is only listed."""
        self.host.end()
        self.host.begin()
        self.found = ()

    @rule()
    def drain(self) -> None:
        """The first of all still is, and the priority of the second, unless a change says otherwise."""
        self.host.tree.drain()
        able = sorted(filter(self.is_able, self.residents.values()), key=self.place, reverse=True)
        by_size = TieBreak.LARGEST in self.host.policy.victim.tie_break
        for place, candidate in enumerate(self.found):
            if self.host.tree.changes.down_to(candidate.workload.priority) <= self.known:
                # There may have been no time for a second one that is only listed.
                priority = able[place].priority
                assert candidate.workload.priority == priority or (place and self.host.tree.count_listed(priority))
                assert place or by_size or candidate.workload.ref.cgroup_id == able[0].cgroup_id

    @rule(priority=PRIORITIES, act=st.sampled_from(["empty", "rate", "protect", "remove"]))
    def change_the_first(self, priority: int, act: str) -> None:
        """The next look knows."""
        name = self.found[0].workload.name if self.found else ""
        if name in self.residents:
            if act == "empty":
                self.live(name, False, 1 << 20)
            elif act == "remove":
                self.remove(name)
            else:
                self.rate(name, priority, protect=act == "protect")
            self.drain()
            self.look(urgent=False, is_new=False)

    @rule()
    def rescan(self) -> None:
        self.host.tree.rescan()

    @rule()
    def follow_one(self) -> None:
        self.host.tree.follow(0, oldest=self.host.docket.is_oldest_first)

    @rule(limit=st.integers(1, 3), tick_usec=st.sampled_from([0, 9_000, 30_000]))
    def prepare(self, limit: int, tick_usec: int) -> None:
        """What there was time to find out of the order is its beginning."""
        self.host.tree.drain()
        self.tick_usec = tick_usec
        docket, victim = self.host.docket, self.host.policy.victim
        order = rank_first(docket.find_equals(limit, may_read=False), victim, limit)
        self.tick_usec = 0
        able = [name for name, each in self.residents.items() if self.is_able(each)]
        able.sort(key=lambda name: self.place(self.residents[name]), reverse=True)
        expected = able[: len(order)] if docket.is_cut else able[:limit]
        if TieBreak.LARGEST not in victim.tie_break and not docket.is_cut:
            assert [workload.name for workload in order] == expected
        assert [workload.priority for workload in order] == [self.residents[name].priority for name in expected]

    @rule(tick_usec=st.sampled_from([700, 2_500, 30_000]), urgent=st.booleans())
    def look_in_a_hurry(self, tick_usec: int, urgent: bool) -> None:
        """Time is short: whoever is chosen has the largest number of those that can be chosen."""
        self.host.tree.drain()
        self.tick_usec = tick_usec
        found = self.host.docket.look(frozenset(), 0, urgent=urgent)
        self.tick_usec = 0
        able = [each for each in self.residents.values() if self.is_able(each)]
        if found:
            assert found[0].workload.priority == max(each.priority for each in able)
            assert self.stands(found, self.host.docket.generation)
        else:
            assert not able or (not urgent and self.host.docket.unread)

    @rule(
        place=st.integers(0, 7),
        others=st.none() | PRIORITIES,
        priority=st.none() | PRIORITIES,
        is_new=st.booleans(),
        tick_usec=st.sampled_from([0, 700, 2_500, 30_000]),
        urgent=st.booleans(),
    )
    def look_before_the_event(
        self, place: int, others: int | None, priority: int | None, is_new: bool, tick_usec: int, urgent: bool
    ) -> None:
        """What happened shows only as far as somebody is followed; the next look has to know all of it.

        `others`: the priority of all before it, to make them equals.
        """
        if not self.residents:
            return
        for name in self.residents if others is not None else ():
            self.rate(name, others or 0, protect=False)
        name = sorted(self.residents)[place % len(self.residents)]
        self.restart()
        if priority is None:
            self.remove(name)
        elif is_new:
            self.add(name, priority, 1 << 20)
        else:
            self.rate(name, priority, protect=False)
        self.tick_usec = tick_usec
        found = self.host.docket.look(frozenset(), 0, urgent=urgent)
        self.tick_usec = 0
        assert not found or self.stands(found, self.host.docket.generation)
        self.look(urgent=urgent, is_new=False)

    @rule(urgent=st.booleans(), is_new=st.booleans())
    def look(self, urgent: bool, is_new: bool) -> None:
        """There is time: whoever is chosen is the first of all, by sizes of now if the shortage is new."""
        self.host.tree.drain()
        if is_new:
            self.host.docket.forget()
        self.found = found = self.host.docket.look(frozenset(), 0, urgent=urgent)
        self.known = self.host.docket.generation if found else -1
        assert not self.host.docket.unread
        able = {name: each for name, each in self.residents.items() if self.is_able(each)}
        by_size = TieBreak.LARGEST in self.host.policy.victim.tie_break
        if not able:
            assert not found
        elif by_size and not is_new:
            assert found[0].workload.priority == max(each.priority for each in able.values())
        else:
            assert found[0].workload.name == max(able, key=lambda name: self.place(able[name]))
            assert found[0].workload.ref.cgroup_id == able[found[0].workload.name].cgroup_id

    def stands(self, found: tuple[Candidate, ...], generation: int) -> bool:
        """Whether the first is as it was found, as far as changes were noted."""
        return self.host.tree.changes.down_to(found[0].workload.priority) <= generation

    @staticmethod
    def is_able(resident: Resident) -> bool:
        """Whether it may be chosen."""
        return resident.populated and not resident.protect

    def place(self, resident: Resident) -> tuple[int, ...]:
        """The largest dies first."""
        tie_break = self.host.policy.victim.tie_break
        sign = -1 if TieBreak.OLDEST in tie_break else 1
        size_bytes = resident.size_bytes if TieBreak.LARGEST in tie_break else 0
        return (resident.priority, size_bytes, sign * resident.cgroup_id)


TestFollowing = Following.TestCase
TestFollowing.settings = settings(
    max_examples=150, stateful_step_count=30, deadline=None, suppress_health_check=list(HealthCheck)
)

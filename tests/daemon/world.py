"""A host for the daemon's parts: cgroups that are plain directories, a view of them, an executor that remembers."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import cast

from cgoom.act.execute import Answer, Executor
from cgoom.daemon.docket import Docket, Surroundings
from cgoom.daemon.flight import Flights
from cgoom.daemon.ledger import Ledger
from cgoom.daemon.trigger import Order, Trigger
from cgoom.kernel.cgroup import Cgroup, open_cgroup
from cgoom.kernel.sched import Importance
from cgoom.model import CgroupRef, HostMemory, Level, Origin, Outcome, Policy, Snapshot, State, Workload
from cgoom.observe.changes import Changes
from cgoom.observe.member import Member
from cgoom.observe.tree import Tree
from cgoom.record.history import History
from cgoom.record.journal import Journal
from cgoom.record.stage import Stage

GIB = 1 << 30
SHORT = {Level.OK: 50 * GIB, Level.WARN: 9 * GIB, Level.KILL: 4 * GIB}
PROVISIONAL = "?"


@dataclass
class View:
    """What the daemon's Tree says, without inotify."""

    changes: Changes = field(default_factory=Changes)
    found: dict[CgroupRef, Member] = field(default_factory=dict)
    listed: dict[CgroupRef, Member] = field(default_factory=dict)
    rated: dict[CgroupRef, int] = field(default_factory=dict)  # the priority that a listed one has by now
    blind: bool = False

    def __len__(self) -> int:
        return len(self.found) + len(self.listed)

    def find(self, ref: CgroupRef) -> Member | None:
        """The member of this identity."""
        return self.found.get(ref)

    def priorities(self) -> list[int]:
        """Those that somebody has, the largest number first."""
        known = (*self.found.values(), *self.listed.values())
        return sorted({each.workload.priority for each in known}, reverse=True)

    def followed(self, priority: int) -> list[Member]:
        """Those of this priority that are followed."""
        return [each for each in self.found.values() if each.workload.priority == priority]

    def count_listed(self, priority: int) -> int:
        """How many of this priority are not followed yet."""
        return sum(each.workload.priority == priority for each in self.listed.values())

    def follow_next(self, priority: int, *, oldest: bool) -> Member | None:
        """The newest or oldest one that was listed with this priority, if it has it still."""
        refs = [ref for ref, each in self.listed.items() if each.workload.priority == priority]
        if not refs:
            return None
        ref = min(refs, key=lambda ref: ref.cgroup_id if oldest else -ref.cgroup_id)
        self.found[ref] = member = self.listed.pop(ref)
        member.workload = replace(member.workload, priority=self.rated.get(ref, priority))
        self.changes.note(member.workload.priority)
        return member if member.workload.priority == priority else None

    def members(self) -> Iterator[Member]:
        """Everyone who is followed, the largest priority number first."""
        for priority in self.priorities():
            yield from self.followed(priority)

    def shields(self, _path: str) -> bool:
        """Nobody protects anybody here."""
        return False


@dataclass
class Deeds:
    """An executor that remembers what was done, and what each launcher would be told. `before`: called by each kill."""

    verdicts: dict[str, str] = field(default_factory=dict)
    killed: list[str] = field(default_factory=list)
    before: Callable[[], object] = field(default=lambda: None)

    def term(self, cgroup: Cgroup, verdict: str) -> Answer:
        """Asked, with a verdict that is not final."""
        self.verdicts[cgroup.ref.path] = PROVISIONAL + verdict
        return Answer(Outcome.DONE, "1 processes")

    def announce(self, cgroup: Cgroup) -> None:
        """A verdict follows."""
        self.verdicts[cgroup.ref.path] = PROVISIONAL

    def kill(self, cgroup: Cgroup, kill_fd: int | None = None) -> Answer:
        """Killed."""
        self.before()
        self.killed.append(cgroup.ref.path)
        return Answer(Outcome.DONE, "held" if kill_fd is not None else "")

    def tell(self, cgroup: Cgroup, verdict: str) -> None:
        """The verdict."""
        self.verdicts[cgroup.ref.path] = verdict

    def reap(self, cgroup: Cgroup) -> int:
        """Nothing is left."""
        assert cgroup.fd >= 0
        return 0


class World:
    """Workloads of given sizes, and the daemon's parts around them."""

    def __init__(self, directory: Path, policy: Policy | None = None) -> None:
        self.directory, self.policy = directory, policy or Policy()
        self.view, self.deeds = View(), Deeds()
        self.null = os.open(os.devnull, os.O_WRONLY)
        self.history = History(str(directory / "state"))
        self.stage = Stage(str(directory / "run"))
        self.ledger = Ledger(self.history, self.stage, Journal(self.null), "boot", "cgoom daemon")
        host = Surroundings(cast(Tree, self.view), "own.service", hybrid=False)
        self.docket = Docket(host, self.policy)
        self.flights = Flights(
            host, self.docket, cast(Executor, self.deeds), Importance(), self.ledger, Journal(self.null)
        )

    def fire(self, stuck: frozenset[CgroupRef] = frozenset(), late_usec: int = 0) -> Order:
        """Bring the host to the kill threshold, so much later: the order whose first was killed in advance, if any."""
        trigger, short = Trigger(self.flights, self.view.changes, None), self.snapshot(Level.KILL)
        trigger.cock(self.policy, State(Level.WARN, stuck=stuck), self.snapshot(Level.WARN).memory, short.now_usec)
        return trigger.pull(short.memory, short.now_usec + late_usec)

    def close(self) -> None:
        """Give back what is open."""
        self.flights.forget_ready()
        for member in (*self.view.found.values(), *self.view.listed.values()):
            member.cgroup.close()
        self.stage.close()
        os.close(self.null)

    def add(self, name: str, priority: int, size_bytes: int = 1 << 20) -> Member:
        """A workload that lives."""
        path = self.directory / name
        path.mkdir()
        for control in ("cgroup.kill", "cgroup.procs", "memory.swap.current"):
            (path / control).write_text("0\n" if control.startswith("memory") else "", encoding="ascii")
        (path / "cgroup.events").write_text("populated 1\nfrozen 0\n", encoding="ascii")
        cgroup = open_cgroup(str(self.directory), name)
        workload = Workload(cgroup.ref, name, priority, False, Origin.LAUNCHED)
        self.view.found[cgroup.ref] = member = Member(cgroup, workload, True, {})
        self.resize(member, size_bytes)
        self.view.changes.note(priority)
        return member

    def list_only(self, *members: Member) -> None:
        """They were there before the daemon, and are not followed yet."""
        for member in members:
            self.view.listed[member.workload.ref] = self.view.found.pop(member.workload.ref)
            self.view.changes.note(member.workload.priority)

    def resize(self, member: Member, size_bytes: int) -> None:
        """It grew or shrank."""
        path = self.directory / member.workload.name
        (path / "memory.current").write_text(f"{size_bytes}\n", encoding="ascii")
        (path / "memory.stat").write_text(f"anon {size_bytes}\n", encoding="ascii")

    def empty(self, member: Member) -> None:
        """Its last process has ended."""
        events = self.directory / member.workload.name / "cgroup.events"
        events.write_text("populated 0\nfrozen 0\n", encoding="ascii")
        member.populated = False
        self.view.changes.note(member.workload.priority)

    def snapshot(self, level: Level) -> Snapshot:
        """The host at this level, now."""
        return Snapshot(time.monotonic_ns() // 1000, HostMemory(100 * GIB, SHORT[level], 0, 0), GIB)

    def expect(self, *members: Member) -> None:
        """These are the first of the order."""
        first = tuple(member.workload for member in members)
        self.flights.expect(first, self.view.changes.generation, self.snapshot(Level.OK).memory)

    def make_ready(self, level: Level = Level.WARN) -> None:
        """Whoever is next is made ready."""
        self.flights.make_ready(self.policy, State(level=level), self.snapshot(level))

"""A daemon's loop over an empty directory, on a host that is short."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

import cgoom.daemon.follow as follow_module
import cgoom.daemon.loop as loop_module
import cgoom.daemon.sleeper as sleeper_module
from cgoom.daemon.docket import Docket
from cgoom.daemon.loop import Loop
from cgoom.daemon.parts import Parts
from cgoom.daemon.sources import NEVER_USEC, Source, Sources
from cgoom.daemon.standby import Unprepared
from cgoom.kernel.meminfo import MemInfo
from cgoom.kernel.sched import Importance
from cgoom.model import Candidate, CgroupRef, HostMemory, Level, Origin, Policy, Workload
from cgoom.observe.tree import Tree
from tests.daemon.world import Deeds

AMPLE, LOW = HostMemory(1 << 30, 1 << 30, 0, 0), HostMemory(1 << 30, 1 << 20, 0, 0)
# Just above the kill threshold.
CLOSE = HostMemory(1 << 30, (1 << 30) // 20 + (1 << 20), 0, 0)
GONE = Workload(CgroupRef("app", 7), "app", 600, False, Origin.MATCHED)
CONTROLS = {
    "cgroup.events": "populated 1\nfrozen 0\n",
    "cgroup.kill": "",
    "cgroup.procs": "",
    "memory.events": "oom 0\noom_kill 0\n",
    "memory.stat": "anon 4096\n",
    "memory.current": "4096\n",
    "memory.swap.current": "0\n",
}


def write_controls(directory: Path) -> None:
    """The control files of a workload that lives."""
    for name, text in CONTROLS.items():
        (directory / name).write_text(text, encoding="ascii")


def set_clock(monkeypatch: pytest.MonkeyPatch, read_usec: Callable[[], int]) -> None:
    """What time it is for a loop."""
    for module in (loop_module, follow_module, sleeper_module):
        monkeypatch.setattr(module, "read_usec", read_usec)


def find_second_wait_usec(loop: Loop, monkeypatch: pytest.MonkeyPatch) -> int:
    """How long a loop that runs wants to sleep after its first turn."""
    waits: list[int] = []

    def wait(_: Sources, timeout_usec: int) -> frozenset[Source]:
        waits.append(timeout_usec)
        loop.ending = len(waits) == 2
        return frozenset()

    monkeypatch.setattr(Sources, "wait", wait)
    loop.ending = False
    loop.run()
    return waits[1]


class Short(MemInfo):
    """A host at level KILL."""

    def __init__(self) -> None:
        pass

    def read(self) -> HostMemory:
        return LOW


class Noted(Unprepared):
    """What the loop says of the moment, the last time."""

    said: tuple[Level, bool] | None = None

    def due_usec(self, level: Level, *, is_killing: bool) -> int:
        assert self.said == (level, is_killing)
        return NEVER_USEC

    def keep(self, level: Level, now_usec: int, free_until_usec: int, *, is_killing: bool) -> None:
        self.said = (level, is_killing)


class Rank(Importance):
    """Whether it is an ordinary process at the moment, and which, the last time that it was."""

    is_lowered = is_patient = is_common = False

    def lower(self, *, is_patient: bool = True) -> None:
        self.is_lowered, self.is_patient, self.is_common = True, is_patient, False

    def stand_back(self) -> None:
        self.is_lowered = self.is_patient = self.is_common = True

    def restore(self) -> None:
        self.is_lowered = self.is_common = False


class Known(Docket):
    """Those that the test wants to be chosen from."""

    found: tuple[Candidate, ...] = ()

    def look(self, stuck: frozenset[CgroupRef], now_usec: int, *, urgent: bool) -> tuple[Candidate, ...]:
        return self.found


class Ranks:
    """What is called while the daemon is ahead of everybody (True), or an ordinary process."""

    def __init__(self, parts: Parts, monkeypatch: pytest.MonkeyPatch, policy: Policy | None = None) -> None:
        assert isinstance(parts.importance, Rank)
        self.seen: list[tuple[str, bool]] = []
        self.commons: set[str] = set()  # what was called by a process that has no more weight than others
        self.loop = Loop(parts, policy or Policy())
        self._rank, self._monkeypatch = parts.importance, monkeypatch
        monkeypatch.setattr(sleeper_module, "LATE_USEC", -NEVER_USEC)  # a busy host: every sleep ends late
        self.watch(Sources, "wait", lambda *_: frozenset())
        for owner, name in ((Tree, "rescan"), (Known, "look"), (Noted, "keep"), (Deeds, "kill"), (Deeds, "tell")):
            self.watch(owner, name)

    def watch(self, owner: type, name: str, instead: Callable[..., object] | None = None) -> None:
        """Note every call; the loop ends when there were enough."""
        call = instead or getattr(owner, name)

        def noted(*words: object, **named: object) -> object:
            self.seen.append((name, not self._rank.is_lowered))
            self.commons |= {name} if self._rank.is_common else set()
            self.loop.ending = len(self.seen) > 20
            return call(*words, **named)

        self._monkeypatch.setattr(owner, name, noted)

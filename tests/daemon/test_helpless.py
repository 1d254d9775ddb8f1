"""A host that stays short while nobody can be chosen: what is prepared does not wait for its end."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from cgoom.act.execute import DryExecutor
from cgoom.core.match import Scope
from cgoom.daemon.docket import Docket, Surroundings
from cgoom.daemon.flight import Flights
from cgoom.daemon.ledger import Ledger
from cgoom.daemon.loop import Loop, Parts
from cgoom.daemon.notify import Notifier
from cgoom.daemon.sources import NEVER_USEC, Sources
from cgoom.daemon.standby import Unprepared
from cgoom.kernel.cgroup import open_cgroup
from cgoom.kernel.meminfo import MemInfo
from cgoom.kernel.sched import Importance
from cgoom.model import Candidate, CgroupRef, HostMemory, Level, Origin, Policy, Workload
from cgoom.observe.tree import Tree
from cgoom.record.history import History
from cgoom.record.journal import Journal
from cgoom.record.stage import Stage


class Short(MemInfo):
    """A host at level KILL."""

    def __init__(self) -> None:
        pass

    def read(self) -> HostMemory:
        return HostMemory(1 << 30, 1 << 20, 0, 0)


class Noted(Unprepared):
    """What the loop says of the moment, the last time."""

    said: tuple[Level, bool] | None = None

    def due_usec(self, level: Level, *, is_killing: bool) -> int:
        assert self.said == (level, is_killing)
        return NEVER_USEC

    def keep(self, level: Level, now_usec: int, free_until_usec: int, *, is_killing: bool) -> None:
        self.said = (level, is_killing)


class Known(Docket):
    """Those that the test wants to be chosen from."""

    found: tuple[Candidate, ...] = ()

    def look(self, stuck: frozenset[CgroupRef], now_usec: int, *, urgent: bool) -> tuple[Candidate, ...]:
        return self.found


@pytest.fixture
def parts(tmp_path: Path) -> Iterator[Parts]:
    """A daemon over an empty directory, on a host that is short."""
    blocked = signal.pthread_sigmask(signal.SIG_BLOCK, ())  # a daemon's Sources block what they read
    (tmp_path / "mount").mkdir()
    (tmp_path / "run").mkdir(mode=0o700)
    root = open_cgroup(str(tmp_path / "mount"))
    tree, journal = Tree(root, "cgoom.slice", Scope(())), Journal(-1, {})
    host = Surroundings(tree, "", False)
    docket = Known(host, Policy())
    ledger = Ledger(History(str(tmp_path / "state")), Stage(str(tmp_path / "run")), journal, "0f", "cgoom daemon")
    yield Parts(
        tree=tree,
        sources=Sources(tree.fd),
        meminfo=Short(),
        docket=docket,
        flights=Flights(host, docket, DryExecutor(), Importance(), ledger, journal),
        importance=Importance(),
        ledger=ledger,
        standby=Noted(),
        journal=journal,
        notifier=Notifier(),
        publish=lambda _: None,
        root_fd=root.fd,
        fill_bytes_per_sec=1 << 30,
        policy_path="",
    )
    tree.close()
    root.close()
    signal.pthread_sigmask(signal.SIG_SETMASK, blocked)


@pytest.mark.parametrize("is_helpless", [True, False])
def test_only_a_kill_that_can_come_holds_back_what_is_prepared(parts: Parts, is_helpless: bool) -> None:
    assert isinstance(parts.docket, Known)
    assert isinstance(parts.standby, Noted)
    if not is_helpless:
        victim = Workload(CgroupRef("app", 7), "app", 600, False, Origin.MATCHED)
        parts.docket.found = (Candidate(victim),)
    Loop(parts, Policy()).step(frozenset())
    assert parts.standby.said == (Level.KILL, not is_helpless)

"""The parts of a loop, and a workload of it."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from pathlib import Path
from typing import cast

import pytest

from cgoom.act.execute import Executor
from cgoom.core.match import Scope
from cgoom.daemon.docket import Surroundings
from cgoom.daemon.flight import Flights
from cgoom.daemon.ledger import Ledger
from cgoom.daemon.notify import Notifier
from cgoom.daemon.parts import Parts
from cgoom.daemon.sources import Sources
from cgoom.kernel.cgroup import open_cgroup
from cgoom.model import Candidate, MatchRule, Policy, Workload
from cgoom.observe.tree import Tree
from cgoom.record.history import History
from cgoom.record.journal import Journal
from cgoom.record.stage import Stage
from tests.daemon.loop_world import Known, Noted, Rank, Short, write_controls
from tests.daemon.world import Deeds


@pytest.fixture
def parts(tmp_path: Path) -> Iterator[Parts]:
    """A daemon over an empty directory, on a host that is short."""
    blocked = signal.pthread_sigmask(signal.SIG_BLOCK, ())  # a daemon's Sources block what they read
    (tmp_path / "mount").mkdir()
    (tmp_path / "run").mkdir(mode=0o700)
    root = open_cgroup(str(tmp_path / "mount"))
    tree, journal = Tree(root, "cgoom.slice", Scope(())), Journal(-1, {})
    host, rank = Surroundings(tree, "", False), Rank()
    docket = Known(host, Policy())
    ledger = Ledger(History(str(tmp_path / "state")), Stage(str(tmp_path / "run")), journal, "0f", "cgoom daemon")
    yield Parts(
        tree=tree,
        sources=Sources(tree.fd),
        meminfo=Short(),
        module=None,
        docket=docket,
        flights=Flights(host, docket, cast(Executor, Deeds()), rank, ledger, journal),
        importance=rank,
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


@pytest.fixture
def victim(parts: Parts, tmp_path: Path) -> Workload:
    """A workload that lives, and is the first to die."""
    directory = tmp_path / "mount" / "app"
    directory.mkdir()
    write_controls(directory)
    change, *_ = parts.tree.rescope(Scope((MatchRule("app", priority=600),)))
    assert isinstance(parts.docket, Known)
    parts.docket.found = (Candidate(change.workload),)
    return change.workload

"""What the daemon's loop is wired from."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from cgoom.daemon.docket import Docket
from cgoom.daemon.flight import Flights
from cgoom.daemon.ledger import Ledger
from cgoom.daemon.notify import Notifier
from cgoom.daemon.sources import Sources
from cgoom.daemon.standby import Standby, Unprepared
from cgoom.kernel.meminfo import MemInfo
from cgoom.kernel.memory_info import Module
from cgoom.kernel.sched import Importance
from cgoom.model import Policy
from cgoom.observe.tree import Tree
from cgoom.record.journal import Journal


@dataclass(slots=True)
class Parts:
    """What the loop is wired from. `publish` writes the policy in force where `cgoom status` finds it."""

    tree: Tree
    sources: Sources
    meminfo: MemInfo
    module: Module | None
    docket: Docket
    flights: Flights
    importance: Importance
    ledger: Ledger
    standby: Standby | Unprepared
    journal: Journal
    notifier: Notifier
    publish: Callable[[Policy], None]
    root_fd: int
    fill_bytes_per_sec: int
    policy_path: str

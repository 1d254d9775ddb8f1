"""What happens to workloads without our doing: they appear and end, the kernel kills in one, one is left empty."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace

from cgoom.act.leftover import remove_leftover
from cgoom.daemon.ledger import Ledger, Seen
from cgoom.daemon.standby import Standby, Unprepared
from cgoom.errors import CgoomError
from cgoom.kernel.cgroup import open_cgroup
from cgoom.kernel.meminfo import MemInfo
from cgoom.model import Candidate, CgroupRef, Level, Origin, Outcome, Why
from cgoom.observe.tree import Change, ChangeKind, Tree


@dataclass(slots=True)
class Follower:
    """Takes the changes of the tree. `root_fd`: the cgroup2 mount."""

    tree: Tree
    meminfo: MemInfo
    standby: Standby | Unprepared
    ledger: Ledger
    root_fd: int

    def take(self, changes: Iterable[Change], level: Level) -> frozenset[CgroupRef]:
        """Record what the kernel did, remove what is left empty; who has ended."""
        ended = set()
        for change in changes:
            if change.kind == ChangeKind.KERNEL_KILL:
                self._record_kernel_kill(change, level)
            elif change.kind == ChangeKind.ENDED:
                ended.add(change.workload.ref)
            else:
                self._sweep(change)
        return frozenset(ended)

    def _record_kernel_kill(self, change: Change, level: Level) -> None:
        """The kernel was quicker, or the workload met its own limit: it is told like our own decisions."""
        if not change.own_limit and self.standby.has_killed(change.workload.ref):
            return  # the module had the kernel do it, and that is told
        seen = Seen(level, self.meminfo.read(), len(self.tree))
        limit = "killed by the kernel at its own memory.max"
        why = Why(limit if change.own_limit else "killed by the kernel, out of memory", "the kernel chose")
        record = self.ledger.draft(seen, Candidate(change.workload), why, "kernel-oom")
        self.ledger.append(replace(record, outcome=Outcome.DONE, note=""))

    def _sweep(self, change: Change) -> None:
        member = self.tree.find(change.workload.ref)
        if member is None or member.populated or change.workload.origin != Origin.LAUNCHED:
            return
        try:
            with open_cgroup(self.root_fd, change.workload.ref.path.rpartition("/")[0]) as parent:
                remove_leftover(parent, member.cgroup, member.workload.name)
        except CgoomError:
            return  # the slice is gone, and with it what was to be removed

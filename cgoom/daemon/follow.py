"""What happens to workloads without our doing: they appear and end, the kernel kills in one, one is left empty.

And following those that are only listed, beside everything else.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass, field, replace

from cgoom.act.leftover import remove_leftover
from cgoom.core.pace import REST_TIMES
from cgoom.daemon.ledger import Ledger, Seen
from cgoom.daemon.sources import NEVER_USEC
from cgoom.daemon.standby import Standby, Unprepared
from cgoom.errors import CgoomError
from cgoom.kernel.cgroup import open_cgroup
from cgoom.kernel.clock import read_usec
from cgoom.kernel.meminfo import MemInfo
from cgoom.model import Candidate, CgroupRef, Level, Origin, Outcome, Why
from cgoom.observe.tree import Change, ChangeKind, Tree
from cgoom.record.journal import Journal, Severity

# Microseconds between two scans of the whole tree where the kernel gives no more watches; chosen: what a second of
# ignorance costs is less than what scanning without a pause would.
RESCAN_USEC = 1_000_000
# Microseconds that one turn spends on following workloads that are only listed; chosen: the next look at the host is
# further away. To follow one was measured to take 40 us, and 1 ms in an emulated guest, which makes ten of them a turn.
FOLLOW_USEC = 10_000
# Microseconds between one of them and the next where the host has to be looked at within a turn; chosen: hardly a look
# comes later for it, and thousands are followed within a quarter of an hour.
PAUSE_USEC = 100_000


@dataclass(slots=True)
class Follower:
    """Takes the changes of the tree. `root_fd`: the cgroup2 mount."""

    tree: Tree
    meminfo: MemInfo
    standby: Standby | Unprepared
    ledger: Ledger
    journal: Journal
    root_fd: int
    _found: deque[Change] = field(default_factory=deque, init=False)
    _is_behind: bool = field(default=False, init=False)  # `catch_up` met somebody who was only listed
    _at_usec: int = field(default=0, init=False)
    _rescan_at_usec: int = field(default=0, init=False)

    @property
    def rescan_due_usec(self) -> int:
        """When the whole tree is to be scanned; NEVER_USEC: the kernel tells what changes."""
        return self._rescan_at_usec if self.tree.blind else NEVER_USEC

    def drain(self, now_usec: int, *, is_told: bool) -> list[Change]:
        """What has changed in the tree. `is_told`: the kernel says that something has."""
        changes = self.tree.drain() if is_told else []
        if now_usec >= self.rescan_due_usec:
            changes += self.tree.rescan()
            self._rescan_at_usec = read_usec() + RESCAN_USEC
        return changes

    @property
    def due_usec(self) -> int:
        """When `catch_up` has something to do; NEVER_USEC: it has not."""
        is_told = not self._is_behind or self.tree.blind
        return NEVER_USEC if is_told and not self._found and not self.tree.is_behind else self._at_usec

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

    def catch_up(self, level: Level, *, is_early: bool, oldest: bool) -> frozenset[CgroupRef]:
        """Follow some of those that are only listed, a quarter of a processor's time at most; who has ended meanwhile.

        `is_early`: there is time for more than one. `oldest`: which one of equals comes first.
        """
        begun_usec = read_usec()
        until_usec = begun_usec + (FOLLOW_USEC if is_early else 0)
        ended = self._take_found(level, until_usec)
        if read_usec() < until_usec or not self._found:
            self._is_behind = self._is_behind or self.tree.unfollowed > 0
            self._found.extend(self.tree.follow(until_usec, oldest=oldest))
        if self._is_behind and not self.tree.unfollowed and not self.tree.blind:
            self._is_behind = False
            self.journal.write(Severity.INFO, f"all {len(self.tree)} workloads are followed")
        now_usec = read_usec()
        self._at_usec = now_usec + (REST_TIMES * (now_usec - begun_usec) if is_early else PAUSE_USEC)
        return ended

    def finish(self, level: Level) -> None:
        """Tell what was found and not told yet, at the end of the daemon."""
        self._found.extend(self.tree.follow(0, oldest=False))
        self._take_found(level, NEVER_USEC)

    def _take_found(self, level: Level, until_usec: int) -> frozenset[CgroupRef]:
        """Take what was found until then, one at least: to remove what is left empty takes longer than to follow it."""
        ended: frozenset[CgroupRef] = frozenset()
        while self._found:
            ended |= self.take((self._found.popleft(),), level)
            if read_usec() >= until_usec:
                break
        return ended

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

"""What happens when the daemon is late, stopped or dead: prepared while there is time, told when it is back.

With the module: the armed order, and nothing else. Without it: the processes of the next victim have the largest
oom_score_adj, which makes the kernel's first choice ours.
"""

from __future__ import annotations

import os
import time
from dataclasses import replace

from cgoom.core.detect import shortage
from cgoom.core.explain import CONSIDERED_LIMIT
from cgoom.core.rank import rank_first
from cgoom.daemon.docket import Docket
from cgoom.daemon.ledger import Ledger, Seen
from cgoom.daemon.sources import NEVER_USEC
from cgoom.daemon.watch import Watch, find_new
from cgoom.errors import CgoomError, GoneError
from cgoom.kernel.cgroup import open_cgroup
from cgoom.kernel.clock import read_usec
from cgoom.kernel.memory_info import Answer, ArmedKill, Stats
from cgoom.kernel.score import put_back_scores, raise_scores, read_scores
from cgoom.model import (
    PRIORITY_DEFAULT,
    Candidate,
    CgroupRef,
    Considered,
    Level,
    Origin,
    Outcome,
    Policy,
    Step,
    Why,
    Workload,
)
from cgoom.observe.tree import Tree
from cgoom.record.ids import make_record_id
from cgoom.record.journal import Journal, Severity
from cgoom.record.standby import Memo, Raised, read_memo, write_memo

# Workloads in the order that is handed over; chosen: more than a host loses before a daemon is back.
ORDER_LIMIT = 64
# Microseconds between two orders; chosen: launches come in bursts, and the order may be that old without harm.
PAUSE_USEC = 200_000
# Times that what an order took has to pass before the next one, so that a burst of ten thousand launches among equals
# costs a twentieth of one processor at most; chosen.
PAUSE_TIMES = 20
# Microseconds after which an order that stands is made anew if anybody came or went at all: sizes grow, processes come
# and write their own score, the module may have refused it. Chosen: it may take a tenth of a second.
AGE_USEC = 10_000_000
# Microseconds that an order may be out of date while memory has to be looked at more often than it takes; chosen.
PATIENCE_USEC = 1_000_000


class Standby:
    """Keeps the module's order, or the next victim's score, in line with the tree: coalesced, never before a kill."""

    def __init__(
        self,
        tree: Tree,
        docket: Docket,
        watch: Watch,
        ledger: Ledger,
        journal: Journal,
        run_dir: str,
        boot_id: str,
        root_fd: int,
    ) -> None:
        """`root_fd`: the cgroup2 mount, below which the paths of workloads begin."""
        self._root_fd = root_fd
        self._tree, self._docket, self._watch = tree, docket, watch
        self._ledger, self._journal = ledger, journal
        self._run_dir, self._pid = run_dir, os.getpid()
        self._memo = self._kept = Memo(boot_id)
        self.first: tuple[Workload, ...] = ()  # the first two of the order
        self._policy = Policy()
        self._seen: tuple[int, Level, int] | None = None  # generation, level and what the module was then
        self._down_to = self._made_usec = 0  # the priority below which nothing matters for the order, and its time
        self._armed: tuple[int, tuple[Workload, ...]] | None = None  # None: what the module has is not known
        self._told_ns = 0
        self._recovered: frozenset[int] = frozenset()  # cgroups whose armed kill stands in a record that was taken over
        self._killed: frozenset[int] = frozenset()
        self._due_usec = self._took_usec = 0
        self._late_usec: int | None = None
        self._said: set[str] = set()

    @property
    def is_watched(self) -> bool:
        """Whether the module watches and sees no shortage, so that the daemon needs no timer."""
        return self._watch.is_calm

    @property
    def is_guarded(self) -> bool:
        """Whether the module watches and will say so when the kill threshold is reached."""
        return self._watch.is_below_kill

    def begin(self, policy: Policy) -> None:
        """Take over what an earlier daemon left, and tell what the module did while none ran."""
        try:
            self._memo = self._kept = read_memo(self._run_dir, self._memo.boot_id)
        except CgoomError as error:
            self._say(f"what the last daemon prepared is not known: {error.message}")
        self._told_ns = self._memo.told_ns
        self._recovered = self._ledger.find_victims("armed-kill")
        self.set_policy(policy)
        self._watch.ask()
        self.take_events()

    def set_policy(self, policy: Policy) -> None:
        """Another policy: other thresholds for the module, and perhaps another order."""
        self._policy, self._seen = policy, None
        self._watch.follow(policy.host)
        self.take_events()

    def take_events(self) -> None:
        """Take what the module says, and make a record of every armed kill that is not told yet."""
        answer, seen = self._watch.take()
        if answer is None:
            return
        self._killed = frozenset(kill.cgroup_id for kill in answer.kills)
        for kill in find_new(answer, self._told_ns):
            # An earlier daemon may have told it without living long enough to note that.
            if kill.cgroup_id not in self._recovered:
                self._tell(kill, answer, seen.get(kill.seq))
            self._told_ns = kill.time_ns
        self._recovered = frozenset()

    def has_killed(self, ref: CgroupRef) -> bool:
        """Whether the module made this workload die, as far as it remembers."""
        self.take_events()
        return ref.cgroup_id in self._killed

    def due_usec(self, level: Level, *, is_killing: bool) -> int:
        """When `keep` has something to do; NEVER_USEC: nothing, or not now."""
        if is_killing:
            return NEVER_USEC
        if not self._stands(level, self._down_to) or self._kept is not self._make_memo():
            return self._due_usec
        return NEVER_USEC if self._stands(level, 0) else max(self._due_usec, self._made_usec + AGE_USEC)

    @property
    def generation(self) -> int:
        """Of the tree's changes when `first` was found; -1: it was not, or there was no time to find out all of it."""
        return self._seen[0] if self._seen is not None else -1

    def keep(self, level: Level, now_usec: int, free_until_usec: int, *, is_killing: bool) -> None:
        """Bring what is prepared in line with the order, if that may have changed.

        `is_killing`: somebody dies, or may have to at the next look, and nothing here may delay that. Nor when the next
        look at memory, at `free_until_usec`, is due before it would be over, but not never: a host may be close to a
        threshold for hours.
        """
        if not is_killing and self._watch.retry(now_usec):
            self.take_events()
        if now_usec < self.due_usec(level, is_killing=is_killing):
            return
        if self._late_usec is None:
            self._late_usec = now_usec + PATIENCE_USEC
        if now_usec + self._took_usec > free_until_usec and now_usec < self._late_usec:
            self._due_usec = free_until_usec
            return
        self._late_usec = None
        if not self._stands(level, 0):
            generation, changes = self._tree.changes.generation, self._watch.changes
            equals = self._docket.find_equals(ORDER_LIMIT, may_read=level == Level.OK)
            order = rank_first(equals, self._policy.victim, ORDER_LIMIT)
            self.first, self._down_to = order[:2], order[-1].priority if len(order) == ORDER_LIMIT else 0
            # To follow who was only listed is a change: then this is due again.
            self._seen, self._made_usec = (-1 if self._docket.is_cut else generation, level, changes), now_usec
            if order or not self._docket.is_cut:  # what an earlier daemon prepared is better than nobody
                self._prepare(order)
                self.take_events()  # what came while the module was told
        if self._kept is not self._make_memo():
            self._keep_memo()
        self._took_usec = read_usec() - now_usec
        self._due_usec = now_usec + max(PAUSE_USEC, PAUSE_TIMES * self._took_usec)

    def end(self) -> None:
        """A clean end: nobody is armed, and every score is what it was."""
        if self._watch.is_present:
            self._watch.disarm()
        self._put_back()
        self._memo = replace(self._memo, order=())
        self._keep_memo()

    def _stands(self, level: Level, down_to: int) -> bool:
        """Whether nothing changed down to there; sizes break ties, so that another level is worth another look."""
        if self._seen is None or self._seen[1:] != (level, self._watch.changes):
            return False
        return self._tree.changes.down_to(down_to) <= self._seen[0]

    def _prepare(self, order: tuple[Workload, ...]) -> None:
        if self._watch.is_present and self._arm(order):
            self._put_back()
        else:
            self._raise(order[0] if order else None)

    def _arm(self, order: tuple[Workload, ...]) -> bool:
        """Whether the module has this order; it is told only a new one."""
        if self._armed != (self._watch.changes, order):
            self._memo = replace(self._memo, order=order)
            self._keep_memo()  # who is who has to be known before anybody can be killed by it
            self._armed = (self._watch.changes, order) if self._watch.arm(order) else None
        return self._armed is not None

    def _raise(self, first: Workload | None) -> None:
        """Put the kernel's first choice where ours is; also where it was: processes come, and write their own score."""
        self._armed = None
        if self._memo.raised is not None and self._memo.raised.workload != first and not self._put_back():
            return
        member = self._tree.find(first.ref) if first is not None else None
        if first is None or member is None:
            return
        known = self._memo.raised.scores if self._memo.raised is not None else None
        try:
            scores = read_scores(member.cgroup, known)
            if scores != known:
                self._memo = replace(self._memo, raised=Raised(first, scores))
                self._keep_memo()  # what to put back has to be known before anything is changed
            raise_scores(member.cgroup)
        except GoneError:
            return
        except CgoomError as error:
            self._say(f"the kernel's first choice may be another one than ours: {error.message}")

    def _put_back(self) -> bool:
        """Whether nobody is raised any more. By its path: the policy may have dropped who lives on."""
        raised = self._memo.raised
        if raised is None:
            return True
        name, ref = raised.workload.name, raised.workload.ref
        try:
            with open_cgroup(self._root_fd, ref.path) as cgroup:
                same = cgroup.cgroup_id == ref.cgroup_id
                refused = put_back_scores(cgroup, raised.scores) if same else 0
        except GoneError:
            refused = 0  # and its scores with it
        except CgoomError as error:
            self._say(f"oom_score_adj of {name} is not put back yet: {error.message}")
            self._seen = None  # the next `keep` tries again
            return False
        if refused:
            self._say(f"oom_score_adj stays for {refused} processes of {name}: it takes CAP_SYS_RESOURCE")
        self._memo = replace(self._memo, raised=None)
        return True

    def _tell(self, kill: ArmedKill, answer: Answer, seen: Stats | None) -> None:
        """One armed kill: a step of the record that is open for this victim, or a record of its own."""
        workload = self._find(kill.cgroup_id)
        note = f"{kill.processes} processes"
        if self._ledger.find(workload.ref) is not None:
            self._ledger.add_step(workload.ref, "armed-kill", kill.time_ns // 1000, Outcome.DONE, note)
            return
        memory, level = (seen or answer.stats).memory, (seen or answer.stats).level
        short = shortage(self._policy.host, level, memory) if seen else "the kernel was out of memory"
        why = Why(short, "the first of the armed order that was alive, and the daemon did not answer")
        order = self._memo.order
        record = self._ledger.draft(Seen(level, memory, len(order)), Candidate(workload), why, "armed-kill")
        age_usec = (time.monotonic_ns() - kill.time_ns) // 1000
        self._ledger.append(
            replace(
                record,
                # The same for every daemon that tells of this kill, so that it is never told twice.
                record_id=make_record_id(kill.time_ns // 1000, kill.cgroup_id),
                time_usec=record.time_usec - age_usec,
                considered=tuple(
                    Considered(each.name, each.priority, None, "armed") for each in order[:CONSIDERED_LIMIT]
                ),
                steps=(Step("armed-kill", 0, Outcome.DONE, note),),
                outcome=Outcome.DONE,
                note="",
            ),
            uncertain=True,
        )

    def _find(self, cgroup_id: int) -> Workload:
        """Who that was: of the order as it was handed over, or of those that are followed now."""
        members = (member.workload for member in self._tree.members())
        for workload in (*self._memo.order, *members):
            if workload.ref.cgroup_id == cgroup_id:
                return workload
        ref = CgroupRef("", cgroup_id)
        return Workload(ref, f"cgroup-{cgroup_id}", PRIORITY_DEFAULT, False, Origin.MATCHED)

    def _make_memo(self) -> Memo:
        """What is to be kept. A kill counts as told when nothing waits for the disk any more."""
        source = "module" if self._watch.level is not None else "sampling"
        told_ns = self._told_ns if self._ledger.due_usec() is None else self._memo.told_ns
        if (source, told_ns, self._pid) != (self._memo.source, self._memo.told_ns, self._memo.pid):
            self._memo = replace(self._memo, source=source, told_ns=told_ns, pid=self._pid)
        return self._memo

    def _keep_memo(self) -> None:
        """A full /run is no reason to end."""
        self._kept = self._make_memo()
        try:
            write_memo(self._run_dir, self._kept)
        except CgoomError as error:
            self._say(f"the next daemon will not know what was prepared: {error.message}")

    def _say(self, text: str) -> None:
        """One finding, once."""
        if text not in self._said:
            self._said.add(text)
            self._journal.write(Severity.WARNING, text)


class Unprepared:
    """A dry run: nothing is prepared, and nobody is asked to watch."""

    is_watched = is_guarded = False
    first: tuple[Workload, ...] = ()
    generation = -1

    def begin(self, policy: Policy) -> None:
        """Nothing."""

    def set_policy(self, policy: Policy) -> None:
        """Nothing."""

    def take_events(self) -> None:
        """Nothing."""

    def has_killed(self, ref: CgroupRef) -> bool:  # noqa: ARG002 - nobody is armed
        """No."""
        return False

    def due_usec(self, level: Level, *, is_killing: bool) -> int:  # noqa: ARG002 - there is nothing to do
        """Never."""
        return NEVER_USEC

    def keep(self, level: Level, now_usec: int, free_until_usec: int, *, is_killing: bool) -> None:
        """Nothing."""

    def end(self) -> None:
        """Nothing."""

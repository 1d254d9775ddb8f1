"""The loop: Signal -> Snapshot -> decide() -> Action -> Record, one epoll, one thread."""

from __future__ import annotations

import signal
import time
from collections.abc import Callable
from dataclasses import dataclass, replace

from cgoom.act.execute import Answer, Executor
from cgoom.act.leftover import remove_leftover
from cgoom.core.decide import STUCK_USEC, conclude, decide, is_calm, wants_victim
from cgoom.core.match import Scope
from cgoom.core.pace import next_sample_usec
from cgoom.daemon.docket import find_considered, find_first_equals
from cgoom.daemon.ledger import Ledger, Seen
from cgoom.daemon.notify import Notifier
from cgoom.daemon.reload import Reload
from cgoom.daemon.sources import Source, Sources
from cgoom.errors import CgoomError, PolicyError
from cgoom.kernel.cgroup import open_cgroup
from cgoom.kernel.meminfo import MemInfo
from cgoom.model import (
    Action,
    Candidate,
    CgroupRef,
    Flight,
    KillAction,
    Origin,
    Outcome,
    Policy,
    Record,
    Snapshot,
    State,
    TermAction,
    Why,
)
from cgoom.observe.tree import Change, ChangeKind, Member, Tree
from cgoom.observe.usage import read_usage
from cgoom.record.journal import Journal, Severity
from cgoom.record.verdict import render_verdict


@dataclass(slots=True)
class Parts:
    """What the loop is wired from. `publish` writes the policy in force where `cgoom status` finds it."""

    tree: Tree
    sources: Sources
    meminfo: MemInfo
    executor: Executor
    ledger: Ledger
    journal: Journal
    notifier: Notifier
    publish: Callable[[Policy], None]
    root_fd: int
    own_path: str
    hybrid: bool
    fill_bytes_per_sec: int
    policy_path: str


class Loop:
    """Runs until SIGTERM or SIGINT. Whatever happens to a single cgroup is an answer, never an end."""

    def __init__(self, parts: Parts, policy: Policy) -> None:
        self._parts, self._policy = parts, policy
        self._state = State()
        self._reload: Reload | None = None
        self._wake_at_usec = 0
        self._beat_at_usec = 0
        self._told = ""
        self.ending = False

    def run(self) -> None:
        """Adopt what is there, finish what an earlier daemon began, then watch."""
        parts = self._parts
        self._take_changes(parts.tree.rescan())
        parts.ledger.recover(self._resume)
        parts.publish(self._policy)
        parts.journal.write(Severity.INFO, f"ready: {len(parts.tree)} workloads adopted")
        parts.notifier.send_ready(read_monotonic_usec(), self._status())
        while not self.ending:
            self.step(parts.sources.wait(self._wake_at_usec - read_monotonic_usec()))
        parts.notifier.send("STOPPING=1")

    def step(self, woken: frozenset[Source]) -> None:
        """One turn: the level first, since a kill must not wait for anything else."""
        if Source.TREE in woken or self._parts.tree.blind:
            self._take_changes(self._parts.tree.drain() if not self._parts.tree.blind else self._parts.tree.rescan())
        self._decide()
        if Source.SIGNALS in woken:
            self._take_signals()
        if Source.RELOAD in woken:
            self._take_reload()
        self._beat()

    def _decide(self) -> None:
        parts, policy = self._parts, self._policy
        flight = self._state.flight
        memory, now_usec = parts.meminfo.read(), read_monotonic_usec()
        if is_calm(policy, self._state, memory):
            self._wake_at_usec = now_usec + next_sample_usec(policy.host, memory, parts.fill_bytes_per_sec)
            return
        snapshot = Snapshot(
            now_usec=now_usec,
            memory=memory,
            fill_bytes_per_sec=parts.fill_bytes_per_sec,
            victim_populated=None if flight is None else self._read_populated(flight.workload.ref),
        )
        decision = decide(policy, self._state, snapshot)
        says = decision.says
        if wants_victim(policy, decision.next_state, snapshot):
            found = find_first_equals(parts, policy, decision.next_state.stuck)
            decision = decide(policy, decision.next_state, replace(snapshot, candidates=found))
        self._state = decision.next_state
        self._wake_at_usec = decision.wake_at_usec
        for action in decision.actions:
            self._execute(action, snapshot)
        if flight is not None and self._state.flight != flight:
            self._land(flight, snapshot)
        for text in says:
            parts.journal.write(Severity.NOTICE, text)

    def _execute(self, action: Action, snapshot: Snapshot) -> None:
        parts, ref = self._parts, action.candidate.workload.ref
        member = parts.tree.find(ref)
        if member is None:
            answer = Answer(Outcome.GONE)
        elif isinstance(action, TermAction):
            answer = self._term(action, member, snapshot)
        else:
            answer = self._kill(action, member, snapshot)
        self._state = conclude(self._state, answer.outcome, read_monotonic_usec())
        if answer.outcome != Outcome.DONE:
            self._wake_at_usec = min(self._wake_at_usec, snapshot.now_usec + 1)
            parts.ledger.close_entry(ref, answer.outcome, answer.note, None)

    def _term(self, action: TermAction, member: Member, snapshot: Snapshot) -> Answer:
        parts, ref = self._parts, member.workload.ref
        record = self._open_entry(action.candidate, action.why, member, snapshot)
        answer = parts.executor.term(member.cgroup, render_verdict(record, "asked to end"))
        parts.ledger.add_step(ref, "term", read_monotonic_usec(), answer.outcome, answer.note)
        self._add_considered(ref)
        if answer.outcome == Outcome.DONE:
            text = f"asked {member.workload.name} to end: {action.why.shortage}; {action.why.choice}"
            parts.journal.write(Severity.NOTICE, text)
        return answer

    def _kill(self, action: KillAction, member: Member, snapshot: Snapshot) -> Answer:
        parts, ref = self._parts, member.workload.ref
        record = parts.ledger.find(ref) or self._open_entry(action.candidate, action.why, member, snapshot)
        answer = parts.executor.kill(member.cgroup, render_verdict(record))
        written_usec = read_monotonic_usec()
        if answer.outcome == Outcome.DONE:
            reaped = parts.executor.reap(member.cgroup)
            parts.ledger.add_step(ref, "kill", written_usec, answer.outcome, answer.note)
            parts.ledger.add_step(ref, "reap", read_monotonic_usec(), Outcome.DONE, f"{reaped} processes")
        if not record.considered:
            self._add_considered(ref)
        return answer

    def _open_entry(self, candidate: Candidate, why: Why, member: Member, snapshot: Snapshot) -> Record:
        if candidate.usage is None:
            candidate = replace(candidate, usage=read_usage(member.cgroup, self._parts.hybrid))
        seen = Seen(self._state.level, snapshot.memory, len(self._parts.tree))
        record = self._parts.ledger.draft(seen, candidate, why, "shortage")
        self._parts.ledger.open_entry(record, snapshot.now_usec)
        return record

    def _add_considered(self, ref: CgroupRef) -> None:
        considered = find_considered(self._parts, self._policy)
        self._parts.ledger.add_considered(ref, considered)

    def _land(self, flight: Flight, snapshot: Snapshot) -> None:
        """The victim left the flight: gone, or set aside. An escalation keeps it there."""
        ref, following = flight.workload.ref, self._state.flight
        if following is not None and following.workload.ref == ref:
            return
        ledger = self._parts.ledger
        if ref in self._state.stuck:
            ledger.close_entry(ref, Outcome.FAILED, "the kill had no effect", snapshot.memory.available_bytes)
            return
        ledger.add_step(ref, "depopulated", snapshot.now_usec, Outcome.DONE)
        ledger.close_entry(ref, Outcome.DONE, "", snapshot.memory.available_bytes)

    def _read_populated(self, ref: CgroupRef) -> bool:
        """Asked for each time: the event that says so may still be on its way."""
        member = self._parts.tree.find(ref)
        if member is None:
            return False
        try:
            return member.cgroup.read_populated()
        except CgoomError:
            return False

    def _resume(self, record: Record) -> bool:
        """Carry out a decision that an earlier daemon had staged; False: its victim is gone."""
        member = self._parts.tree.find(record.victim.ref)
        if member is None or not member.populated or self._state.flight is not None:
            return False
        asked = [step for step in record.steps if step.what == "term"]
        killed = any(step.what == "kill" for step in record.steps)
        now_usec = read_monotonic_usec()
        if asked and not killed:
            # The grace ran on while no daemon was there.
            self._state = replace(self._state, flight=Flight(member.workload, False, now_usec))
            return True
        answer = self._parts.executor.kill(member.cgroup, render_verdict(record))
        if answer.outcome == Outcome.DONE:
            self._state = replace(self._state, flight=Flight(member.workload, True, now_usec + STUCK_USEC))
        return answer.outcome == Outcome.DONE

    def _take_changes(self, changes: list[Change]) -> None:
        for change in changes:
            if change.kind == ChangeKind.KERNEL_KILL:
                self._record_kernel_kill(change)
            elif change.kind == ChangeKind.ENDED:
                self._state = replace(self._state, stuck=self._state.stuck - {change.workload.ref})
            else:
                self._sweep(change)

    def _record_kernel_kill(self, change: Change) -> None:
        """The kernel was quicker, or the workload met its own limit: it is told like our own decisions."""
        parts = self._parts
        seen = Seen(self._state.level, parts.meminfo.read(), len(parts.tree))
        limit = "killed by the kernel at its own memory.max"
        why = Why(limit if change.own_limit else "killed by the kernel, out of memory", "the kernel chose")
        record = parts.ledger.draft(seen, Candidate(change.workload), why, "kernel-oom")
        parts.ledger.append(replace(record, outcome=Outcome.DONE, note=""))

    def _sweep(self, change: Change) -> None:
        member = self._parts.tree.find(change.workload.ref)
        if member is None or member.populated or change.workload.origin != Origin.LAUNCHED:
            return
        try:
            with open_cgroup(self._parts.root_fd, change.workload.ref.path.rpartition("/")[0]) as parent:
                remove_leftover(parent, member.cgroup, member.workload.name)
        except CgoomError:
            return  # the slice is gone, and with it what was to be removed

    def _take_signals(self) -> None:
        signos = self._parts.sources.drain_signals()
        if signal.SIGHUP in signos and self._reload is None:
            self._start_reload()
        self.ending = self.ending or signal.SIGTERM in signos or signal.SIGINT in signos

    def _start_reload(self) -> None:
        parts = self._parts
        parts.notifier.send_reloading(read_monotonic_usec())
        try:
            self._reload = Reload(parts.policy_path)
        except OSError as error:
            parts.journal.write(Severity.ERR, f"the policy stays as it is, no process to read it: {error.strerror}")
            parts.notifier.send_ready(read_monotonic_usec(), self._status())
        else:
            parts.sources.add_reload(self._reload.fd)

    def _take_reload(self) -> None:
        parts, reload = self._parts, self._reload
        if reload is None or not reload.read():
            return
        parts.sources.remove(reload.fd)
        self._reload = None
        try:
            self._policy = reload.finish()
        except PolicyError as error:
            hint = f" (hint: {error.hint})" if error.hint else ""
            parts.journal.write(Severity.ERR, f"the policy stays as it is: {error.message}{hint}")
        else:
            self._take_changes(parts.tree.rescope(Scope(self._policy.workloads)))
            parts.publish(self._policy)
            parts.journal.write(Severity.INFO, f"policy loaded: {parts.policy_path}")
        parts.notifier.send_ready(read_monotonic_usec(), self._status())

    def _status(self) -> str:
        return f"{len(self._parts.tree)} workloads, level {self._state.level.name.lower()}"

    def _beat(self) -> None:
        """What is due now and then: a changed status, the watchdog, what the disk refused."""
        notifier, now_usec = self._parts.notifier, read_monotonic_usec()
        status = self._status()
        if status != self._told:
            self._told = status
            notifier.send(f"STATUS={status}")
        if notifier.watchdog_usec is not None:
            if now_usec >= self._beat_at_usec:
                notifier.send("WATCHDOG=1")
                self._beat_at_usec = now_usec + notifier.watchdog_usec
                self._parts.ledger.retry()
            self._wake_at_usec = min(self._wake_at_usec, self._beat_at_usec)


def read_monotonic_usec() -> int:
    """CLOCK_MONOTONIC in microseconds: the only clock of decisions."""
    return time.monotonic_ns() // 1000

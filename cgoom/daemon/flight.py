"""From an action to its end: the act comes first, the words about it when it is done.

A kill is two stores: one makes the decision, which waits in the stage, count; one goes to the `cgroup.kill` of the
victim, which is open. What needs memory or time of its own is done before, while there is time, or afterwards.
"""

from __future__ import annotations

import os
import time
from contextlib import suppress
from dataclasses import replace

from cgoom.act.execute import Answer, Executor
from cgoom.core.decide import STUCK_USEC, longest_grace
from cgoom.core.detect import shortage
from cgoom.core.rank import place_reason
from cgoom.daemon.docket import SIZE_AGE_USEC, SIZE_LIMIT_USEC, Docket, Surroundings
from cgoom.daemon.ledger import Ledger, Seen
from cgoom.daemon.ready import Aim, Held, Ready, Shot, is_clear
from cgoom.daemon.sources import NEVER_USEC
from cgoom.errors import CgoomError, GoneError
from cgoom.kernel.clock import read_usec
from cgoom.kernel.sched import Importance
from cgoom.model import (
    Action,
    Candidate,
    CgroupRef,
    Flight,
    HostMemory,
    Level,
    Outcome,
    Policy,
    Record,
    Snapshot,
    State,
    TermAction,
    Why,
    Workload,
)
from cgoom.observe.member import Member
from cgoom.observe.usage import read_usage
from cgoom.record.journal import Journal, Severity
from cgoom.record.verdict import render_verdict

# Microseconds after which what was made ready is made anew, so that its sizes and its memory are not history.
# Chosen: longer than a shortage takes from its warning to its kill.
READY_AGE_USEC = 1_000_000


class Flights:
    """Carries out what was decided, and keeps the record of it."""

    def __init__(
        self,
        host: Surroundings,
        docket: Docket,
        executor: Executor,
        importance: Importance,
        ledger: Ledger,
        journal: Journal,
    ) -> None:
        """`importance` is lowered by a kill, and gives way then; who calls takes the rank that the next look needs."""
        self._host, self._docket, self._executor, self._importance = host, docket, executor, importance
        self._ledger, self._journal = ledger, journal
        self._held: dict[CgroupRef, Held] = {}
        self._ready: Ready | None = None
        self._fired: Shot | None = None

    def expect(self, first: tuple[Workload, ...], generation: int, memory: HostMemory) -> None:
        """While the host is not short: what the kill of the first of the order needs, without a word to anybody.

        A host may run short between two looks; then the kill is as quick as one that a warning came before. `first`:
        the first two as of this generation of the tree's changes.
        """
        certain, ready = (generation if is_clear(first) else None), self._ready
        if ready is None and not first:
            return
        same = ready is not None and first[:1] == (ready.workload,) and certain in (None, ready.generation)
        if ready is not None and same and self._ledger.has_ready(ready.workload):
            return
        self.forget_ready()
        member = self._host.tree.find(first[0].ref) if first else None
        if member is None or not self._hold(member):
            return
        seen, why = Seen(Level.OK, memory, len(self._host.tree)), Why("decided in this moment", "first of the order")
        order = tuple(map(Candidate, first))
        self._ledger.ready_entry(self._ledger.draft(seen, order[0], why, "shortage"))
        self._ready = Ready(order, read_usec(), False, certain, frozenset())

    def aim(self, stuck: frozenset[CgroupRef]) -> Aim | None:
        """Who is ready, and the first of the order as things stand; None: nobody, or nobody for certain."""
        ready, tree = self._ready, self._host.tree
        if ready is None or ready.stuck != stuck or tree.blind or not self._stands(ready, ready.workload.priority):
            return None
        member, held = tree.find(ready.workload.ref), self._held.get(ready.workload.ref)
        if member is None or held is None or not self._ledger.has_ready(ready.workload):
            return None
        # Sizes may have decided, which may have been as old as that when it was made.
        lasts_usec = SIZE_LIMIT_USEC - SIZE_AGE_USEC if ready.is_announced else NEVER_USEC
        return Aim(ready, member, held.kill_fd, ready.made_usec + lasts_usec)

    def fire(self, aim: Aim, now_usec: int) -> tuple[Candidate, ...]:
        """Kill who is aimed at, by one store and one write; the order to decide from, for `execute` to do the rest."""
        ready, member = aim.ready, aim.member
        if (slot := self._ledger.stage_ready()) is None:
            return ()
        answer = self._executor.kill(member.cgroup, aim.kill_fd)
        self._fired = self._note_kill(answer, member, slot, now_usec, was_open=False)
        if not ready.is_announced:  # the rest takes longer than its launcher waits otherwise
            self._executor.announce(member.cgroup)
        self._ready = None
        candidates = (self._with_usage(ready.order[0], member), *self._find_second(ready, now_usec))
        self._importance.give_way()
        return candidates

    def _find_second(self, ready: Ready, now_usec: int) -> tuple[Candidate, ...]:
        """Who comes after the first, for the reason's sake: it may have changed without a word to who was ready."""
        known = ready.order[1:]
        if self._stands(ready, known[0].workload.priority if known else 0):
            return known
        return self._docket.look(ready.stuck | {ready.workload.ref}, now_usec, urgent=False)[:1] or known

    def is_aimed(self, stuck: frozenset[CgroupRef], now_usec: int) -> bool:
        """Whether somebody was announced whom `fire` would kill as things stand, and no size is old."""
        aim = self.aim(stuck)
        return aim is not None and aim.ready.is_announced and self._docket.is_fresh(now_usec)

    def _stands(self, ready: Ready, down_to: int) -> bool:
        """Whether the order down to this priority is for certain as it was when this was made ready."""
        return ready.generation is not None and self._host.tree.changes.down_to(down_to) <= ready.generation

    def calm_down(self) -> None:
        """The shortage is over: nobody is to wait for a verdict."""
        if self._ready is not None and self._ready.is_announced:
            self.forget_ready()

    def make_ready(self, policy: Policy, state: State, snapshot: Snapshot) -> None:
        """While the host is short and nobody has to die now: the kill of whoever would be next."""
        flying = frozenset() if state.flight is None else frozenset({state.flight.workload.ref})
        first = self._docket.look(state.stuck | flying, snapshot.now_usec, urgent=False)
        if not first:
            return
        ready = self._ready
        if (
            ready is not None
            and ready.is_announced
            and ready.workload == first[0].workload
            and ready.generation == self._docket.generation
            and ready.stuck == state.stuck
            and self._ledger.has_ready(ready.workload)
            and snapshot.now_usec - ready.made_usec < READY_AGE_USEC
        ):
            return
        if ready is not None and ready.workload != first[0].workload:
            self.forget_ready()
        member = self._host.tree.find(first[0].workload.ref)
        if member is None or not self._hold(member):
            return
        if self._ready is None or not self._ready.is_announced:
            self._executor.announce(member.cgroup)
        why = Why(shortage(policy.host, state.level, snapshot.memory), place_reason(first, 0, policy.victim))
        candidate = self._with_usage(first[0], member)
        self._ledger.ready_entry(self._draft(candidate, why, state.level, snapshot))
        self._ready = Ready((candidate, *first[1:]), snapshot.now_usec, True, self._docket.generation, state.stuck)

    def forget_ready(self) -> None:
        """Nobody is next any more: the shortage is over, or somebody else is."""
        ready, self._ready = self._ready, None
        if ready is None:
            return
        self._ledger.forget_ready()
        ref = ready.workload.ref
        member = self._host.tree.find(ref)
        if member is not None and ready.is_announced:
            self._executor.tell(member.cgroup, "")
        self._let_go(ref)

    def _take_ready(self, ref: CgroupRef) -> None:
        """Something is done to this one now: what is announced of it, and held for it, stays."""
        if self._ready is not None and self._ready.workload.ref == ref:
            self._ready = None

    def execute(self, action: Action, level: Level, snapshot: Snapshot) -> Answer:
        """Do it. What is not DONE has its record closed."""
        ref = action.candidate.workload.ref
        member = self._host.tree.find(ref)
        if member is None:
            answer = Answer(Outcome.GONE)
        elif isinstance(action, TermAction):
            answer = self._term(action, member, level, snapshot)
        else:
            answer = self._kill(action.candidate, action.why, member, level, snapshot)
        if answer.outcome != Outcome.DONE:
            self._ledger.close_entry(ref, answer.outcome, answer.note, None)
            self._let_go(ref)
        return answer

    def _term(self, action: TermAction, member: Member, level: Level, snapshot: Snapshot) -> Answer:
        ledger, ref = self._ledger, member.workload.ref
        self._take_ready(ref)
        ledger.forget_ready()
        record = self._draft(self._with_usage(action.candidate, member), action.why, level, snapshot)
        ledger.open_entry(record, snapshot.now_usec)
        answer = self._executor.term(member.cgroup, render_verdict(record, "asked to end"))
        self._hold(member)
        ledger.add_step(ref, "term", read_usec(), answer.outcome, answer.note)
        ledger.add_considered(ref, self._docket.find_considered(action.candidate))
        if answer.outcome == Outcome.DONE:
            text = f"asked {member.workload.name} to end: {action.why.shortage}; {action.why.choice}"
            self._journal.write(Severity.NOTICE, text)
        return answer

    def _kill(self, candidate: Candidate, why: Why, member: Member, level: Level, snapshot: Snapshot) -> Answer:
        ledger, ref = self._ledger, member.workload.ref
        shot, self._fired = self._fired, None
        if shot is None or shot.ref != ref:
            shot = self._shoot(candidate, why, member, level, snapshot)
        seen = Seen(level, snapshot.memory, len(self._host.tree))
        if shot.was_ready:
            usage = self._with_usage(candidate, member).usage
            time_usec = time.time_ns() // 1000 - (read_usec() - snapshot.now_usec)
            ledger.complete(ref, seen, why, time_usec, usage)
        elif shot.was_open and level == Level.KILL:
            ledger.renew(ref, seen, why.shortage)
        self._tell_kill(candidate, member, shot)
        return shot.answer

    def _shoot(self, candidate: Candidate, why: Why, member: Member, level: Level, snapshot: Snapshot) -> Shot:
        ledger, ref = self._ledger, member.workload.ref
        self._take_ready(ref)
        was_open = ledger.find(ref) is not None
        slot = ledger.stage_ready() if not was_open and ledger.has_ready(candidate.workload) else None
        if not was_open and slot is None:
            # Nothing warned us. The decision is staged first all the same: none may be lost.
            record = self._draft(self._with_usage(candidate, member), why, level, snapshot)
            ledger.open_entry(record, snapshot.now_usec)
            self._executor.announce(member.cgroup)
        held = self._held.get(ref)
        answer = self._executor.kill(member.cgroup, held.kill_fd if held is not None else None)
        return self._note_kill(answer, member, slot, snapshot.now_usec, was_open=was_open)

    def _note_kill(self, answer: Answer, member: Member, slot: int | None, begun_usec: int, *, was_open: bool) -> Shot:
        """That it was done stands in the stage before anything else happens: the next daemon has to know."""
        ref, is_done = member.workload.ref, answer.outcome == Outcome.DONE
        if slot is not None:
            self._ledger.note_staged(slot, begun_usec, is_done=is_done)
        if is_done:
            self._ledger.add_kill(ref, read_usec(), answer.note)
            self._importance.lower()
        else:
            self._importance.restore()  # the next victim is chosen at once
        return Shot(ref, answer, was_open, was_ready=slot is not None)

    def _tell_kill(self, candidate: Candidate, member: Member, shot: Shot) -> None:
        """What follows a kill: the verdict for its launcher first, then the memory that is left, then the record."""
        ledger, ref = self._ledger, member.workload.ref
        record = ledger.find(ref)
        if record is None:
            return
        if shot.answer.outcome == Outcome.DONE:
            self._executor.tell(member.cgroup, render_verdict(record))
            self._importance.give_way()
            reaped = self._executor.reap(member.cgroup)
            # Memory is on its way back; for the words about it nobody waits.
            self._importance.stand_back()
            self._importance.give_way()
            is_last = bool(record.considered)
            ledger.add_step(ref, "reap", read_usec(), Outcome.DONE, f"{reaped} processes", is_staged=is_last)
        else:
            self._executor.tell(member.cgroup, "")  # it lives on: nobody shall be told otherwise
        if not record.considered:
            ledger.add_considered(ref, self._docket.find_considered(candidate))

    def land(self, flight: Flight, state: State, snapshot: Snapshot) -> None:
        """The victim left the flight: gone, or set aside."""
        ref, available_bytes = flight.workload.ref, snapshot.memory.available_bytes
        self._let_go(ref)
        if ref in state.stuck:
            self._ledger.close_entry(ref, Outcome.FAILED, "the kill had no effect", available_bytes)
            return
        self._ledger.add_step(ref, "depopulated", snapshot.now_usec, Outcome.DONE, is_staged=False)
        self._ledger.close_entry(ref, Outcome.DONE, "", available_bytes)
        self._importance.give_way()

    def resume(self, record: Record, policy: Policy) -> Flight | None:
        """Go on with what an earlier daemon had begun; None: there is nothing to go on with.

        What was decided and not begun is decided anew: the reason may have passed.
        """
        ref = record.victim.ref
        member = self._host.tree.find(ref)
        if member is None or record.by != self._ledger.by:
            return None
        done, now_usec = {step.what for step in record.steps}, read_usec()
        if not done & {"term", "kill"} or self._docket.skip(member):
            self._executor.tell(member.cgroup, "")
            return None
        self._hold(member)
        if "kill" not in done:
            left_usec = record.time_usec + longest_grace(policy.ladder, member.workload) - time.time_ns() // 1000
            return Flight(member.workload, False, now_usec + max(0, left_usec))
        answer = self._executor.kill(member.cgroup)
        self._ledger.add_step(ref, "kill", now_usec, answer.outcome, "by the next daemon")
        if answer.outcome != Outcome.DONE:
            self._let_go(ref)
            return None
        self._executor.tell(member.cgroup, render_verdict(record))
        return Flight(member.workload, True, now_usec + STUCK_USEC)

    def read_populated(self, ref: CgroupRef) -> bool:
        """Whether the victim still lives. Asked for each time: the event that says so may still be on its way."""
        member, held = self._host.tree.find(ref), self._held.get(ref)
        if member is None:
            return False
        try:
            return member.cgroup.read_populated(held.events_fd if held is not None else None)
        except GoneError:
            return False
        except CgoomError:
            return True  # not known: then it is not over

    def _draft(self, candidate: Candidate, why: Why, level: Level, snapshot: Snapshot) -> Record:
        seen = Seen(level, snapshot.memory, len(self._host.tree))
        return self._ledger.draft(seen, candidate, why, "shortage")

    def _with_usage(self, candidate: Candidate, member: Member) -> Candidate:
        """What it holds, for the record; on a hybrid host that would be to read every process's maps."""
        if candidate.usage is not None or self._host.hybrid:
            return candidate
        return replace(candidate, usage=read_usage(member.cgroup))

    def _hold(self, member: Member) -> bool:
        """Open what its kill needs; without it a kill opens it then."""
        ref = member.workload.ref
        if ref not in self._held:
            with suppress(CgoomError):
                kill_fd = member.cgroup.open_kill()
                try:
                    events_fd = member.cgroup.open_control("cgroup.events", os.O_RDONLY)
                except BaseException:
                    os.close(kill_fd)
                    raise
                self._held[ref] = Held(ref, kill_fd, events_fd)
        return ref in self._held

    def _let_go(self, ref: CgroupRef) -> None:
        held = self._held.pop(ref, None)
        if held is not None:
            held.close()

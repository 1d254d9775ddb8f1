"""The loop: Signal -> Snapshot -> decide() -> Action -> Record, one epoll, one thread."""

from __future__ import annotations

import signal
from dataclasses import replace
from typing import NamedTuple

from cgoom.core.decide import conclude, decide, is_calm, is_waiting, is_warned, wants_victim
from cgoom.core.detect import raw_level
from cgoom.core.match import Scope
from cgoom.core.pace import SHORTEST_USEC, next_sample_usec, rest_usec, spare_usec
from cgoom.daemon.follow import Follower
from cgoom.daemon.parts import Parts
from cgoom.daemon.reload import Reloads
from cgoom.daemon.sleeper import FAR_USEC, SLICE_USEC, Sleeper
from cgoom.daemon.sources import NEVER_USEC, Source, Woken
from cgoom.daemon.trigger import Look, Trigger
from cgoom.kernel.clock import read_usec
from cgoom.model import Action, CgroupRef, Decision, Flight, HostMemory, Level, Outcome, Policy, Record, Snapshot, State
from cgoom.observe.tree import Change
from cgoom.record.journal import Severity

# Microseconds between two turns after a warning while the module waits for the kill threshold; chosen: a kill is made
# ready anew every second, and is ready for half a second longer.
GUARDED_USEC = 250_000
# Microseconds in which looks at a calm host may be nothing else; chosen: what was refused, a descriptor or an answer of
# the module, is asked for again after that. A look alone was measured to take 12 us, a turn of the whole loop 18.
GLANCES_USEC = 1_000_000


class Done(NamedTuple):
    """What was decided on, the decision, and the flight before it."""

    snapshot: Snapshot
    decision: Decision
    flight: Flight | None


class Loop:
    """Runs until SIGTERM or SIGINT. Whatever happens to a single cgroup is an answer, never an end."""

    def __init__(self, parts: Parts, policy: Policy) -> None:
        self._parts, self._policy, self._state = parts, policy, State()
        self._follower = Follower(parts.tree, parts.meminfo, parts.standby, parts.ledger, parts.journal, parts.root_fd)
        self._reloads = Reloads(parts.policy_path, parts.sources, parts.journal, parts.notifier)
        self._sleeper = Sleeper(parts.sources, parts.importance)
        self._trigger = Trigger(parts.flights, parts.tree.changes, parts.module)
        self._wake_at_usec = self._glances_until_usec = 0
        self._due_usec = 0  # when there is something else to do than to look
        self._is_calm = self._is_warned = self.ending = False
        self._is_short = self._is_helpless = False  # as of the last sample, somebody has to die; nobody can be chosen

    def run(self) -> None:
        """Adopt what is there, finish what an earlier daemon began, then watch."""
        parts = self._parts
        if raw_level(self._policy.host, parts.meminfo.read()) == Level.OK:
            parts.importance.lower()  # it takes as long as there are workloads
        self._take_changes(parts.tree.rescan())
        parts.ledger.recover(self._resume)
        parts.standby.begin(self._policy)
        parts.publish(self._policy)
        parts.journal.write(Severity.INFO, f"ready: {len(parts.tree)} workloads adopted")
        parts.notifier.send_ready(read_usec(), self._status())
        while not self.ending:
            self.step(self._sleeper.sleep(min(self._wake_at_usec, self._due_usec)))
        parts.notifier.send("STOPPING=1")
        parts.flights.forget_ready()
        self._follower.finish(self._state.level)
        parts.ledger.flush_all()
        parts.standby.end()

    def step(self, woken: Woken) -> None:
        """One turn: the level first, since a kill must not wait for anything else.

        At the kill threshold it is ahead of everybody to choose and kill, and wherever the next look must not wait.
        All else is ordinary, above all what is left after a kill: it takes as long as there are workloads or processes.
        """
        begun_usec = read_usec()
        changes: list[Change] = []
        look = self._trigger.hear(woken, begun_usec)
        if look is None:
            if Source.TREE in woken or begun_usec >= self._follower.rescan_due_usec:
                changes = self._drain(woken)
            memory, now_usec = self._parts.meminfo.read(), read_usec()
            look = Look(memory, now_usec, self._trigger.pull(memory, now_usec))
        memory, now_usec, fired = look
        self._sleeper.note_wake(begun_usec)
        raw = raw_level(self._policy.host, memory)
        late_usec = 0 if raw == Level.KILL else spare_usec(self._policy.host, memory, self._parts.fill_bytes_per_sec)
        self._sleeper.spare_until_usec = now_usec + late_usec
        if not woken and not changes and raw == Level.OK and begun_usec < self._glances_until_usec:
            # The host is as calm as it was, and nothing but time has passed.
            self._look_again(memory, now_usec)
            self._leave_to_module(now_usec)
        else:
            may_be_late = raw == Level.OK or self._sleeper.has_spare()
            if not fired and not may_be_late and not is_waiting(self._policy, self._state, now_usec):
                self._parts.importance.restore()
            done = self._decide(look, raw, changes)
            self._take_rank(is_early=self._has_landed(done), is_long=bool(changes))
            begun_usec += self._follow_up(woken, done, changes, memory)
            self._trigger.cock(self._policy, self._state, memory, now_usec)
        self._rest(begun_usec)
        self._sleeper.lie_down(self._wake_at_usec, is_watched=self._is_guarded or self._is_left_to_module)

    def _drain(self, woken: Woken) -> list[Change]:
        """What has changed in the tree: ordinary work, too, unless the next look has to be at once or on time."""
        now_usec, is_urgent = read_usec(), Source.MODULE in woken
        self._sleeper.note_wake(now_usec)
        if is_urgent:
            self._sleeper.spare_until_usec = 0  # it may say that there is none
        self._sleeper.work(is_waiting=self._is_waiting, is_early=self._is_early and not is_urgent)
        return self._follower.drain(now_usec, is_told=Source.TREE in woken)

    def _take_rank(self, *, is_early: bool = False, is_long: bool = False) -> None:
        """Be what everything but to choose and kill asks for; see `Sleeper.work`."""
        self._sleeper.work(is_waiting=self._is_waiting, is_early=is_early or self._is_early, is_long=is_long)

    def _follow_up(self, woken: Woken, done: Done | None, changes: list[Change], memory: HostMemory) -> int:
        """Everything but to choose and kill; the microseconds of it that have a rest of their own."""
        if done is not None:
            self._tell_systemd()  # who is short is given less time for a sign of life
            self._settle(*done)
        if Source.MODULE in woken:
            self._parts.standby.take_events()
        self._take_changes(changes)
        if Source.SIGNALS in woken:
            self._take_signals()
        if Source.RELOAD in woken:
            self._take_reload()
        standby = self._parts.standby
        standby.keep(self._state.level, read_usec(), self._wake_at_usec, is_killing=self._is_killing)
        if self._is_calm:  # now and not with the next sample: there may be none until the host is short
            self._parts.flights.expect(standby.first, standby.generation, memory)
        caught_up_usec = self._catch_up()
        self._beat()
        return caught_up_usec

    def _look_again(self, memory: HostMemory, now_usec: int) -> None:
        """Say when a calm host is to be looked at again."""
        look_usec = next_sample_usec(self._policy.host, memory, self._parts.fill_bytes_per_sec)
        self._wake_at_usec = self._sleeper.plan(now_usec + look_usec, now_usec, is_waiting=self._is_waiting)

    def _decide(self, look: Look, raw: Level, changes: list[Change]) -> Done | None:
        """Do what memory calls for. None: the host is calm. Adds to `changes` how the victim's end shows."""
        memory, now_usec, fired = look
        parts, policy, flight = self._parts, self._policy, self._state.flight
        if raw == Level.KILL and not fired:  # who is the first may be certain again
            self._trigger.cock(policy, self._state, memory, now_usec)
            fired = self._trigger.pull(memory, now_usec)
        self._is_short, self._is_helpless = raw == Level.KILL and bool(policy.ladder.kill), False
        self._is_calm, self._is_warned = is_calm(self._state, raw), False
        if self._is_calm:
            parts.flights.calm_down()
            parts.docket.forget()
            self._look_again(memory, now_usec)
            return None
        populated = None if flight is None else parts.flights.read_populated(flight.workload.ref)
        if flight is not None and not populated:  # its event may still be on its way, and it is nobody's victim again
            changes += parts.tree.refresh(flight.workload.ref)
        snapshot = Snapshot(now_usec, memory, parts.fill_bytes_per_sec, victim_populated=populated)
        seen = replace(snapshot, candidates=fired) if fired else self._with_candidates(self._state, snapshot)
        decision = decide(policy, self._state, seen)
        if not decision.actions and flight is not None:  # it may have landed
            says = decision.says
            decision = decide(policy, decision.next_state, self._with_candidates(decision.next_state, snapshot))
            decision = replace(decision, says=says + decision.says)
        self._state, self._wake_at_usec = decision.next_state, decision.wake_at_usec
        for action in decision.actions:
            self._execute(action, snapshot)
        self._is_warned = is_warned(policy, self._state, raw, now_usec) and not decision.actions
        self._wake_at_usec = self._sleeper.plan(self._wake_at_usec, now_usec, is_waiting=self._is_waiting)
        return Done(snapshot, decision, flight)

    def _settle(self, snapshot: Snapshot, decision: Decision, flight: Flight | None) -> None:
        """What a decision leaves to do: a victim that is gone, words, and the next kill."""
        parts = self._parts
        if flight is not None and self._state.flight != flight:
            self._land(flight, snapshot)
        for text in decision.says:
            parts.journal.write(Severity.NOTICE, text)
        if decision.actions and parts.docket.unread:
            text = f"{parts.docket.unread} workloads of the same priority were not measured: there was no time"
            parts.journal.write(Severity.NOTICE, text)
        self._make_ready(snapshot, acted=bool(decision.actions))
        if flight is not None or decision.actions:
            parts.importance.give_way()

    def _with_candidates(self, state: State, snapshot: Snapshot) -> Snapshot:
        """The snapshot with the first of the order, where a victim is wanted."""
        if not wants_victim(self._policy, state, snapshot):
            return snapshot
        urgent = raw_level(self._policy.host, snapshot.memory) == Level.KILL
        candidates = self._parts.docket.look(state.stuck, snapshot.now_usec, urgent=urgent)
        self._is_helpless = not candidates and not self._parts.docket.unread
        return replace(snapshot, candidates=candidates)

    def _has_landed(self, done: Done | None) -> bool:
        """Whether the victim left the flight and nobody else was chosen."""
        return done is not None and done.flight is not None and not done.decision.actions and self._state.flight is None

    @property
    def _is_killing(self) -> bool:
        """Whether a victim dies, or can be chosen at any moment: nothing may come before that."""
        return self._state.level == Level.KILL and not self._is_helpless

    @property
    def _is_waiting(self) -> bool:
        """Whether nobody can be killed at the next look either, be it late."""
        return is_waiting(self._policy, self._state, read_usec() + FAR_USEC)

    @property
    def _is_early(self) -> bool:
        """Whether the next look at the host is further away than one turn of everybody else."""
        return not self._is_guarded and self._wake_at_usec - read_usec() > SLICE_USEC

    @property
    def _is_guarded(self) -> bool:
        """Whether the kill threshold is near, and the module alone says when it is reached."""
        return self._is_warned and self._wake_at_usec == NEVER_USEC

    @property
    def _is_left_to_module(self) -> bool:
        """Whether the host is calm, and the module says when it no longer is."""
        return self._is_calm and self._parts.standby.is_watched

    def _make_ready(self, snapshot: Snapshot, *, acted: bool) -> None:
        """What a later kill needs, when there is nothing to be done now."""
        flight = self._state.flight
        if not acted and self._state.level >= Level.WARN and (flight is None or flight.killed):
            self._parts.flights.make_ready(self._policy, self._state, snapshot)
            if self._parts.docket.unread:
                self._wake_at_usec = min(self._wake_at_usec, snapshot.now_usec + SHORTEST_USEC)

    def _execute(self, action: Action, snapshot: Snapshot) -> None:
        answer = self._parts.flights.execute(action, self._state.level, snapshot)
        self._state = conclude(self._state, answer.outcome, read_usec())
        if answer.outcome != Outcome.DONE:
            self._wake_at_usec = min(self._wake_at_usec, snapshot.now_usec + 1)

    def _land(self, flight: Flight, snapshot: Snapshot) -> None:
        """The victim left the flight: gone, or set aside. An escalation keeps it there."""
        parts, following = self._parts, self._state.flight
        if following is None or following.workload.ref != flight.workload.ref:
            parts.standby.take_events()  # the module may have been quicker: that belongs into this record
            parts.flights.land(flight, self._state, snapshot)
            if parts.ledger.is_crowded:  # memory has come back, and the cooldown has just begun: no better time
                parts.importance.stand_back()
                parts.ledger.flush(read_usec())
                self._take_rank(is_early=following is None)

    def _resume(self, record: Record) -> bool:
        """Go on with a decision that an earlier daemon had staged; False: there is nothing to go on with."""
        if self._state.flight is not None:
            return False
        flight = self._parts.flights.resume(record, self._policy)
        self._state = replace(self._state, flight=flight)
        return flight is not None

    def _take_changes(self, changes: list[Change]) -> None:
        self._forget(self._follower.take(changes, self._state.level))

    def _forget(self, ended: frozenset[CgroupRef]) -> None:
        if ended:
            self._state = replace(self._state, stuck=self._state.stuck - ended)

    def _take_signals(self) -> None:
        signos = self._parts.sources.drain_signals()
        if signal.SIGHUP in signos:
            self._reloads.start(self._status())
        self.ending = self.ending or signal.SIGTERM in signos or signal.SIGINT in signos

    def _take_reload(self) -> None:
        parts = self._parts
        policy = self._reloads.take()
        if policy is not None:
            self._policy = policy
            parts.flights.forget_ready()
            self._take_changes(parts.tree.rescope(Scope(policy.workloads)))
            parts.docket.set_policy(policy)
            parts.standby.set_policy(policy)
            parts.publish(policy)
            # Nobody has looked at memory by this policy, and what the module said of it has been taken.
            self._is_calm, self._is_warned, self._wake_at_usec = False, False, read_usec()
            self._sleeper.spare_until_usec = 0
        self._reloads.finish(self._status())

    def _status(self) -> str:
        return f"{len(self._parts.tree)} workloads, level {self._state.level.name.lower()}"

    def _beat(self) -> None:
        """What is due now and then: a changed status, the watchdog, what the disk has yet to take; and when it is."""
        self._tell_systemd()
        if self._is_calm and self._parts.ledger.due_usec() is not None:
            self._parts.importance.stand_back()
        self._set_timer(self._parts.ledger.flush_in_time(read_usec(), is_busy=not self._is_calm))  # may add to it

    def _tell_systemd(self) -> None:
        self._parts.notifier.beat(read_usec(), self._status(), is_asleep=self._is_left_to_module)

    def _set_timer(self, flush_due_usec: int) -> None:
        """Find out when there is something else to do than to look, and leave the looks to the module if it watches."""
        parts, now_usec = self._parts, read_usec()
        self._due_usec = min(
            flush_due_usec,
            parts.standby.due_usec(self._state.level, is_killing=self._is_killing),
            self._follow_due_usec,
            self._follower.rescan_due_usec,
            parts.notifier.due_usec,
        )
        self._leave_to_module(now_usec)
        self._glances_until_usec = min(self._due_usec, now_usec + GLANCES_USEC) if self._is_calm else 0

    def _leave_to_module(self, now_usec: int) -> None:
        """Nobody looks at memory where the module does: on a calm host, and near the kill threshold if all is ready."""
        standby = self._parts.standby
        is_near = self._sleeper.is_near and self._wake_at_usec < self._due_usec
        is_guarded = self._is_warned and is_near and standby.is_guarded
        if is_guarded and self._parts.flights.is_aimed(self._state.stuck, now_usec):
            self._wake_at_usec, self._due_usec = NEVER_USEC, min(self._due_usec, now_usec + GUARDED_USEC)
        elif self._is_left_to_module:
            self._wake_at_usec = NEVER_USEC

    @property
    def _follow_due_usec(self) -> int:
        """Not while somebody dies or will in a moment, nor while the docket finds out who: it would begin anew."""
        flight = self._state.flight
        may_kill = self._is_short and not self._is_helpless and not self._state.held
        is_held_back = may_kill or (flight is not None and flight.killed) or self._parts.docket.unread
        return NEVER_USEC if is_held_back else self._follower.due_usec

    def _catch_up(self) -> int:
        """Follow who is only listed, beside everything else: for a while where there is time, else one of them.

        How long that took: it has a rest of its own, and the next look is not to wait for that.
        """
        begun_usec = read_usec()
        if begun_usec >= self._follow_due_usec:
            is_early, oldest = self._is_early, self._parts.docket.is_oldest_first
            self._forget(self._follower.catch_up(self._state.level, is_early=is_early, oldest=oldest))
        return read_usec() - begun_usec

    def _rest(self, begun_usec: int) -> None:
        """Leave others their share of this processor while the host is not short."""
        if self._is_calm:
            now_usec = read_usec()
            rested_usec = now_usec + rest_usec(now_usec - begun_usec)
            self._wake_at_usec, self._due_usec = max(self._wake_at_usec, rested_usec), max(self._due_usec, rested_usec)

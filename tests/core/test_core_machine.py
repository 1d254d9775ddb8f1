"""A host lives: memory moves, workloads come and go, victims die late or never, executors answer, the clock runs.

A second, plainer book of what happened is kept beside the core's own state, and every decision is held against it.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from random import Random

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from cgoom.core.decide import STUCK_USEC, conclude, decide, wants_victim
from cgoom.core.eligible import skip_reason
from cgoom.model import (
    Action,
    Candidate,
    Decision,
    HostMemory,
    Kill,
    KillAction,
    Level,
    Outcome,
    Policy,
    Rung,
    Snapshot,
    State,
    Term,
    Usage,
    Workload,
)

from .examples import (
    OWN_GRACES,
    OWN_PATH,
    PLACES,
    POLICIES,
    PRIORITIES,
    SIZES,
    SOME_FILL,
    make_memory,
    make_workload,
    memories,
    naive_first,
    naive_level,
    naive_raw,
)

JUMPS_USEC = st.sampled_from([1, 1_000, 99_999, 500_000, 2_000_000, 15_000_000])
ANSWERS = st.sampled_from([Outcome.DONE] * 5 + [Outcome.GONE, Outcome.REFUSED, Outcome.FAILED])


@dataclass
class Resident:
    """A cgroup of the simulated host, and what the executor will say when it is sent something."""

    workload: Workload
    usage: Usage | None
    answer: Outcome
    populated: bool = True

    def is_untouchable(self) -> bool:
        """Whether it may never be chosen, told without the core."""
        path = self.workload.ref.path
        return self.workload.protect or not self.populated or path in ("", "cg", OWN_PATH)


@dataclass
class Book:
    """What an onlooker knows. `relieved_early` counts the landing's own sample, `relieved` only later ones."""

    level: Level = Level.OK
    victim: int | None = None
    killed: bool = False
    deadline_usec: int = 0
    settled_usec: int | None = None
    relieved: bool = False
    relieved_early: bool = False
    answered: bool = False


class LivingHost(RuleBasedStateMachine):
    """The daemon's loop around `decide`, with everything else made up."""

    @initialize(
        policy=POLICIES,
        dry=st.sampled_from([False, False, False, True]),
        running=st.lists(st.tuples(PRIORITIES, ANSWERS), min_size=2, max_size=5),
    )
    def boot(self, policy: Policy, dry: bool, running: list[tuple[int, Outcome]]) -> None:
        self.policy, self.dry = policy, dry
        self.now_usec, self.wake_at_usec, self.next_id = 1_000_000, 1_000_000, 1
        self.state, self.book = State(), Book()
        self.memory = make_memory(60)
        self.residents: dict[int, Resident] = {}
        self.stuck: set[int] = set()
        for priority, answer in running:
            self.start(priority, None, False, None, None, answer)

    @rule(
        priority=PRIORITIES,
        place=PLACES,
        protect=st.sampled_from([False, False, False, True]),
        grace_usec=OWN_GRACES,
        size_bytes=SIZES,
        answer=ANSWERS,
    )
    def start(
        self,
        priority: int,
        place: str | None,
        protect: bool,
        grace_usec: int | None,
        size_bytes: int | None,
        answer: Outcome,
    ) -> None:
        workload = make_workload(self.next_id, priority, path=place, protect=protect, grace_usec=grace_usec)
        usage = None if size_bytes is None else Usage(size_bytes, size_bytes)
        self.residents[self.next_id] = Resident(workload, usage, answer)
        self.next_id += 1

    @precondition(lambda self: self.residents)
    @rule(number=st.integers(0, 20), vanish=st.booleans())
    def end(self, number: int, vanish: bool) -> None:
        self._end(sorted(self.residents)[number % len(self.residents)], vanish)

    @precondition(lambda self: self.book.victim in self.residents)
    @rule(vanish=st.booleans(), jump_usec=JUMPS_USEC, order=st.randoms(use_true_random=False))
    def victim_dies(self, vanish: bool, jump_usec: int, order: Random) -> None:
        """Its death is a signal of its own."""
        assert self.book.victim is not None
        self._end(self.book.victim, vanish)
        self.woken(jump_usec, order)

    def _end(self, cgroup_id: int, vanish: bool) -> None:
        self.residents[cgroup_id].populated = False
        if vanish:
            del self.residents[cgroup_id]

    @rule(memory=memories())
    def memory_moves(self, memory: HostMemory) -> None:
        self.memory = memory

    @rule(mem_pct=st.sampled_from([3, 4, 8]), jump_usec=JUMPS_USEC, order=st.randoms(use_true_random=False))
    def memory_is_short(self, mem_pct: int, jump_usec: int, order: Random) -> None:
        self.memory = make_memory(mem_pct)
        self.woken(jump_usec, order)

    @rule(jump_usec=JUMPS_USEC, order=st.randoms(use_true_random=False))
    def woken(self, jump_usec: int, order: Random) -> None:
        """By a signal, early or late."""
        self.now_usec += jump_usec
        self._look(order)

    @rule(order=st.randoms(use_true_random=False))
    def slept_well(self, order: Random) -> None:
        self.now_usec = max(self.now_usec + 1, self.wake_at_usec)
        self._look(order)

    def _look(self, order: Random) -> None:
        candidates = [
            Candidate(each.workload, each.usage, skip_reason(each.workload, OWN_PATH, each.populated))
            for each in self.residents.values()
        ]
        flight, populated = self.state.flight, None
        if flight is not None:
            resident = self.residents.get(flight.workload.ref.cgroup_id)
            populated = resident is not None and resident.populated
        snapshot = Snapshot(self.now_usec, self.memory, SOME_FILL, tuple(candidates), populated)
        decision = decide(self.policy, self.state, snapshot)
        order.shuffle(candidates)
        assert decide(self.policy, self.state, replace(snapshot, candidates=tuple(candidates))) == decision
        if flight is None and not wants_victim(self.policy, self.state, snapshot):
            assert decision.actions == ()
        self._check_says(decision, *self._land(populated))
        self._check_action(decision, candidates)
        self._check_wake(decision)
        self.wake_at_usec, self.state = decision.wake_at_usec, decision.next_state
        for action in decision.actions:
            self._execute(action)

    def _land(self, populated: bool | None) -> tuple[bool, bool]:
        """Keep the book up to this sample; whether the level changed and whether the victim is stuck."""
        book = self.book
        level = naive_level(self.policy.host, book.level, self.memory)
        changed, book.level = level != book.level, level
        book.answered = book.answered and level != Level.OK
        if level == Level.OK:
            self.stuck.clear()
        if book.victim is None:
            book.settled_usec = None if level == Level.OK else book.settled_usec
            book.relieved = book.relieved or level < Level.KILL
            book.relieved_early = book.relieved_early or level < Level.KILL
        elif not populated:
            book.victim, book.settled_usec = None, self.now_usec
            book.relieved, book.relieved_early = False, level < Level.KILL
        elif book.killed and self.now_usec >= book.deadline_usec:
            self.stuck.add(book.victim)
            book.victim = None
            return changed, True
        return changed, False

    def _check_says(self, decision: Decision, changed: bool, stuck: bool) -> None:
        assert decision.next_state.level == self.book.level
        assert sum(text.startswith("level ") for text in decision.says) == int(changed)
        assert sum("taking the next one" in text for text in decision.says) == int(stuck)

    def _check_action(self, decision: Decision, candidates: list[Candidate]) -> None:
        assert len(decision.actions) <= 1
        if self.book.victim is not None:
            self._check_escalation(decision)
            return
        raw = naive_raw(self.policy.host, self.memory)
        rungs = self._rungs(raw)
        first = naive_first(
            (each for each in candidates if each.workload.ref.cgroup_id not in self.stuck), self.policy.victim.tie_break
        )
        for action in decision.actions:
            assert first is not None
            assert action.candidate == first
            assert not self.residents[first.workload.ref.cgroup_id].is_untouchable()
            assert isinstance(action, KillAction) == isinstance(rungs[0], Kill)
            assert not self.book.answered
            assert not self._is_cooling(self.book.relieved_early, raw)
        if rungs and first is not None and not self.book.answered and not self._is_cooling(self.book.relieved, raw):
            assert decision.actions

    def _check_escalation(self, decision: Decision) -> None:
        """The victim in flight is killed exactly once and exactly when its time is up; nobody else is touched."""
        book, kill_rungs = self.book, self._rungs(Level.KILL)
        if not book.killed and kill_rungs and naive_raw(self.policy.host, self.memory) == Level.KILL:
            book.deadline_usec = min(book.deadline_usec, self.now_usec + self._grace(kill_rungs[0]))
        due = not book.killed and self.now_usec >= book.deadline_usec
        assert [action.candidate.workload.ref.cgroup_id for action in decision.actions] == [book.victim] * due
        assert all(isinstance(action, KillAction) for action in decision.actions)

    def _check_wake(self, decision: Decision) -> None:
        assert self.now_usec < decision.wake_at_usec <= self.now_usec + 1_000_000
        flight = decision.next_state.flight
        if flight is not None and flight.deadline_usec > self.now_usec:
            assert decision.wake_at_usec <= flight.deadline_usec

    def _execute(self, action: Action) -> None:
        workload, book = action.candidate.workload, self.book
        resident = self.residents.get(workload.ref.cgroup_id)
        outcome = Outcome.WOULD if self.dry else resident.answer if resident else Outcome.GONE
        self.state = conclude(self.state, outcome, self.now_usec)
        book.victim = None
        if outcome == Outcome.DONE:
            book.victim, book.killed = workload.ref.cgroup_id, isinstance(action, KillAction)
            rung = self._rungs(naive_raw(self.policy.host, self.memory))[0] if not book.killed else Kill()
            book.deadline_usec = self.now_usec + (STUCK_USEC if book.killed else self._grace(rung))
        elif outcome == Outcome.WOULD:
            book.answered = True
        elif outcome == Outcome.GONE:
            book.settled_usec, book.relieved, book.relieved_early = self.now_usec, False, False
        else:
            self.stuck.add(workload.ref.cgroup_id)

    def _rungs(self, level: Level) -> tuple[Rung, ...]:
        return {Level.OK: (), Level.WARN: self.policy.ladder.warn, Level.KILL: self.policy.ladder.kill}[level]

    def _grace(self, rung: Rung) -> int:
        own_usec = self.residents[self.book.victim].workload.grace_usec if self.book.victim else None
        if isinstance(rung, Term):
            return rung.grace_usec if own_usec is None else own_usec
        return 0

    def _is_cooling(self, relieved: bool, raw: Level) -> bool:
        settled_usec = self.book.settled_usec
        if settled_usec is None or (relieved and raw == Level.KILL):
            return False
        return self.now_usec < settled_usec + self.policy.victim.cooldown_usec

    @invariant()
    def the_core_and_the_book_agree_on_who_is_in_flight(self) -> None:
        flight = self.state.flight
        assert (flight.workload.ref.cgroup_id if flight else None) == self.book.victim
        if flight:
            assert (flight.killed, flight.deadline_usec) == (self.book.killed, self.book.deadline_usec)


TestLivingHost = LivingHost.TestCase
TestLivingHost.settings = settings(
    max_examples=120, stateful_step_count=40, deadline=None, suppress_health_check=[HealthCheck.too_slow]
)

"""What `decide` promises of any state and any snapshot, and its rules one by one."""

from __future__ import annotations

import copy
from dataclasses import replace
from random import Random

from hypothesis import given
from hypothesis import strategies as st

from cgoom.core.decide import STUCK_USEC, conclude, decide, kills_at_once, wants_victim
from cgoom.core.detect import raw_level
from cgoom.core.rank import rank
from cgoom.model import (
    Candidate,
    Decision,
    Flight,
    Kill,
    KillAction,
    Ladder,
    Level,
    Outcome,
    Policy,
    Snapshot,
    State,
    Term,
    TermAction,
    VictimPolicy,
    Workload,
)

from .examples import (
    AMPLE,
    FEW,
    KILL_AT_ONCE,
    POLICIES,
    SHORT,
    candidates_lists,
    make_candidate,
    make_memory,
    make_snapshot,
    make_workload,
    memories,
    naive_first,
)

SEC = 1_000_000
NOW = 100 * SEC
MOMENTS = st.one_of(st.integers(NOW - 20 * SEC, NOW + 20 * SEC), st.sampled_from([NOW - 1, NOW, NOW + 1, NOW + 900]))


@st.composite
def situations(draw: st.DrawFn, flying: bool | None = None) -> tuple[Policy, State, Snapshot]:
    """Any policy, any state that could have been left behind, any snapshot; with a victim in flight or without."""
    candidates = draw(candidates_lists())
    known = [each.workload for each in candidates] + [make_workload(77)]
    flights = st.builds(Flight, st.sampled_from(known), st.booleans(), MOMENTS)
    state = State(
        level=draw(st.sampled_from(Level)),
        flight=draw(flights) if flying or (flying is None and draw(st.booleans())) else None,
        settled_usec=draw(st.one_of(st.none(), st.integers(NOW - 5 * SEC, NOW))),
        relieved=draw(st.booleans()),
        stuck=draw(st.frozensets(st.sampled_from([each.ref for each in known]), max_size=2)),
        held=draw(st.sampled_from([False, False, True])),
    )
    fill = draw(st.one_of(st.integers(-1, 10), st.integers(1 << 20, 1 << 40)))
    populated = draw(st.sampled_from([None, True, False]))
    return draw(POLICIES), state, Snapshot(NOW, draw(memories()), fill, tuple(candidates), populated)


def rungs(policy: Policy, level: Level) -> tuple[Term | Kill, ...]:
    return {Level.OK: (), Level.WARN: policy.ladder.warn, Level.KILL: policy.ladder.kill}[level]


@FEW
@given(situations(), st.randoms(use_true_random=False))
def test_it_is_pure_and_blind_to_the_order_of_scanning(
    situation: tuple[Policy, State, Snapshot], random: Random
) -> None:
    policy, state, snapshot = situation
    kept = copy.deepcopy(situation)
    decision = decide(policy, state, snapshot)
    assert situation == kept
    assert decide(*kept) == decision
    shuffled = list(snapshot.candidates)
    random.shuffle(shuffled)
    assert decide(policy, state, replace(snapshot, candidates=tuple(shuffled))) == decision


@FEW
@given(situations())
def test_it_wakes_later_than_now_and_in_time(situation: tuple[Policy, State, Snapshot]) -> None:
    policy, state, snapshot = situation
    decision = decide(policy, state, snapshot)
    after = decision.next_state
    assert NOW < decision.wake_at_usec <= NOW + SEC
    if after.flight is not None and after.flight.deadline_usec > NOW:
        assert decision.wake_at_usec <= after.flight.deadline_usec
    if after.flight is None and after.settled_usec is not None:
        cooled_usec = after.settled_usec + policy.victim.cooldown_usec
        assert cooled_usec <= NOW or decision.wake_at_usec <= cooled_usec


@FEW
@given(situations())
def test_whoever_is_chosen_may_be_and_is_the_least_important(situation: tuple[Policy, State, Snapshot]) -> None:
    policy, state, snapshot = situation
    decision = decide(policy, state, snapshot)
    assert len(decision.actions) <= 1
    for action in decision.actions:
        after = decision.next_state.flight
        assert after is not None
        assert after.workload == action.candidate.workload
        assert after.killed == isinstance(action, KillAction)
        flight = None if snapshot.victim_populated is False else state.flight  # who is gone may be listed still
        if flight is not None and action.candidate.workload == flight.workload and not flight.killed:
            continue
        assert rungs(policy, raw_level(policy.host, snapshot.memory))
        stuck = set(state.stuck)
        if flight is not None:
            stuck.add(flight.workload.ref)
        free = [each for each in snapshot.candidates if each.workload.ref not in stuck]
        assert action.candidate == naive_first(free, policy.victim.tie_break)
        assert not action.candidate.skip


@FEW
@given(situations(flying=True), st.sampled_from([True, None]), st.integers(1, 20 * SEC))
def test_nobody_is_chosen_while_a_victim_is_in_flight(
    situation: tuple[Policy, State, Snapshot], populated: bool | None, left_usec: int
) -> None:
    policy, state, snapshot = situation
    assert state.flight is not None
    flight = replace(state.flight, deadline_usec=NOW + left_usec) if state.flight.killed else state.flight
    decision = decide(policy, replace(state, flight=flight), replace(snapshot, victim_populated=populated))
    after = decision.next_state.flight
    assert after is not None
    assert after.workload == flight.workload
    for action in decision.actions:
        assert isinstance(action, KillAction)
        assert action.candidate.workload == flight.workload
        assert not flight.killed


@FEW
@given(situations())
def test_without_scarcity_in_this_very_sample_nobody_is_chosen(situation: tuple[Policy, State, Snapshot]) -> None:
    policy, state, snapshot = situation
    if rungs(policy, raw_level(policy.host, snapshot.memory)):
        snapshot = replace(snapshot, memory=AMPLE)
    decision = decide(policy, state, snapshot)
    if decision.actions:
        assert state.flight is not None
        assert not state.flight.killed
        assert state.flight.deadline_usec <= NOW
        assert decision.actions[0].candidate.workload == state.flight.workload


@FEW
@given(situations(flying=False))
def test_candidates_are_worth_collecting_exactly_when_a_victim_is_wanted(
    situation: tuple[Policy, State, Snapshot],
) -> None:
    policy, state, snapshot = situation
    wanted = wants_victim(policy, state, snapshot)
    assert wanted == wants_victim(policy, state, replace(snapshot, candidates=()))
    decision = decide(policy, state, snapshot)
    free = [each for each in snapshot.candidates if each.workload.ref not in state.stuck and not each.skip]
    assert bool(decision.actions) == (wanted and bool(free))
    if not wanted:
        assert decide(policy, state, replace(snapshot, candidates=())) == decision


@FEW
@given(situations())
def test_what_may_be_done_in_advance_is_what_is_decided(situation: tuple[Policy, State, Snapshot]) -> None:
    policy, state, snapshot = situation
    state, snapshot = replace(state, flight=None), replace(snapshot, memory=SHORT)
    if not kills_at_once(policy, state, raw_level(policy.host, snapshot.memory), snapshot.now_usec):
        return
    actions = decide(policy, state, snapshot).actions
    free = [each for each in snapshot.candidates if each.workload.ref not in state.stuck and not each.skip]
    assert [each.candidate for each in actions] == rank(free, policy.victim)[:1]
    assert all(isinstance(each, KillAction) for each in actions)


@FEW
@given(situations())
def test_collecting_candidates_only_after_a_first_look_changes_nothing(
    situation: tuple[Policy, State, Snapshot],
) -> None:
    policy, state, snapshot = situation
    first = decide(policy, state, replace(snapshot, candidates=()))
    late = first
    if wants_victim(policy, first.next_state, snapshot):
        late = decide(policy, first.next_state, snapshot)
        assert first.actions == ()
        assert late.says == ()
    at_once = decide(policy, state, snapshot)
    assert late.actions == at_once.actions
    assert first.says == at_once.says
    assert late.wake_at_usec == at_once.wake_at_usec
    assert replace(late.next_state, relieved=False) == replace(at_once.next_state, relieved=False)


@FEW
@given(situations(), st.sampled_from(Outcome))
def test_only_done_leaves_a_victim_in_flight(situation: tuple[Policy, State, Snapshot], outcome: Outcome) -> None:
    state = decide(*situation).next_state
    after = conclude(state, outcome, NOW + 5)
    if state.flight is None or outcome == Outcome.DONE:
        assert after == state
        return
    assert after.flight is None
    assert after.held == (state.held or outcome == Outcome.WOULD)
    refused = outcome in (Outcome.REFUSED, Outcome.FAILED)
    assert after.stuck == (state.stuck | {state.flight.workload.ref} if refused else state.stuck)
    assert after.settled_usec == (NOW + 5 if outcome == Outcome.GONE else state.settled_usec)


def victims(decision: Decision) -> list[int]:
    return [action.candidate.workload.ref.cgroup_id for action in decision.actions]


PAIR = (make_candidate(1, 100), make_candidate(2, 10))


def flying(workload: Workload, killed: bool, deadline_usec: int) -> State:
    return State(Level.KILL, Flight(workload, killed, deadline_usec))


def test_the_reason_tells_what_was_short_and_why_this_one() -> None:
    decision = decide(KILL_AT_ONCE, State(), make_snapshot(NOW, make_memory(4.8), PAIR))
    (action,) = decision.actions
    assert isinstance(action, KillAction)
    assert action.why.shortage == "MemAvailable 4.8% (48.0M) <= 5%"
    assert action.why.choice == "priority 100 over 10"
    assert decision.says == ("level ok -> kill: MemAvailable 4.8% (48.0M) <= 5%",)


def test_a_deadline_or_the_end_of_a_cooldown_is_not_slept_through() -> None:
    for killed in (True, False):
        state = flying(PAIR[0].workload, killed, NOW + 700)
        assert decide(KILL_AT_ONCE, state, make_snapshot(NOW, AMPLE, PAIR, populated=True)).wake_at_usec == NOW + 700
    cooling = State(Level.KILL, settled_usec=NOW + 700 - KILL_AT_ONCE.victim.cooldown_usec)
    assert decide(KILL_AT_ONCE, cooling, make_snapshot(NOW, SHORT, PAIR)).wake_at_usec == NOW + 700


def test_sigterm_becomes_a_kill_at_its_deadline_even_on_a_host_that_recovered() -> None:
    policy = Policy(ladder=Ladder(warn=(Term(10 * SEC),), kill=(Kill(),)))
    first = decide(policy, State(), make_snapshot(NOW, make_memory(8), PAIR))
    assert isinstance(first.actions[0], TermAction)
    early = make_snapshot(NOW + 10 * SEC - 1, AMPLE, PAIR, populated=True)
    assert decide(policy, first.next_state, early).actions == ()
    late = decide(policy, first.next_state, replace(early, now_usec=NOW + 10 * SEC))
    assert isinstance(late.actions[0], KillAction)
    assert victims(late) == [1]
    assert late.next_state.flight == Flight(PAIR[0].workload, True, NOW + 10 * SEC + STUCK_USEC)


def test_sigterm_becomes_a_kill_at_once_at_the_kill_threshold() -> None:
    policy = Policy(ladder=Ladder(warn=(Term(10 * SEC),), kill=(Kill(),)))
    state = flying(PAIR[0].workload, False, NOW + 9 * SEC)
    assert victims(decide(policy, state, make_snapshot(NOW, SHORT, PAIR, populated=True))) == [1]
    assert decide(policy, state, make_snapshot(NOW, make_memory(6), PAIR, populated=True)).actions == ()


def test_the_kill_level_with_its_own_grace_shortens_a_longer_one_once() -> None:
    policy = Policy(ladder=Ladder(warn=(Term(10 * SEC),), kill=(Term(SEC),)))
    state = flying(PAIR[0].workload, False, NOW + 9 * SEC)
    for now_usec in (NOW, NOW + SEC // 2):
        decision = decide(policy, state, make_snapshot(now_usec, SHORT, PAIR, populated=True))
        state = decision.next_state
        assert decision.actions == ()
        assert state.flight is not None
        assert state.flight.deadline_usec == NOW + SEC
    assert victims(decide(policy, state, make_snapshot(NOW + SEC, SHORT, PAIR, populated=True))) == [1]


def test_a_workload_brings_its_own_grace() -> None:
    policy = Policy(ladder=Ladder(warn=(Term(10 * SEC),), kill=()))
    own = Candidate(make_workload(1, grace_usec=3 * SEC))
    state = decide(policy, State(), make_snapshot(NOW, SHORT, [own])).next_state
    assert state.flight is None
    state = decide(policy, State(), make_snapshot(NOW, make_memory(8), [own])).next_state
    assert state.flight == Flight(own.workload, False, NOW + 3 * SEC)


def test_the_next_one_waits_for_the_cooldown() -> None:
    policy = replace(KILL_AT_ONCE, victim=VictimPolicy(cooldown_usec=SEC))
    landed = decide(policy, flying(PAIR[0].workload, True, NOW + SEC), make_snapshot(NOW, SHORT, PAIR[1:], False))
    assert landed.actions == ()
    assert landed.next_state.settled_usec == NOW
    early = decide(policy, landed.next_state, make_snapshot(NOW + SEC - 1, SHORT, PAIR[1:]))
    assert early.actions == ()
    assert early.wake_at_usec == NOW + SEC
    assert victims(decide(policy, early.next_state, make_snapshot(NOW + SEC, SHORT, PAIR[1:]))) == [2]


def test_a_new_shortage_does_not_wait_for_the_cooldown_of_the_old_one() -> None:
    policy = replace(KILL_AT_ONCE, victim=VictimPolicy(cooldown_usec=SEC))
    state = State(Level.KILL, settled_usec=NOW)
    for mem_pct, chosen in ((4, []), (6, []), (9, []), (4, [2])):
        decision = decide(policy, state, make_snapshot(NOW + int(10 * mem_pct), make_memory(mem_pct), PAIR[1:]))
        assert victims(decision) == chosen
        state = decision.next_state


def test_a_stuck_victim_stays_set_aside_through_a_sample_without_candidates() -> None:
    """A caller that collects only when somebody is wanted learns of the stuck one before it has collected anybody."""
    state = flying(PAIR[0].workload, True, NOW)
    for _ in range(2):
        state = decide(KILL_AT_ONCE, state, make_snapshot(NOW, SHORT, populated=True)).next_state
    assert victims(decide(KILL_AT_ONCE, state, make_snapshot(NOW, SHORT, PAIR))) == [2]
    assert victims(decide(KILL_AT_ONCE, state, make_snapshot(NOW, SHORT, PAIR[:1]))) == []


def test_a_dry_run_answers_once_for_a_shortage() -> None:
    state, answers = State(), []
    for step, mem_pct in enumerate((4, 4, 8, 4, 11, 30, 4, 4)):
        decision = decide(KILL_AT_ONCE, state, make_snapshot(NOW + step * SEC, make_memory(mem_pct), PAIR))
        answers.append(victims(decision))
        state = conclude(decision.next_state, Outcome.WOULD, NOW + step * SEC)
    assert answers == [[1], [], [], [], [], [], [1], []]

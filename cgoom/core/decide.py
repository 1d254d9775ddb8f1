"""The one decision: who is sent what, now.

Rules, each of which has a property test:
1. Nobody is chosen unless this very sample says that the host is short. Pressure only wakes us.
2. One victim in flight. The next one is chosen when it is gone, and when the host recovered or the cooldown is over.
3. SIGTERM always ends in a kill: at its deadline, or at once when the host reaches the kill threshold.
4. A victim that does not die in time is said aloud, set aside as stuck, and the next candidate is taken.
5. The order in which candidates come never changes the victim.
"""

from __future__ import annotations

from dataclasses import replace

from cgoom.core.detect import detect, raw_level, shortage
from cgoom.core.pace import WAITING_USEC, cooling_usec, next_sample_usec
from cgoom.core.rank import place_reason, rank
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
    Rung,
    Snapshot,
    State,
    TermAction,
    Why,
    Workload,
)
from cgoom.units import render_time

# Microseconds; chosen. A killed cgroup of a few GiB was empty within 0.15 s in an emulated guest; one that is not
# after 2 s sits in an uninterruptible sleep, and the host cannot wait for that.
STUCK_USEC = 2_000_000


def decide(policy: Policy, state: State, snapshot: Snapshot) -> Decision:
    """What to do about this snapshot, and what to remember for the next. Pure: time is `snapshot.now_usec`."""
    level = detect(policy.host, state.level, snapshot.memory)
    says = _tell_level(policy, state.level, level, snapshot)
    if level == Level.OK:
        # A new shortage is a new chance: what would not die then may have been a slow disk.
        state = replace(state, held=False, stuck=frozenset())
    state = replace(state, level=level)
    state, landing = _land(state, snapshot)
    says += landing
    if state.flight is not None:
        decision = _escalate(policy, state, state.flight, snapshot)
    elif wants_victim(policy, state, snapshot):
        decision = _choose(policy, state, snapshot)
    else:
        decision = Decision((), state)
    return replace(decision, says=says + decision.says, wake_at_usec=_wake_at(policy, decision, snapshot))


def wants_victim(policy: Policy, state: State, snapshot: Snapshot) -> bool:
    """Whether a victim would be chosen if there were candidates. Callers collect them only when this says so.

    It looks at memory and time alone, and at a state whose flight has landed.
    """
    raw = raw_level(policy.host, snapshot.memory)
    if state.flight is not None or state.held or not _rungs(policy, raw):
        return False
    return not _is_cooling(policy, state, raw, snapshot.now_usec)


def kills_at_once(policy: Policy, state: State, raw: Level, now_usec: int) -> bool:
    """Whether `decide` can only kill the first of the order, at a sample whose raw level is `raw`.

    The host is at the kill threshold, nobody is in flight, nothing cools down, and the first rung is the last: who is
    known to be the first needs no further thought.
    """
    if raw != Level.KILL or state.flight is not None or state.held:
        return False
    rungs = policy.ladder.kill
    return bool(rungs) and isinstance(rungs[0], Kill) and not _is_cooling(policy, state, raw, now_usec)


def is_calm(state: State, raw: Level) -> bool:
    """Whether `decide` would do nothing but ask for the next sample: what an idle host is nearly always in for."""
    return raw == Level.OK and state.level == Level.OK and state.flight is None and state.settled_usec is None


def is_warned(policy: Policy, state: State, raw: Level, now_usec: int) -> bool:
    """Whether nothing is left to do after a warning, which asks nobody to end, but to wait for the kill threshold."""
    if raw != Level.WARN or state.level != Level.WARN or policy.ladder.warn:
        return False
    return state.flight is None and not _is_cooling(policy, state, raw, now_usec)


def is_waiting(policy: Policy, state: State, now_usec: int) -> bool:
    """Whether nobody is killed at a look then, even if memory has run out: somebody dies, or the host cools down.

    The end of who dies is followed by a cooldown, which every policy file has.
    """
    if state.flight is not None:
        return state.flight.killed and now_usec < state.flight.deadline_usec
    return _is_cooling(policy, state, Level.KILL, now_usec)


def conclude(state: State, outcome: Outcome, now_usec: int) -> State:
    """The state after the executor answered. Only DONE leaves the victim in flight."""
    if state.flight is None or outcome == Outcome.DONE:
        return state
    landed = replace(state, flight=None)
    if outcome == Outcome.WOULD:
        return replace(landed, held=True)
    if outcome == Outcome.GONE:
        return replace(landed, settled_usec=now_usec, relieved=False)
    return replace(landed, stuck=state.stuck | {state.flight.workload.ref})


def longest_grace(ladder: Ladder, workload: Workload) -> int:
    """The longest time that a SIGTERM leaves to a workload, in microseconds, whichever level sent it."""
    return max((_grace(rung, workload.grace_usec) for rung in (*ladder.warn, *ladder.kill)), default=0)


def _tell_level(policy: Policy, previous: Level, level: Level, snapshot: Snapshot) -> tuple[str, ...]:
    if level == previous:
        return ()
    seen = shortage(policy.host, level, snapshot.memory)
    return (f"level {previous.name.lower()} -> {level.name.lower()}: {seen}",)


def _land(state: State, snapshot: Snapshot) -> tuple[State, tuple[str, ...]]:
    """Take a victim out of flight that is gone or that would not die."""
    flight, now_usec = state.flight, snapshot.now_usec
    if flight is None:
        settled_usec = None if state.level == Level.OK else state.settled_usec
        return replace(state, settled_usec=settled_usec, relieved=state.relieved or state.level < Level.KILL), ()
    if snapshot.victim_populated is False:
        return replace(state, flight=None, settled_usec=now_usec, relieved=state.level < Level.KILL), ()
    if flight.killed and now_usec >= flight.deadline_usec:
        stuck = state.stuck | {flight.workload.ref}
        text = f"{flight.workload.name}: the kill had no effect for {render_time(STUCK_USEC)}, taking the next one"
        return replace(state, flight=None, stuck=stuck), (text,)
    return state, ()


def _escalate(policy: Policy, state: State, flight: Flight, snapshot: Snapshot) -> Decision:
    """Turn a SIGTERM into a kill when its time is up."""
    if flight.killed:
        return Decision((), state)
    if raw_level(policy.host, snapshot.memory) == Level.KILL and policy.ladder.kill:
        limit_usec = snapshot.now_usec + _grace(policy.ladder.kill[0], flight.workload.grace_usec)
        flight = replace(flight, deadline_usec=min(flight.deadline_usec, limit_usec))
    if snapshot.now_usec < flight.deadline_usec:
        return Decision((), replace(state, flight=flight))
    killed = Flight(flight.workload, True, snapshot.now_usec + STUCK_USEC)
    raw = raw_level(policy.host, snapshot.memory)
    why = Why(shortage(policy.host, raw, snapshot.memory), "SIGTERM did not end it in time")
    return Decision((KillAction(Candidate(flight.workload), why),), replace(state, flight=killed))


def _choose(policy: Policy, state: State, snapshot: Snapshot) -> Decision:
    raw = raw_level(policy.host, snapshot.memory)
    ranked = rank(
        (
            replace(candidate, skip="would not die") if candidate.workload.ref in state.stuck else candidate
            for candidate in snapshot.candidates
        ),
        policy.victim,
    )
    if not ranked or ranked[0].skip:
        return Decision((), state)
    why = Why(shortage(policy.host, raw, snapshot.memory), place_reason(ranked, 0, policy.victim))
    rung, workload = _rungs(policy, raw)[0], ranked[0].workload
    if isinstance(rung, Kill):
        flight = Flight(workload, True, snapshot.now_usec + STUCK_USEC)
        return Decision((KillAction(ranked[0], why),), replace(state, flight=flight))
    flight = Flight(workload, False, snapshot.now_usec + _grace(rung, workload.grace_usec))
    return Decision((TermAction(ranked[0], why),), replace(state, flight=flight))


def _is_cooling(policy: Policy, state: State, raw: Level, now_usec: int) -> bool:
    """After a victim is gone the host gets time to recover. A kill level that was left and entered again is a new
    shortage: it cannot wait for the end of the old one's cooldown.
    """
    if state.settled_usec is None:
        return False
    if state.relieved and raw == Level.KILL:
        return False
    return now_usec < state.settled_usec + policy.victim.cooldown_usec


def _rungs(policy: Policy, raw: Level) -> tuple[Rung, ...]:
    return {Level.OK: (), Level.WARN: policy.ladder.warn, Level.KILL: policy.ladder.kill}[raw]


def _grace(rung: Rung, own_usec: int | None) -> int:
    if isinstance(rung, Kill):
        return 0
    return rung.grace_usec if own_usec is None else own_usec


def _wake_at(policy: Policy, decision: Decision, snapshot: Snapshot) -> int:
    """The earliest of: the next sample, the flight's deadline, the end of the cooldown."""
    now_usec, state, flight = snapshot.now_usec, decision.next_state, decision.next_state.flight
    pace = (policy.host, snapshot.memory, snapshot.fill_bytes_per_sec)
    if not is_waiting(policy, state, now_usec):
        look_usec = next_sample_usec(*pace)
    elif flight is not None:
        look_usec = WAITING_USEC
    else:
        look_usec = cooling_usec(*pace)
    wakes = [now_usec + look_usec]
    if flight is not None:
        wakes.append(max(flight.deadline_usec, now_usec + 1))  # a grace of 0 ends now
    elif state.settled_usec is not None:
        wakes.append(state.settled_usec + policy.victim.cooldown_usec)
    return min(wake for wake in wakes if wake > now_usec)

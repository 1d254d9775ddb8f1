"""Cases that other out-of-memory daemons are tested with, played against the pure decision."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cgoom.core.decide import STUCK_USEC, conclude, decide
from cgoom.core.eligible import skip_reason
from cgoom.core.pace import LONGEST_USEC, next_sample_usec
from cgoom.model import (
    Candidate,
    CgroupRef,
    Flight,
    HostMemory,
    KillAction,
    Ladder,
    Level,
    Outcome,
    Policy,
    State,
    Term,
    VictimPolicy,
    Workload,
)

from .examples import (
    FEW,
    KILL_AT_ONCE,
    OWN_PATH,
    POLICIES,
    SHORT,
    candidates_lists,
    make_candidate,
    make_memory,
    make_snapshot,
    make_workload,
)

SEC = 1_000_000
NOW = 100 * SEC


def candidate_at(cgroup_id: int, path: str, priority: int, populated: bool = True) -> Candidate:
    workload = make_workload(cgroup_id, priority, path=path)
    return Candidate(workload, skip=skip_reason(workload, OWN_PATH, populated))


def choose(policy: Policy, state: State, now_usec: int, candidates: list[Candidate]) -> tuple[list[str], State]:
    """Who is killed on a host that is short, and the state that is left."""
    decision = decide(policy, state, make_snapshot(now_usec, SHORT, candidates, None if state.flight is None else True))
    return [each.candidate.workload.ref.path for each in decision.actions], decision.next_state


def test_b6_the_victim_is_the_globally_least_important() -> None:
    tree = [candidate_at(1, "B/F", 600), candidate_at(2, "A/X", 0), candidate_at(3, "A/Z", 900)]
    assert choose(KILL_AT_ONCE, State(), NOW, tree)[0] == ["A/Z"]


def test_b8_the_best_ranked_one_is_dead_and_not_counted_against_anybody() -> None:
    victims, state = choose(
        KILL_AT_ONCE, State(), NOW, [candidate_at(1, "B/F", 1000, populated=False), candidate_at(2, "A/Z", 5)]
    )
    assert victims == ["A/Z"]
    assert state.stuck == frozenset()
    assert choose(KILL_AT_ONCE, State(), NOW, [candidate_at(1, "B/F", 1000, populated=False)])[0] == []


@pytest.mark.parametrize("outcome", [Outcome.FAILED, Outcome.REFUSED])
def test_b9_where_the_first_cannot_be_killed_the_next_one_is_taken_and_only_it(outcome: Outcome) -> None:
    tree = [candidate_at(1, "test.slice/Y/M", 900), candidate_at(2, "test.slice/P/Z", 800), candidate_at(3, "C", 700)]
    victims, state = choose(KILL_AT_ONCE, State(), NOW, tree)
    assert victims == ["test.slice/Y/M"]
    state = conclude(state, outcome, NOW)
    victims, state = choose(KILL_AT_ONCE, state, NOW + 1, tree)
    assert victims == ["test.slice/P/Z"]
    assert choose(KILL_AT_ONCE, conclude(state, Outcome.DONE, NOW + 1), NOW + 2, tree)[0] == []


def test_b10_a_victim_that_stays_populated_costs_no_second_one_until_it_counts_as_stuck() -> None:
    tree = [candidate_at(1, "A", 900), candidate_at(2, "B", 800)]
    _, state = choose(KILL_AT_ONCE, State(), NOW, tree)
    for later_usec in (1, 1000, SEC, STUCK_USEC - 1):
        victims, state = choose(KILL_AT_ONCE, state, NOW + later_usec, tree)
        assert victims == []
    decision = decide(KILL_AT_ONCE, state, make_snapshot(NOW + STUCK_USEC, SHORT, tree, populated=True))
    assert decision.says == ("w1: the kill had no effect for 2.00s, taking the next one",)
    assert [each.candidate.workload.ref.path for each in decision.actions] == ["B"]
    again = decide(KILL_AT_ONCE, decision.next_state, make_snapshot(NOW + 9 * SEC, SHORT, tree, populated=False))
    assert again.says == ()
    assert choose(KILL_AT_ONCE, again.next_state, NOW + 20 * SEC, tree[:1])[0] == []


@pytest.mark.parametrize(
    ("shown", "first"),
    [
        ([(60, 500), (20, 1000), (40, 500)], 20),
        ([(60, 1000), (30, 0), (20, 1000)], 60),
        ([(60, 500), (30, 0), (20, 0)], 60),
    ],
)
def test_b12_the_victim_is_found_by_priority_and_then_by_size(shown: list[tuple[int, int]], first: int) -> None:
    candidates = [make_candidate(number, priority, size) for number, (size, priority) in enumerate(shown, start=1)]
    (action,) = decide(KILL_AT_ONCE, State(), make_snapshot(NOW, SHORT, candidates)).actions
    assert action.candidate.usage is not None
    assert action.candidate.usage.freeable_bytes == first


@FEW
@given(POLICIES, st.sampled_from(Level), candidates_lists(), st.floats(30, 100), st.booleans())
def test_b13_pressure_alone_never_kills(
    policy: Policy, level: Level, candidates: list[Candidate], mem_pct: float, swap: bool
) -> None:
    """Pressure only wakes the daemon: whatever the level was, a sample with memory has no victim."""
    memory = make_memory(mem_pct, 0 if swap else None)
    assert decide(policy, State(level), make_snapshot(NOW, memory, candidates)).actions == ()


def test_b15_swap_decides_with_memory_and_is_ignored_where_there_is_none() -> None:
    total = 20_971_512 * 1024
    low = HostMemory(total, 0, total, (20_971_512 - 20_971_440) * 1024)
    for memory, killed in (
        (low, 1),
        (replace(low, swap_free_bytes=total // 2), 0),
        (replace(low, swap_total_bytes=0, swap_free_bytes=0), 1),
    ):
        assert len(decide(KILL_AT_ONCE, State(), make_snapshot(NOW, memory, [make_candidate(1)])).actions) == killed


@pytest.mark.parametrize("fill_bytes_per_sec", [0, -1, -(2**63)])
def test_b18_a_rate_that_ran_backwards_counts_as_none(fill_bytes_per_sec: int) -> None:
    assert next_sample_usec(KILL_AT_ONCE.host, make_memory(60), fill_bytes_per_sec) == LONGEST_USEC


def test_b18_a_cgroup_made_again_inherits_nothing_from_the_old_one() -> None:
    old, new = make_workload(1, path="A"), make_workload(2, path="A")
    stuck = State(Level.KILL, stuck=frozenset({old.ref}))
    decision = decide(KILL_AT_ONCE, stuck, make_snapshot(NOW, SHORT, [Candidate(new)]))
    assert [each.candidate.workload.ref for each in decision.actions] == [CgroupRef("A", 2)]
    policy = Policy(ladder=Ladder(warn=(Term(10 * SEC),), kill=(Term(10 * SEC),)))
    state = State(Level.KILL, Flight(old, killed=False, deadline_usec=NOW - 1))
    landed = decide(policy, state, make_snapshot(NOW, SHORT, [Candidate(new)], populated=False))
    assert landed.actions == ()
    chosen = decide(policy, landed.next_state, make_snapshot(NOW + SEC, SHORT, [Candidate(new)]))
    assert chosen.next_state.flight == Flight(new, killed=False, deadline_usec=NOW + 11 * SEC)


@FEW
@given(st.permutations(list(range(0, 1001, 100))), st.integers(0, 300_000))
def test_b23_eleven_workloads_die_in_strict_order_while_the_host_stays_short(
    priorities: list[int], death_takes_usec: int
) -> None:
    """Following nothing but `wake_at_usec`: each dies after a while, and the host never recovers."""
    alive = [make_candidate(number, priority) for number, priority in enumerate(priorities, start=1)]
    policy = replace(KILL_AT_ONCE, victim=VictimPolicy(cooldown_usec=200_000))
    state, now_usec, dead_at_usec = State(), NOW, 0
    order: list[Workload] = []
    while alive or state.flight:
        populated = now_usec < dead_at_usec if state.flight else None
        if populated is False:
            alive = [each for each in alive if each.workload != order[-1]]
        decision = decide(policy, state, make_snapshot(now_usec, SHORT, alive, populated))
        state = decision.next_state
        for action in decision.actions:
            assert isinstance(action, KillAction)
            order.append(action.candidate.workload)
            dead_at_usec = now_usec + death_takes_usec
        now_usec = decision.wake_at_usec
        assert now_usec < NOW + 60 * SEC
    assert [each.priority for each in order] == sorted(priorities, reverse=True)

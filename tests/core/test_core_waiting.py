"""Somebody dies, or the host cools down after that: nobody else is killed, and no look is in a hurry."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cgoom.core.decide import decide, is_waiting
from cgoom.model import Level, Policy, Snapshot, State

from .examples import FEW, KILL_AT_ONCE, SHORT, make_memory, make_snapshot
from .test_core_decide import NOW, PAIR, SEC, flying, situations


def test_a_look_that_can_bring_nobody_death_is_not_in_a_hurry() -> None:
    cooling, close = State(Level.KILL, settled_usec=NOW), make_memory(5.01)
    for waiting, wait_usec in ((flying(PAIR[0].workload, True, NOW + SEC), 20_000), (cooling, 5_000)):
        for memory in (close, SHORT):
            seen = make_snapshot(NOW, memory, PAIR, populated=True)
            assert decide(KILL_AT_ONCE, waiting, seen).wake_at_usec == NOW + wait_usec
    for hurried in (flying(PAIR[0].workload, False, NOW + SEC), replace(cooling, relieved=True), State(Level.KILL)):
        seen = make_snapshot(NOW, close, PAIR, populated=True)
        assert decide(KILL_AT_ONCE, hurried, seen).wake_at_usec == NOW + 1_000


@pytest.mark.parametrize(("killed", "left_usec", "waits"), [(True, 1, True), (True, 0, False), (False, SEC, False)])
def test_a_kill_is_waited_for_until_it_counts_for_nothing(killed: bool, left_usec: int, waits: bool) -> None:
    assert is_waiting(KILL_AT_ONCE, flying(PAIR[0].workload, killed, NOW + left_usec), NOW) == waits


@FEW
@given(situations(flying=False), st.integers(0, SEC), st.booleans())
def test_who_waits_kills_nobody_even_if_memory_has_run_out(
    situation: tuple[Policy, State, Snapshot], ago_usec: int, relieved: bool
) -> None:
    policy, state, snapshot = situation
    state = replace(state, settled_usec=snapshot.now_usec - ago_usec, relieved=relieved)
    if is_waiting(policy, state, snapshot.now_usec):
        assert decide(policy, state, replace(snapshot, memory=SHORT)).actions == ()

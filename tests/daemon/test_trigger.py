"""The kill that is decided in advance: when, and never at any other moment."""

from __future__ import annotations

from dataclasses import replace
from typing import cast

import pytest
from hypothesis import given
from hypothesis import strategies as st

import cgoom.daemon.loop as loop_module
from cgoom.core.decide import STUCK_USEC, decide, kills_at_once
from cgoom.core.detect import raw_level
from cgoom.daemon.flight import Flights
from cgoom.daemon.loop import Loop
from cgoom.daemon.parts import Parts
from cgoom.daemon.ready import Aim, Ready
from cgoom.daemon.sleeper import Sleeper
from cgoom.daemon.sources import Source, Woken
from cgoom.daemon.trigger import FRESH_USEC, Look, Order, Trigger
from cgoom.kernel.clock import read_usec
from cgoom.kernel.memory_info import Module
from cgoom.kernel.sched import Importance
from cgoom.model import (
    Amount,
    Candidate,
    CgroupRef,
    Decision,
    Flight,
    HostMemory,
    HostPolicy,
    Ladder,
    Level,
    Policy,
    Snapshot,
    State,
    Threshold,
    Workload,
)
from cgoom.observe.changes import Changes
from cgoom.observe.member import Member
from tests.daemon.loop_world import AMPLE, GONE, LOW, Noted, Short, set_clock
from tests.daemon.world import Deeds

ORDER = (Candidate(GONE),)
NOW_USEC = 1_000_000


class Aimed:
    """Flights with somebody who is ready until NOW_USEC."""

    def __init__(self) -> None:
        ready = Ready(ORDER, 0, True, 0, frozenset())
        self.aimed: Aim | None = Aim(ready, cast(Member, None), -1, NOW_USEC)
        self.asked: list[frozenset[CgroupRef]] = []
        self.fired = self.fired_usec = 0

    def aim(self, stuck: frozenset[CgroupRef]) -> Aim | None:
        """That one."""
        self.asked.append(stuck)
        return self.aimed

    def fire(self, aim: Aim, now_usec: int) -> Order:
        """Once more."""
        assert aim is self.aimed
        self.fired_usec = now_usec
        self.fired += 1
        return ORDER


class Seer(Module):
    """A module that saw this."""

    def __init__(self) -> None:
        self.saw: tuple[HostMemory, int] | None = None

    def read_look(self) -> tuple[HostMemory, int] | None:
        """That."""
        return self.saw


class Range:
    """A trigger, and what it hits."""

    def __init__(self, policy: Policy | None = None) -> None:
        self.flights, self.changes, self.policy = Aimed(), Changes(), policy or Policy()
        self.seer = Seer()
        self.trigger = Trigger(cast(Flights, self.flights), self.changes, self.seer)

    def cock(self, state: State | None = None, memory: HostMemory = AMPLE) -> None:
        """As at the end of a turn."""
        self.trigger.cock(self.policy, state or State(), memory, 0)


AMOUNTS = st.integers(0, 100).map(lambda pct: Amount(pct, True)) | st.integers(0, 1 << 12).map(
    lambda size: Amount(size, False)
)
THRESHOLDS = st.builds(Threshold, AMOUNTS, AMOUNTS)
BYTES = st.integers(0, 1 << 12)


@given(st.builds(HostPolicy, THRESHOLDS, THRESHOLDS, THRESHOLDS), BYTES, BYTES, BYTES, BYTES, BYTES)
def test_it_fires_at_the_kill_threshold_and_nowhere_else(
    host: HostPolicy, total: int, swap_total: int, available: int, swap_free: int, before: int
) -> None:
    """Whatever memory was when it was cocked; without swap that is not short of either."""
    ground = Range(Policy(host=host))
    memory = HostMemory(total, min(available, total), swap_total, min(swap_free, swap_total))
    ground.cock(memory=replace(memory, available_bytes=before, swap_free_bytes=0))
    assert bool(ground.trigger.pull(memory, NOW_USEC)) == (raw_level(host, memory) == Level.KILL)
    assert ground.flights.fired == (raw_level(host, memory) == Level.KILL)


def test_it_fires_once() -> None:
    ground = Range()
    assert ground.trigger.pull(LOW, 0) == ()
    ground.cock()
    assert ground.trigger.pull(LOW, 0) == ORDER
    assert ground.trigger.pull(LOW, 0) == ()
    assert ground.flights.fired == 1


def test_a_change_of_the_tree_or_of_the_host_or_too_long_a_time_makes_it_safe() -> None:
    ground = Range()
    ground.cock()
    ground.changes.note(0)
    assert ground.trigger.pull(LOW, 0) == ()
    ground.cock()
    assert ground.trigger.pull(replace(LOW, total_bytes=LOW.total_bytes * 2), 0) == ()
    assert ground.trigger.pull(replace(LOW, swap_total_bytes=1), 0) == ()
    assert ground.trigger.pull(LOW, NOW_USEC + 1) == ()
    assert ground.trigger.pull(LOW, NOW_USEC) == ORDER


@pytest.mark.parametrize(
    ("state", "ladder"),
    [
        (State(flight=Flight(GONE, True, 1 << 60)), None),
        (State(held=True), None),
        (State(Level.KILL, settled_usec=0), None),
        (State(), Ladder(kill=())),
    ],
    ids=["flight", "held", "cooldown", "nobody"],
)
def test_it_is_cocked_only_where_the_decision_can_be_no_other(state: State, ladder: Ladder | None) -> None:
    ground = Range(Policy() if ladder is None else Policy(ladder=ladder))
    ground.cock()
    ground.cock(state)
    assert not kills_at_once(ground.policy, state, Level.KILL, 0)
    assert ground.trigger.pull(LOW, 0) == ()
    assert ground.flights.asked == ([] if ladder else [frozenset()])


def test_who_is_stuck_is_told_and_nobody_is_aimed_at_without_one() -> None:
    ground = Range()
    stuck = frozenset({GONE.ref})
    ground.flights.aimed = None
    ground.cock(State(stuck=stuck))
    assert ground.flights.asked == [stuck]
    assert ground.trigger.pull(LOW, 0) == ()


def test_what_the_module_saw_is_a_look_at_the_host() -> None:
    ground = Range()
    ground.cock()
    ground.seer.saw = (LOW, 7)
    assert ground.trigger.hear([Source.MODULE], 7 + FRESH_USEC) == Look(LOW, 7, ORDER)
    assert ground.trigger.hear([Source.MODULE], 7 + FRESH_USEC) is None, "nobody is aimed at any more"
    assert (ground.flights.fired, ground.flights.fired_usec) == (1, 7)


@pytest.mark.parametrize(
    ("woken", "saw", "now_usec"),
    [
        ([Source.MODULE], (AMPLE, 7), 7),
        ([Source.MODULE], None, 7),
        ([Source.MODULE], (LOW, 7), 8 + FRESH_USEC),
        ([Source.MODULE], (LOW, 4), 7),
        ([Source.MODULE], (LOW, 8), 7),
        ([], (LOW, 7), 7),
        ([Source.TREE], (LOW, 7), 7),
        ([Source.TREE, Source.MODULE], (LOW, 7), 7),
        ([Source.MODULE, Source.TREE], (LOW, 7), 7),
    ],
    ids=["not short", "nothing", "late", "before our own", "to come", "not woken", "tree", "tree first", "tree, too"],
)
def test_whatever_else_the_module_has_to_say_we_look_ourselves(
    woken: Woken, saw: tuple[HostMemory, int] | None, now_usec: int
) -> None:
    ground = Range()
    ground.cock()
    assert ground.trigger.pull(AMPLE, 5) == ()
    ground.seer.saw = saw
    assert ground.trigger.hear(woken, now_usec) is None
    assert ground.trigger.pull(LOW, now_usec) == ORDER, "it is still cocked"


def test_what_the_module_says_of_swap_is_not_how_things_stand() -> None:
    """Its total is an old one while a swapoff takes it away."""
    ground, memory = Range(), replace(LOW, swap_total_bytes=1 << 30)
    ground.cock(memory=memory)
    ground.seer.saw = (memory, 7)
    assert ground.trigger.hear([Source.MODULE], 7) is None
    assert ground.trigger.pull(memory, 7) == ORDER


def test_without_a_module_nobody_looks_for_us() -> None:
    ground = Range()
    ground.trigger = Trigger(cast(Flights, ground.flights), ground.changes, None)
    ground.cock()
    assert ground.trigger.hear([Source.MODULE], 0) is None


def make_aimed(parts: Parts, victim: Workload, monkeypatch: pytest.MonkeyPatch) -> Loop:
    """A loop that is ready for this one, on a host that was calm until now and is short at the next look."""
    monkeypatch.setattr(Short, "read", lambda _: AMPLE)
    parts.standby = order = Noted()
    order.first, order.generation = (victim,), parts.tree.changes.generation
    loop = Loop(parts, Policy())
    loop.step([Source.TREE])
    monkeypatch.setattr(Short, "read", lambda _: LOW)
    return loop


def test_between_the_level_and_the_kill_nothing_is_asked(
    parts: Parts, victim: Workload, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Neither the rank nor the level with all its words, nor how late it is."""
    loop = make_aimed(parts, victim, monkeypatch)
    asked, fired_usec, decided_usec = list[str](), list[object](), list[int]()

    def note(owner: object, name: str) -> None:
        real = getattr(owner, name)

        def noting(*args: object, **kwargs: object) -> object:
            asked.append(name)
            if name == "fire":
                fired_usec.append(args[2])
            if name == "decide":
                decided_usec.append(cast(Snapshot, args[2]).now_usec)
            return real(*args, **kwargs)

        monkeypatch.setattr(owner, name, noting)

    for owner, name in (
        (Short, "read"),
        (loop_module, "raw_level"),
        (loop_module, "decide"),
        (Importance, "lower"),
        (type(parts.importance), "restore"),
        (Sleeper, "note_wake"),
        (Flights, "fire"),
    ):
        note(owner, name)
    times = iter(range(1 << 20))
    set_clock(monkeypatch, lambda: next(times))
    loop.step([])
    assert asked[:2] == ["read", "fire"]
    assert "restore" not in asked[: asked.index("decide")]
    assert loop._state.flight is not None
    assert loop._state.flight.workload == victim
    assert (fired_usec, decided_usec) == ([1], [1]), "the record of both counts from the look"


def test_between_the_word_of_the_module_and_the_kill_memory_is_not_read(
    parts: Parts, victim: Workload, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is decided from what the module saw, as of then, and our own look may show that the host has recovered."""
    parts.module = seer = Seer()
    loop = make_aimed(parts, victim, monkeypatch)
    monkeypatch.setattr(Short, "read", lambda _: pytest.fail("read"))
    at_usec = read_usec()
    seer.saw = (LOW, at_usec)
    loop.step([Source.MODULE])
    record, flight = parts.ledger.find(victim.ref), loop._state.flight
    assert cast(Deeds, parts.flights._executor).killed == [victim.ref.path]
    assert record is not None
    assert record.memory == LOW
    assert flight is not None
    assert flight.deadline_usec == at_usec + STUCK_USEC


def test_a_change_among_others_is_no_reason_to_decide_first(
    parts: Parts, victim: Workload, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Who is the first is for certain the same."""
    loop = make_aimed(parts, victim, monkeypatch)
    parts.tree.changes.note(0)
    killed, before = cast(Deeds, parts.flights._executor).killed, list[list[str]]()

    def note(policy: Policy, state: State, snapshot: Snapshot) -> Decision:
        before.append(list(killed))
        return decide(policy, state, snapshot)

    monkeypatch.setattr(loop_module, "decide", note)
    loop.step([])
    assert before[0] == killed == [victim.ref.path]

"""A host that was warned, beside a module that says when the kill threshold is reached."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from cgoom.core.detect import raw_level
from cgoom.daemon.flight import Flights
from cgoom.daemon.loop import GUARDED_USEC, Loop
from cgoom.daemon.parts import Parts
from cgoom.daemon.reload import Reloads
from cgoom.daemon.sleeper import LATE_USEC, SLICE_USEC
from cgoom.daemon.sources import NEVER_USEC, Source
from cgoom.model import Flight, Ladder, Level, Policy, State, Workload
from cgoom.observe.tree import Change, Tree
from tests.daemon.loop_world import AMPLE, CLOSE, Rank, Short, set_clock
from tests.daemon.test_daemon_glance import NOBODY, NOW_USEC, Calm, Timed

LEAST_USEC = 1_000
POLICY = Policy(ladder=Ladder(warn=()))


class Guarded(Timed):
    """The module sees a warning at most, until it says more."""

    is_guarded = True
    takes_to = True  # what its next events make of that

    def take_events(self) -> None:
        self.is_guarded = self.takes_to


class Warned:
    """A loop over a host that is just above the kill threshold, where somebody is ready to be killed."""

    def __init__(self, parts: Parts, monkeypatch: pytest.MonkeyPatch, policy: Policy = POLICY) -> None:
        set_clock(monkeypatch, lambda: NOW_USEC)
        self.memory, self.is_aimed = CLOSE, True
        monkeypatch.setattr(Short, "read", lambda _: self.memory)
        monkeypatch.setattr(Flights, "is_aimed", lambda *_: self.is_aimed)
        parts.standby = self.standby = Guarded()
        self.parts, self.loop = parts, Loop(parts, policy)
        assert raw_level(POLICY.host, CLOSE) == Level.WARN

    def sleep(self, woken: frozenset[Source] = NOBODY) -> tuple[int, bool]:
        """How long it wants to sleep after one turn, and whether ahead of everybody."""
        self.loop.step(woken)
        assert isinstance(self.parts.importance, Rank)
        until_usec = min(self.loop._wake_at_usec, self.loop._due_usec)
        return until_usec - NOW_USEC, not self.parts.importance.is_lowered


@pytest.fixture
def warned(parts: Parts, monkeypatch: pytest.MonkeyPatch) -> Warned:
    return Warned(parts, monkeypatch)


def test_the_module_ends_the_sleep_of_who_is_ahead_of_everybody_then(warned: Warned, victim: Workload) -> None:
    assert [warned.sleep() for _ in range(3)] == [(GUARDED_USEC, True)] * 3
    assert warned.loop._wake_at_usec == NEVER_USEC


def test_without_it_the_daemon_looks_itself(warned: Warned, victim: Workload) -> None:
    warned.standby.is_guarded = False
    assert warned.sleep() == (LEAST_USEC, False)


def test_what_the_module_has_said_by_now_counts(warned: Warned, victim: Workload) -> None:
    """It speaks of the threshold once, which memory may have been taken from and given back to since."""
    warned.standby.takes_to = False
    assert warned.sleep(frozenset({Source.MODULE})) == (LEAST_USEC, False)
    warned.standby.takes_to = True
    assert warned.sleep(frozenset({Source.MODULE})) == (GUARDED_USEC, True)


def note_drains(parts: Parts, monkeypatch: pytest.MonkeyPatch) -> list[bool]:
    """Whether the news are taken ahead of everybody, from now on."""
    rank, is_ahead = parts.importance, list[bool]()
    assert isinstance(rank, Rank)

    def drain(_: Tree) -> list[Change]:
        is_ahead.append(not rank.is_lowered)
        return []

    monkeypatch.setattr(Tree, "drain", drain)
    return is_ahead


@pytest.mark.usefixtures("victim")
@pytest.mark.parametrize("others", [NOBODY, frozenset({Source.MODULE})])
@pytest.mark.parametrize("policy", [POLICY, Policy()])
def test_news_are_taken_ahead_of_everybody_where_the_word_of_the_module_comes_with_them(
    parts: Parts, monkeypatch: pytest.MonkeyPatch, policy: Policy, others: frozenset[Source]
) -> None:
    """Also where a warning asks somebody to end, so that the module is not all that ends a sleep."""
    warned = Warned(parts, monkeypatch, policy)
    warned.sleep()
    warned.loop._state = State(Level.WARN)
    ranks = note_drains(parts, monkeypatch)
    warned.sleep(others | {Source.TREE})
    assert ranks == [bool(others)]


@pytest.mark.usefixtures("victim")
@pytest.mark.parametrize("others", [NOBODY, frozenset({Source.MODULE})])
def test_so_they_are_where_the_host_is_calm_and_left_to_the_module(
    parts: Parts, monkeypatch: pytest.MonkeyPatch, others: frozenset[Source]
) -> None:
    """What it says may be that the threshold is reached."""
    warned = Warned(parts, monkeypatch)
    warned.standby.is_watched, warned.memory = True, AMPLE
    warned.sleep(frozenset({Source.MODULE}))
    ranks = note_drains(parts, monkeypatch)
    warned.sleep(others | {Source.TREE})
    assert ranks == [bool(others)]


@pytest.mark.usefixtures("victim")
@pytest.mark.parametrize("late_usec", [LATE_USEC, LATE_USEC + 1])
def test_news_that_end_a_sleep_late_are_taken_ahead_of_everybody(
    parts: Parts, monkeypatch: pytest.MonkeyPatch, late_usec: int
) -> None:
    """The host is busy: whoever is ordinary then is late for the look, too."""
    calm = Calm(parts, monkeypatch)
    calm.memory = CLOSE
    calm.is_glance(0)
    calm.loop._sleeper.spare_until_usec = NEVER_USEC
    calm.oversleep(late_usec, frozenset({Source.TREE}))
    ranks = note_drains(parts, monkeypatch)
    calm.is_glance(0, frozenset({Source.TREE}))
    assert ranks == [late_usec > LATE_USEC]


def end_a_victim(warned: Warned, victim: Workload) -> None:
    """It was asked to end."""
    warned.loop._state = State(Level.WARN, flight=Flight(victim, False, NOW_USEC + 1_000_000))


def cool_down(warned: Warned, _: Workload) -> None:
    """A victim is gone just now."""
    warned.loop._state = State(Level.WARN, settled_usec=NOW_USEC)


def be_unready(warned: Warned, _: Workload) -> None:
    """Nobody can be killed without another look at somebody."""
    warned.is_aimed = False


def fall_behind(warned: Warned, _: Workload) -> None:
    """The order is to be made anew as soon as there is time."""
    warned.standby.at_usec = NOW_USEC


@pytest.mark.parametrize("make", [end_a_victim, cool_down, be_unready, fall_behind])
def test_whoever_has_something_left_to_do_looks_itself(
    warned: Warned, victim: Workload, make: Callable[[Warned, Workload], None]
) -> None:
    make(warned, victim)
    usec, is_ahead = warned.sleep()
    assert usec <= 20_000
    assert not is_ahead


def test_a_cooldown_that_is_over_is_nothing_left_to_do(warned: Warned, victim: Workload) -> None:
    settled_usec = NOW_USEC - POLICY.victim.cooldown_usec
    warned.loop._state = State(Level.WARN, settled_usec=settled_usec)
    assert warned.sleep() == (GUARDED_USEC, True)


def test_what_is_due_ends_the_sleep(warned: Warned, victim: Workload) -> None:
    warned.standby.at_usec = NOW_USEC + 10_000
    assert warned.sleep() == (10_000, True)


@pytest.mark.parametrize(("fill_mib", "least_usec"), [(4, 200_000), (9, 100_000)])
def test_a_threshold_that_is_far_is_looked_for_as_without_the_module(
    warned: Warned, victim: Workload, fill_mib: int, least_usec: int
) -> None:
    """Earlier by what an ordinary process may be late."""
    warned.parts.fill_bytes_per_sec = fill_mib << 20
    usec, is_ahead = warned.sleep()
    assert least_usec - SLICE_USEC <= usec < GUARDED_USEC
    assert not is_ahead


def test_whoever_wants_a_victim_at_a_warning_looks_for_it(
    parts: Parts, monkeypatch: pytest.MonkeyPatch, victim: Workload
) -> None:
    """Who could not be chosen in the time that there was is asked to end at the next look."""
    warned = Warned(parts, monkeypatch, Policy())
    monkeypatch.setattr(parts.docket, "found", ())
    assert warned.sleep() == (LEAST_USEC, False)


@pytest.mark.parametrize("is_short", [True, False])
def test_another_policy_is_decided_by_at_once(
    warned: Warned, victim: Workload, monkeypatch: pytest.MonkeyPatch, is_short: bool
) -> None:
    """Whatever the module said until now, it said of other thresholds."""
    warned.standby.is_watched = True
    warned.memory = CLOSE if is_short else AMPLE
    warned.sleep()
    monkeypatch.setattr(Reloads, "take", lambda _: POLICY)
    monkeypatch.setattr(Reloads, "finish", lambda *_: None)
    assert warned.sleep(frozenset({Source.RELOAD}))[0] <= 0
    ranks = note_drains(warned.parts, monkeypatch)
    warned.sleep(frozenset({Source.TREE}))
    assert ranks == [True]

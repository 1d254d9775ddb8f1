"""A host that was warned, beside a module that says when the kill threshold is reached."""

from __future__ import annotations

import pytest

from cgoom.core.detect import raw_level
from cgoom.daemon.loop import GUARDED_USEC, Loop
from cgoom.daemon.parts import Parts
from cgoom.daemon.sources import NEVER_USEC, Source
from cgoom.model import Flight, Ladder, Level, Policy, State, Workload
from cgoom.observe.tree import Change, Tree
from tests.daemon.loop_world import CLOSE, Known, Noted, Rank, Short, set_clock
from tests.daemon.test_daemon_glance import NOBODY, NOW_USEC

LEAST_USEC = 1_000


class Guarded(Noted):
    """The module sees a warning at most, until it says more."""

    is_guarded = True
    takes_to = True  # what its next events make of that

    def take_events(self) -> None:
        self.is_guarded = self.takes_to


class Warned:
    """A loop over a host that is just above the kill threshold, and how it sleeps."""

    def __init__(self, parts: Parts, monkeypatch: pytest.MonkeyPatch) -> None:
        set_clock(monkeypatch, lambda: NOW_USEC)
        monkeypatch.setattr(Short, "read", lambda _: CLOSE)
        parts.standby = self.standby = Guarded()
        self.parts, self.loop = parts, Loop(parts, Policy(ladder=Ladder(warn=())))
        assert raw_level(Policy().host, CLOSE) == Level.WARN

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


def test_news_are_taken_ahead_of_everybody(warned: Warned, victim: Workload, monkeypatch: pytest.MonkeyPatch) -> None:
    """The word of the module may come with them, or in the middle of them."""
    warned.sleep()
    rank, is_lowered = warned.parts.importance, []
    assert isinstance(rank, Rank)

    def drain(_: Tree) -> list[Change]:
        is_lowered.append(rank.is_lowered)
        return []

    monkeypatch.setattr(Tree, "drain", drain)
    warned.sleep(frozenset({Source.TREE}))
    assert is_lowered == [False]


@pytest.mark.parametrize("left", ["a victim", "a cooldown", "equals to read"])
def test_whoever_has_something_left_to_do_looks_itself(
    warned: Warned, victim: Workload, monkeypatch: pytest.MonkeyPatch, left: str
) -> None:
    if left == "a victim":
        warned.loop._state = State(Level.WARN, flight=Flight(victim, False, NOW_USEC + 1_000_000))
    elif left == "a cooldown":
        warned.loop._state = State(Level.WARN, settled_usec=NOW_USEC)
    else:
        monkeypatch.setattr(Known, "unread", 1)
    assert warned.sleep()[0] < GUARDED_USEC

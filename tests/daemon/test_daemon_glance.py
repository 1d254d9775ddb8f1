"""A calm host is looked at, and nothing else, until something happens or is due."""

from __future__ import annotations

import signal
from collections.abc import Callable
from pathlib import Path

import pytest

from cgoom.act.execute import Answer
from cgoom.daemon.follow import Follower
from cgoom.daemon.ledger import FLUSH_USEC
from cgoom.daemon.loop import GLANCES_USEC, Loop
from cgoom.daemon.notify import Notifier
from cgoom.daemon.parts import Parts
from cgoom.daemon.sleeper import BUSY_USEC, LATE_USEC
from cgoom.daemon.sources import NEVER_USEC, Source, Sources
from cgoom.model import CgroupRef, HostMemory, HostPolicy, Level, Outcome, Policy, Workload
from cgoom.observe.tree import Change, ChangeKind, Tree
from cgoom.record.history import FILE_NAME
from tests.daemon.loop_world import AMPLE, CLOSE, LOW, Noted, Rank, Short, find_second_wait_usec, set_clock
from tests.daemon.world import Deeds

NOW_USEC, HOUR_USEC = 1_000_000, 3_600_000_000
NOBODY: frozenset[Source] = frozenset()


class Timed(Noted):
    """How often it was asked to keep an order, when that is due; and whether the module watches."""

    keeps = 0
    at_usec = NEVER_USEC
    is_watched = False

    def due_usec(self, level: Level, *, is_killing: bool) -> int:
        return self.at_usec

    def keep(self, level: Level, now_usec: int, free_until_usec: int, *, is_killing: bool) -> None:
        self.keeps += 1


class Calm:
    """A loop over a host that has memory, and its clock."""

    def __init__(self, parts: Parts, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now_usec, self.memory, self.reads, self.took_usec = NOW_USEC, AMPLE, 0, 0
        set_clock(monkeypatch, lambda: self.now_usec)
        monkeypatch.setattr(Short, "read", lambda _: self.read())
        self._monkeypatch = monkeypatch
        parts.standby = self.standby = Timed()
        self.parts, self.loop = parts, Loop(parts, Policy(host=HostPolicy(warn=HostPolicy().kill)))
        self.loop.step(NOBODY)

    def read(self) -> HostMemory:
        """A look at memory."""
        self.reads += 1
        self.now_usec += self.took_usec
        return self.memory

    def next_wait_usec(self) -> int:
        """How long it sleeps after another turn."""
        return find_second_wait_usec(self.loop, self._monkeypatch)

    def oversleep(self, late_usec: int, woken: frozenset[Source] = NOBODY, ahead_usec: int = 0) -> None:
        """Sleep until `ahead_usec` from now, and as much longer."""

        def wait(_: Sources, timeout_usec: int) -> frozenset[Source]:
            self.now_usec += max(timeout_usec, 0) + late_usec
            return woken

        self._monkeypatch.setattr(Sources, "wait", wait)
        self.loop._sleeper.sleep(self.now_usec + ahead_usec)

    @property
    def is_ordinary(self) -> bool:
        """Whether it has no real-time priority."""
        assert isinstance(self.parts.importance, Rank)
        return self.parts.importance.is_lowered

    def is_glance(self, after_usec: int, woken: frozenset[Source] = NOBODY) -> bool:
        """Whether the turn that begins then is a look and nothing else."""
        self.now_usec += after_usec
        keeps = self.standby.keeps
        self.loop.step(woken)
        return self.standby.keeps == keeps


@pytest.fixture
def calm(parts: Parts, monkeypatch: pytest.MonkeyPatch) -> Calm:
    return Calm(parts, monkeypatch)


def test_it_is_a_look_and_nothing_else_for_a_while(calm: Calm) -> None:
    turns = [calm.is_glance(GLANCES_USEC // 4) for _ in range(9)]
    assert turns == [True, True, True, False, True, True, True, False, True]
    assert calm.reads == 10


@pytest.mark.parametrize("is_watched", [False, True])
def test_it_is_ordinary_until_the_threshold_is_close(calm: Calm, is_watched: bool) -> None:
    """Also for the module: whether a word of it would be heard in time is not known where nobody looks."""
    calm.standby.is_watched = is_watched
    if not is_watched:
        calm.oversleep(LATE_USEC + 1)
    ranks = []
    for memory in (AMPLE, CLOSE, AMPLE):
        calm.memory = memory
        assert calm.is_glance(1)
        ranks.append(calm.is_ordinary)
    assert ranks == [True, False, True]


@pytest.mark.parametrize("is_watched", [False, True])
def test_it_takes_the_processor_from_nobody_where_a_timer_ends_a_long_sleep(calm: Calm, is_watched: bool) -> None:
    """The module may end it at the threshold itself."""
    assert isinstance(calm.parts.importance, Rank)
    calm.standby.is_watched = is_watched
    assert calm.is_glance(1)
    assert (calm.is_ordinary, calm.parts.importance.is_patient) == (True, not is_watched)
    calm.standby.is_watched, calm.memory = False, CLOSE
    assert calm.is_glance(1)
    assert (calm.is_ordinary, calm.parts.importance.is_patient) == (True, False)


@pytest.mark.parametrize("woken", [NOBODY, frozenset({Source.TREE})])
@pytest.mark.parametrize("ahead_usec", [0, 1_000, 1_000_000, 15_000_000])
@pytest.mark.parametrize("is_late", [False, True])
def test_it_is_ordinary_beside_the_threshold_where_those_are_not_kept_waiting(
    calm: Calm, woken: frozenset[Source], ahead_usec: int, is_late: bool
) -> None:
    """Whatever woke it, and by more than a timer may be late for an ordinary process: a thousandth."""
    calm.oversleep(LATE_USEC + ahead_usec // 1_000 + is_late, woken, ahead_usec)
    calm.is_glance(0)
    calm.memory = CLOSE
    calm.is_glance(1)
    assert calm.is_ordinary != is_late


def test_that_the_host_is_busy_counts_for_a_second_and_is_found_out_anew(calm: Calm) -> None:
    calm.oversleep(LATE_USEC + 1)
    assert calm.is_glance(0)
    calm.memory = CLOSE
    assert calm.is_glance(BUSY_USEC // 2)
    assert not calm.is_ordinary
    calm.oversleep(LATE_USEC + 1)  # of somebody who is ahead of everybody
    calm.is_glance(BUSY_USEC // 2)
    assert calm.is_ordinary


def test_a_turn_that_ended_late_is_no_sleep_that_did(calm: Calm) -> None:
    calm.memory = CLOSE
    calm.took_usec = LATE_USEC + 1
    assert calm.is_glance(1)
    calm.oversleep(0, ahead_usec=-LATE_USEC - 1)
    assert calm.is_glance(1)
    assert calm.is_ordinary


def test_who_is_displaced_by_becoming_ordinary_was_kept_waiting(calm: Calm, monkeypatch: pytest.MonkeyPatch) -> None:
    """The kernel may choose somebody else right then."""

    def lower(rank: Rank, *, is_patient: bool) -> None:
        calm.now_usec += LATE_USEC + 1
        rank.is_lowered = is_patient

    with monkeypatch.context() as displaced:
        displaced.setattr(Rank, "lower", lower)
        calm.loop._sleeper.lie_down(NEVER_USEC, is_watched=False)
    calm.oversleep(0, ahead_usec=-LATE_USEC - 1)
    calm.memory = CLOSE
    assert calm.is_glance(1)
    assert not calm.is_ordinary


def test_it_hears_what_wakes_it(calm: Calm, monkeypatch: pytest.MonkeyPatch) -> None:
    wakes = iter((frozenset({Source.SIGNALS}),))  # a second sleep is an error
    monkeypatch.setattr(Sources, "wait", lambda *_: next(wakes))
    monkeypatch.setattr(Sources, "drain_signals", lambda _: [signal.SIGTERM])
    calm.loop.run()
    assert calm.loop.ending


@pytest.mark.parametrize(
    ("left_msec", "wait_usec", "is_near"),
    [
        (5, 5_000, True),
        (90, 90_000, True),
        (101, 91_000, False),
        (150, 140_000, False),
        (500, 490_000, False),
        (1_200, 1_000_000, False),
    ],
)
def test_who_wakes_up_as_an_ordinary_process_wakes_up_earlier(
    calm: Calm, left_msec: int, wait_usec: int, is_near: bool
) -> None:
    """By what others may keep it waiting; `left_msec`: what the fastest filler takes to the threshold."""
    calm.oversleep(LATE_USEC + 1)
    total_bytes = 8 << 30
    left_bytes = calm.parts.fill_bytes_per_sec * left_msec // 1_000
    calm.memory = HostMemory(total_bytes, total_bytes // 20 + left_bytes, 0, 0)
    assert calm.is_glance(1)
    assert calm.is_ordinary != is_near
    assert calm.next_wait_usec() == pytest.approx(wait_usec, abs=1)


@pytest.mark.parametrize("source", list(Source))
def test_whoever_is_woken_looks_at_everything(calm: Calm, monkeypatch: pytest.MonkeyPatch, source: Source) -> None:
    monkeypatch.setattr(Sources, "drain_signals", lambda _: [])
    calm.parts.notifier = Notifier()
    assert calm.is_glance(1)
    assert not calm.is_glance(1, frozenset({source}))
    assert calm.is_glance(1)


def make_prepared(calm: Calm, _: pytest.MonkeyPatch) -> None:
    """Standby has something to do."""
    calm.standby.at_usec = NOW_USEC + 10_000


def make_blind(calm: Calm, _: pytest.MonkeyPatch) -> None:
    """Not everything could be watched."""
    calm.parts.tree.blind = True
    calm.loop._follower._rescan_at_usec = NOW_USEC + 10_000


def make_behind(calm: Calm, monkeypatch: pytest.MonkeyPatch) -> None:
    """Somebody is only listed."""
    monkeypatch.setattr(Tree, "is_behind", True)
    monkeypatch.setattr(Tree, "unfollowed", 1)
    calm.loop._follower._at_usec = NOW_USEC + 10_000


def make_watched(calm: Calm, monkeypatch: pytest.MonkeyPatch) -> None:
    """Systemd wants to hear of us."""
    monkeypatch.setattr(calm.parts.notifier, "due_usec", NOW_USEC + 10_000)


def make_unwritten(calm: Calm, monkeypatch: pytest.MonkeyPatch) -> None:
    """The disk refused a record."""
    monkeypatch.setattr(calm.parts.ledger, "due_usec", lambda: NOW_USEC + 10_000)


@pytest.mark.parametrize("make", [make_prepared, make_blind, make_behind, make_watched, make_unwritten])
def test_what_is_due_is_done_when_it_is_due(
    calm: Calm, monkeypatch: pytest.MonkeyPatch, make: Callable[[Calm, pytest.MonkeyPatch], None]
) -> None:
    make(calm, monkeypatch)
    calm.loop._glances_until_usec = 0
    assert not calm.is_glance(0)
    assert calm.is_glance(9_999)
    assert not calm.is_glance(1)


def test_it_is_woken_for_what_is_due_and_for_the_next_look(calm: Calm) -> None:
    calm.standby.at_usec = NOW_USEC + 10_000
    assert not calm.is_glance(0, frozenset({Source.PRESSURE}))
    assert calm.next_wait_usec() == 10_000
    calm.memory = CLOSE
    assert calm.next_wait_usec() == 1_000
    calm.took_usec, calm.standby.at_usec = 2_000, NEVER_USEC
    assert calm.next_wait_usec() == 6_000, "others have the processor meanwhile"
    calm.standby.at_usec = 0
    assert not calm.is_glance(0, frozenset({Source.PRESSURE}))
    assert calm.next_wait_usec() == 6_000


def test_where_the_module_watches_nobody_looks_beside_it(calm: Calm) -> None:
    calm.standby.is_watched = True
    calm.memory = CLOSE
    assert not calm.is_glance(0, frozenset({Source.MODULE}))
    assert calm.next_wait_usec() > HOUR_USEC
    assert not calm.is_ordinary, "its next word may be of the threshold"
    calm.standby.at_usec = calm.now_usec + 10_000
    assert not calm.is_glance(0, frozenset({Source.TREE}))
    assert calm.next_wait_usec() == 10_000
    calm.standby.at_usec, calm.memory = NEVER_USEC, LOW
    assert not calm.is_glance(0, frozenset({Source.MODULE}))
    assert calm.next_wait_usec() < HOUR_USEC, "it is short"


def test_what_becomes_due_by_writing_a_record_is_due(calm: Calm, monkeypatch: pytest.MonkeyPatch) -> None:
    """What the next daemon has to know waits until the disk has taken what it speaks of."""
    waiting = [1]
    ledger = calm.parts.ledger
    monkeypatch.setattr(ledger, "due_usec", lambda: calm.now_usec if waiting else None)
    monkeypatch.setattr(ledger, "flush", lambda _: waiting.clear())
    monkeypatch.setattr(Timed, "due_usec", lambda *_, **__: NEVER_USEC if waiting else calm.now_usec)
    assert not calm.is_glance(0, frozenset({Source.TREE}))
    assert not waiting
    assert calm.next_wait_usec() <= 0


def test_a_record_waits_for_the_disk_while_somebody_has_to_die_however_long_the_host_was_calm(
    calm: Calm, victim: Workload, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert calm.is_glance(GLANCES_USEC // 2)
    assert not calm.is_glance(10 * FLUSH_USEC)
    assert calm.is_glance(GLANCES_USEC - 1)
    monkeypatch.setattr(Deeds, "kill", lambda *_: Answer(Outcome.GONE, ""))
    calm.memory, history = LOW, tmp_path / "state" / FILE_NAME
    for after_usec, is_written in ((1, False), (FLUSH_USEC - 1, False), (1, True)):
        assert not calm.is_glance(after_usec)
        assert history.exists() == is_written
    assert victim.name in history.read_text("ascii")


def test_what_a_rescan_found_is_taken(calm: Calm, victim: Workload, monkeypatch: pytest.MonkeyPatch) -> None:
    ended = [Change(ChangeKind.ENDED, victim)]
    taken: list[Change] = []

    def take(_: Follower, changes: list[Change], __: Level) -> frozenset[CgroupRef]:
        taken.extend(changes)
        return frozenset()

    monkeypatch.setattr(Tree, "rescan", lambda _: ended)
    monkeypatch.setattr(Follower, "take", take)
    calm.parts.tree.blind = True
    calm.loop._follower._rescan_at_usec = calm.now_usec + 1
    assert not calm.is_glance(1)
    assert taken == ended


def test_who_is_the_first_of_the_order_is_made_ready(calm: Calm, victim: Workload) -> None:
    calm.standby.first = (victim,)
    assert not calm.is_glance(0, frozenset({Source.TREE}))
    assert calm.parts.ledger.has_ready(victim)


def test_whoever_is_to_die_dies_at_a_glance(calm: Calm, victim: Workload) -> None:
    """The look that shows it is the only one."""
    calm.loop.step(frozenset({Source.TREE}))
    assert calm.is_glance(1)
    calm.memory, calm.reads = LOW, 0
    killed: Deeds = calm.parts.flights._executor  # type: ignore[assignment]
    assert not calm.is_glance(1)
    assert killed.killed == [victim.ref.path]
    assert calm.reads == 1
    calm.memory = AMPLE
    assert not calm.is_glance(1), "it is in flight"

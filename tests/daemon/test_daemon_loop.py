"""A host that stays short: what waits meanwhile, and for how long."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

import cgoom.daemon.sleeper as sleeper_module
from cgoom.act.execute import Answer
from cgoom.daemon.flight import Flights
from cgoom.daemon.ledger import FLUSH_USEC, Ledger, Seen
from cgoom.daemon.loop import Loop
from cgoom.daemon.parts import Parts
from cgoom.daemon.sleeper import LATE_USEC
from cgoom.daemon.sources import NEVER_USEC, Source
from cgoom.kernel.clock import read_usec
from cgoom.model import (
    Amount,
    Candidate,
    HostMemory,
    HostPolicy,
    Kill,
    Ladder,
    Level,
    Outcome,
    Policy,
    Rung,
    State,
    Term,
    Threshold,
    Why,
    Workload,
)
from cgoom.observe.tree import Change, ChangeKind, Tree
from cgoom.record.history import FILE_NAME
from cgoom.record.stage import SLOTS
from tests.daemon.loop_world import (
    AMPLE,
    CLOSE,
    GONE,
    LOW,
    Known,
    Noted,
    Rank,
    Ranks,
    Short,
    find_second_wait_usec,
    set_clock,
)
from tests.daemon.test_daemon_glance import NOBODY, NOW_USEC
from tests.daemon.world import Deeds

# From a recovery to the next kill it takes the fastest filler 2 ms: the next look is no reason to be ordinary then.
NARROW = Policy(host=HostPolicy(recover=Threshold(Amount(10.2, True), Amount(10.2, True))))
# Beyond that hysteresis, and 3 ms from the kill threshold for the fastest filler.
RELIEVED = replace(CLOSE, available_bytes=(1 << 30) // 20 + (3 << 20))
# At the kill threshold itself.
AT = replace(CLOSE, available_bytes=(1 << 30) // 20)
# At the kill threshold so little is left that the fastest filler takes half of it in 5 ms; and just above it.
TIGHT = Policy(host=HostPolicy(*(Threshold(Amount(pct, True), Amount(pct, True)) for pct in (2, 1, 3))))
BARE = replace(CLOSE, available_bytes=(1 << 30) // 100 + (1 << 20))


@pytest.mark.parametrize("is_helpless", [True, False])
def test_only_a_kill_that_can_come_holds_back_what_is_prepared(parts: Parts, is_helpless: bool) -> None:
    assert isinstance(parts.docket, Known)
    assert isinstance(parts.standby, Noted)
    if not is_helpless:
        parts.docket.found = (Candidate(GONE),)
    Loop(parts, Policy()).step(frozenset())
    assert parts.standby.said == (Level.KILL, not is_helpless)


def end(parts: Parts, tmp_path: Path) -> None:
    """It dies, and nobody can be chosen any more."""
    (tmp_path / "mount" / "app" / "cgroup.events").write_text("populated 0\nfrozen 0\n", encoding="ascii")
    assert isinstance(parts.docket, Known)
    parts.docket.found = ()


def leave_to_disk(parts: Parts, victim: Workload, count: int) -> None:
    """So many records wait to be written."""
    seen = Seen(Level.KILL, parts.meminfo.read(), 1)
    for _ in range(count):
        parts.ledger.append(parts.ledger.draft(seen, Candidate(victim), Why("short", "first"), "kernel-oom"))


def test_a_victim_that_is_seen_to_be_gone_is_gone_before_its_event(
    parts: Parts, victim: Workload, tmp_path: Path
) -> None:
    loop = Loop(parts, Policy())
    loop.step(frozenset())
    member = parts.tree.find(victim.ref)
    assert member is not None
    assert member.populated
    end(parts, tmp_path)
    generation = parts.tree.changes.generation
    loop.step(frozenset())
    assert not member.populated
    assert parts.tree.changes.generation > generation
    assert parts.tree.drain() == []


@pytest.mark.parametrize(("waiting", "written"), [(0, 0), (SLOTS - 3, 1), (SLOTS - 2, 1)])
def test_records_wait_for_the_disk_until_the_next_decisions_need_their_slots(
    parts: Parts, victim: Workload, tmp_path: Path, waiting: int, written: int
) -> None:
    loop = Loop(parts, Policy())
    loop.step(frozenset())
    leave_to_disk(parts, victim, waiting)
    loop.step(frozenset())
    history = tmp_path / "state" / FILE_NAME
    assert not history.exists()
    end(parts, tmp_path)
    loop.step(frozenset())
    assert (len(history.read_text("ascii").splitlines()) if history.exists() else 0) == written


@pytest.mark.parametrize(("left", "is_soon"), [(CLOSE, False), (RELIEVED, True)])
def test_nobody_waits_for_the_disk_where_the_next_decisions_need_a_slot(
    parts: Parts, victim: Workload, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, left: HostMemory, is_soon: bool
) -> None:
    """Nor is what follows any slower for it where the next one may have to die soon."""
    ranks = Ranks(parts, monkeypatch, NARROW)
    ranks.watch(Ledger, "flush")
    ranks.watch(Flights, "make_ready")
    ranks.loop.step(frozenset())
    leave_to_disk(parts, victim, SLOTS - 2)
    end(parts, tmp_path)
    monkeypatch.setattr(Short, "read", lambda _: left)
    ranks.seen.clear()
    ranks.loop.step(frozenset())
    assert [name for name, _ in ranks.seen if name in ("flush", "make_ready")] == ["flush", "make_ready"]
    assert "flush" in ranks.commons
    assert ("make_ready" not in ranks.commons) == is_soon


@pytest.mark.usefixtures("victim")
def test_the_disk_is_not_asked_before_the_host_is_calm(
    parts: Parts, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It may take long, and memory that came back with a kill run out again meanwhile. Then nobody waits for it."""
    now, ranks = [read_usec()], Ranks(parts, monkeypatch)
    set_clock(monkeypatch, lambda: now[0])
    history = tmp_path / "state" / FILE_NAME
    ranks.watch(Ledger, "flush")
    ranks.loop.step(frozenset())
    end(parts, tmp_path)
    monkeypatch.setattr(Short, "read", lambda _: CLOSE)
    for _ in range(5):
        now[0] += FLUSH_USEC // 6
        ranks.loop.step(frozenset())
        assert not history.exists()
    monkeypatch.setattr(Short, "read", lambda _: AMPLE)
    ranks.loop.step(frozenset())
    ranks.loop.step(frozenset())
    assert len(history.read_text("ascii").splitlines()) == 1
    assert "flush" in ranks.commons


@pytest.mark.usefixtures("victim")
@pytest.mark.parametrize(("left", "is_ahead"), [(LOW, False), (CLOSE, False), (RELIEVED, True)])
def test_it_is_ahead_of_everybody_to_choose_and_kill_and_ordinary_for_what_follows(
    parts: Parts, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, left: HostMemory, is_ahead: bool
) -> None:
    """Also where the victim gave back little; it is ahead of them again where the next one may be due in a moment."""
    ranks = Ranks(parts, monkeypatch, NARROW)

    def die(*_: object) -> int:
        end(parts, tmp_path)
        monkeypatch.setattr(Short, "read", lambda _: left)
        return 1

    ranks.watch(Deeds, "reap", die)
    ranks.watch(Ledger, "close_entry")
    ranks.watch(Rank, "give_way")
    ranks.loop.run()
    others = ("give_way", False)
    kills = [("wait", True), ("look", True), ("kill", True), ("tell", False), others, ("reap", False), others, others]
    lands = [("wait", False), ("close_entry", False), others, ("look", False), others, ("keep", False)]
    assert ranks.seen[:17] == [("rescan", True), *kills, ("keep", False), *lands, ("wait", is_ahead)]
    assert "keep" in ranks.commons
    assert ("close_entry" in ranks.commons) != is_ahead, "where the next one may be due in a moment"
    assert not ranks.commons & {"rescan", "kill", "tell", "reap", "wait"}, "somebody waits for each of them"


def test_systemd_is_told_who_is_left_to_sleep_and_before_anything_else_that_this_is_over(
    parts: Parts, monkeypatch: pytest.MonkeyPatch
) -> None:
    told, memory = list[object](), [AMPLE]
    monkeypatch.setattr(Noted, "is_watched", True)
    monkeypatch.setattr(Short, "read", lambda _: memory[0])
    monkeypatch.setattr(parts.notifier, "beat", lambda _now, _status, *, is_asleep: told.append(is_asleep))
    monkeypatch.setattr(Flights, "make_ready", lambda *_: told.append("make ready"))
    loop = Loop(parts, Policy())
    loop.step(frozenset())
    assert told == [True]
    memory[0] = CLOSE
    loop.step(frozenset())
    assert told == [True, False, "make ready", False]


@pytest.mark.parametrize(
    ("memory", "is_ahead", "waits"),
    [
        (AMPLE, False, [False] * 4),
        (CLOSE, True, [True] * 4),
        (LOW, True, [True, False, False, False]),  # and nobody can be killed
    ],
)
def test_on_a_busy_host_it_stays_ahead_of_everybody_where_a_kill_may_be_due_before_others_had_their_share(
    parts: Parts, monkeypatch: pytest.MonkeyPatch, memory: HostMemory, is_ahead: bool, waits: list[bool]
) -> None:
    """That the host is busy shows as soon as it is an ordinary process, or by a sleep that ends late."""
    ranks = Ranks(parts, monkeypatch)
    monkeypatch.setattr(Short, "read", lambda _: memory)
    ranks.loop.run()
    assert ranks.seen[0] == ("rescan", is_ahead)
    assert [is_first for name, is_first in ranks.seen if name == "wait"][:4] == waits


@pytest.mark.parametrize("short", [AT, LOW])
def test_who_was_ordinary_is_ahead_of_everybody_as_soon_as_it_sees_that_the_host_is_short(
    parts: Parts, monkeypatch: pytest.MonkeyPatch, short: HostMemory
) -> None:
    memory = [AMPLE]
    ranks = Ranks(parts, monkeypatch)
    monkeypatch.setattr(Short, "read", lambda _: memory[0])
    ranks.loop.step(frozenset())
    memory[0] = short
    ranks.loop.step(frozenset())
    assert ranks.seen[:2] == [("keep", False), ("look", True)]


@pytest.mark.usefixtures("victim")
@pytest.mark.parametrize("kill", [(Kill(),), (Term(0), Kill())])
def test_it_stays_ahead_of_everybody_where_the_next_one_is_due_at_once(
    parts: Parts, monkeypatch: pytest.MonkeyPatch, kill: tuple[Rung, ...]
) -> None:
    """After a kill that failed, of who was asked to end before or was not."""
    ranks = Ranks(parts, monkeypatch, Policy(ladder=Ladder(warn=(), kill=kill)))
    monkeypatch.setattr(Deeds, "kill", lambda *_: Answer(Outcome.FAILED, ""))
    for _ in kill:
        ranks.loop.step(frozenset())
    assert ranks.seen[-1] == ("keep", True)


@pytest.mark.usefixtures("victim")
@pytest.mark.parametrize(
    ("policy", "memory", "looks"), [(Policy(), CLOSE, [False, True, True]), (TIGHT, BARE, [True, True, True])]
)
def test_a_host_that_is_not_short_yet_is_looked_at_by_an_ordinary_process_unless_that_may_be_too_late(
    parts: Parts, monkeypatch: pytest.MonkeyPatch, policy: Policy, memory: HostMemory, looks: list[bool]
) -> None:
    """As it is where only half of what is there at the kill threshold would be left, or if each look were late."""
    set_clock(monkeypatch, lambda: NOW_USEC)
    ranks = Ranks(parts, monkeypatch, replace(policy, ladder=Ladder(warn=())))
    monkeypatch.setattr(Short, "read", lambda _: memory)
    ranks.watch(Rank, "give_way")
    ranks.loop.run()  # that the host is busy shows in the first turn
    assert ("give_way", False) not in ranks.seen, "each look would be late by what others take"
    assert [is_first for name, is_first in ranks.seen if name == "look"][:3] == looks


@pytest.mark.parametrize(
    ("policy", "memory", "is_ahead"), [(Policy(), AMPLE, False), (Policy(), CLOSE, False), (TIGHT, BARE, True)]
)
def test_news_are_ordinary_work_where_the_next_look_is_a_while_away_or_may_be_late(
    parts: Parts, monkeypatch: pytest.MonkeyPatch, policy: Policy, memory: HostMemory, is_ahead: bool
) -> None:
    set_clock(monkeypatch, lambda: NOW_USEC)
    ranks = Ranks(parts, monkeypatch, policy)
    monkeypatch.setattr(sleeper_module, "LATE_USEC", LATE_USEC)
    monkeypatch.setattr(Short, "read", lambda _: memory)
    ranks.loop.step(frozenset())
    ranks.watch(Tree, "drain")
    for name, woken in (("drain", frozenset({Source.TREE})), ("rescan", frozenset())):
        if not is_ahead:
            parts.importance.restore()
        parts.tree.blind = name == "rescan"
        ranks.loop.step(woken)
        assert (name, is_ahead) in ranks.seen


def test_what_follows_news_makes_a_busy_host_wait_for_nobody_else(
    parts: Parts, victim: Workload, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The look after it is late anyhow; where there are no news each look would be."""
    set_clock(monkeypatch, lambda: NOW_USEC)
    ranks = Ranks(parts, monkeypatch, Policy(ladder=Ladder(warn=())))
    ranks.watch(Tree, "drain", lambda _: [Change(ChangeKind.APPEARED, victim)])
    monkeypatch.setattr(Short, "read", lambda _: CLOSE)
    for woken in (frozenset({Source.TREE}), NOBODY):
        ranks.loop.step(frozenset())
        ranks.loop._sleeper._busy_until_usec = NEVER_USEC
        ranks.seen.clear()
        ranks.loop.step(woken)
        assert ranks.seen[-1] == ("keep", not woken)


def test_a_host_that_cools_down_is_looked_at_by_an_ordinary_process(
    parts: Parts, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its looks are 5 ms apart where little is between a recovery and the next shortage."""
    monkeypatch.setattr(Noted, "is_watched", True)  # it is near, and nobody can be killed
    ranks = Ranks(parts, monkeypatch, NARROW)
    ranks.loop._state = State(Level.KILL, settled_usec=read_usec())
    ranks.loop.step(frozenset())
    ranks.watch(Tree, "drain")
    ranks.loop.step(frozenset({Source.TREE}))
    assert [each for each in ranks.seen if each[0] != "look"] == [("keep", False), ("drain", False), ("keep", False)]
    assert isinstance(parts.importance, Rank)
    assert parts.importance.is_patient


def look_slowly(memory: HostMemory, took_usec: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Time passes by looking at memory alone."""
    now_usec = [1_000_000]

    def read(_: Short) -> HostMemory:
        now_usec[0] += took_usec
        return memory

    set_clock(monkeypatch, lambda: now_usec[0])
    monkeypatch.setattr(Short, "read", read)


@pytest.mark.parametrize(("took_usec", "rest_usec"), [(21, 1_000), (2_000, 6_000), (300_000, 10_000)])
def test_others_have_the_processor_for_three_times_what_a_look_took_but_not_for_long(
    parts: Parts, monkeypatch: pytest.MonkeyPatch, took_usec: int, rest_usec: int
) -> None:
    loop = Loop(parts, Policy(host=HostPolicy(warn=HostPolicy().kill)))
    look_slowly(CLOSE, took_usec, monkeypatch)
    assert find_second_wait_usec(loop, monkeypatch) == rest_usec


@pytest.mark.usefixtures("victim")
@pytest.mark.parametrize(("memory", "wait_usec"), [(CLOSE, 1_000), (LOW, 1)])
def test_nobody_rests_while_the_host_is_short(
    parts: Parts, monkeypatch: pytest.MonkeyPatch, memory: HostMemory, wait_usec: int
) -> None:
    """At the warning just above the kill threshold, and where the first victim was gone and the next one is due."""
    monkeypatch.setattr(Deeds, "kill", lambda *_: Answer(Outcome.GONE, ""))
    loop = Loop(parts, Policy(ladder=Ladder(warn=())))
    look_slowly(memory, 2_000, monkeypatch)
    assert find_second_wait_usec(loop, monkeypatch) == wait_usec

"""What is made ready, done and told of a victim: the right one, once, and nobody is told what is not so."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

import cgoom.daemon.ledger as ledger_module
from cgoom.act.execute import Answer
from cgoom.daemon.docket import SIZE_LIMIT_USEC
from cgoom.daemon.ledger import Seen
from cgoom.kernel.sched import Importance
from cgoom.model import Candidate, CgroupRef, Flight, KillAction, Level, Outcome, Record, State, Step, TermAction, Why
from cgoom.observe.member import Member
from cgoom.record.stage import SLOTS, Stage
from tests.daemon.world import PROVISIONAL, World

WHY = Why("MemAvailable 4% <= 5%", "priority 900 over 100")


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    made = World(tmp_path)
    yield made
    made.close()


def kill(world: World, member: Member, level: Level = Level.KILL) -> None:
    """The decision to kill it, carried out."""
    answer = world.flights.execute(KillAction(Candidate(member.workload), WHY), level, world.snapshot(level))
    assert answer.outcome == Outcome.DONE


def read_staged(world: World) -> list[Record]:
    """The decisions that a daemon that starts now would find."""
    stage = Stage(str(world.directory / "run"))
    try:
        return [record for _, record in stage.read_leftovers()]
    finally:
        stage.close()


def leftovers(world: World) -> list[str]:
    """The victims of those."""
    return [record.victim.name for record in read_staged(world)]


def test_a_kill_that_was_made_ready_goes_through_the_held_descriptor(world: World) -> None:
    victim = world.add("a", 900)
    world.add("b", 100)
    world.make_ready()
    assert world.deeds.verdicts == {"a": PROVISIONAL}
    assert leftovers(world) == []
    kill(world, victim)
    assert world.deeds.killed == ["a"]
    assert leftovers(world) == ["a"]
    record = world.ledger.find(victim.workload.ref)
    assert record is not None
    assert (record.why, record.candidates, record.level) == (WHY, 2, Level.KILL)
    assert [step.note for step in record.steps if step.what == "kill"] == ["held"]
    assert record.considered[0].name == "a"
    assert world.deeds.verdicts["a"].startswith("killed by cgoom: ")


@pytest.mark.parametrize("is_asked", [False, True])
@pytest.mark.parametrize("is_ready", [False, True])
def test_who_takes_over_finds_all_that_was_done(world: World, is_asked: bool, is_ready: bool) -> None:
    victim = world.add("a", 900)
    if is_ready:
        world.make_ready()
    if is_asked:
        world.flights.execute(TermAction(Candidate(victim.workload), WHY), Level.WARN, world.snapshot(Level.WARN))
    kill(world, victim)
    (staged,) = read_staged(world)
    assert staged == world.ledger.find(victim.workload.ref)
    done = ["term"] * is_asked + ["kill", "reap"]
    assert [step.what for step in staged.steps] == done
    assert staged.considered
    world.empty(victim)
    world.flights.land(Flight(victim.workload, True, 0), State(level=Level.WARN), world.snapshot(Level.WARN))
    (staged,) = read_staged(world)
    assert [step.what for step in staged.steps] == [*done, "depopulated"]
    assert staged.outcome == Outcome.DONE


def test_a_kill_that_nothing_announced_is_staged_all_the_same(world: World) -> None:
    victim = world.add("a", 900)
    kill(world, victim)
    assert leftovers(world) == ["a"]
    assert world.deeds.verdicts["a"].startswith("killed by cgoom: ")


def test_a_kill_is_not_staged_as_another_one_that_is_ready(world: World) -> None:
    world.add("a", 900)
    other = world.add("b", 100)
    world.make_ready()
    kill(world, other)
    assert (world.deeds.killed, leftovers(world)) == (["b"], ["b"])


def test_the_verdict_stays_when_the_next_one_is_made_ready(world: World) -> None:
    victim = world.add("a", 900)
    world.add("b", 100)
    world.make_ready()
    world.flights.execute(TermAction(Candidate(victim.workload), WHY), Level.WARN, world.snapshot(Level.WARN))
    kill(world, victim)
    told = world.deeds.verdicts["a"]
    world.empty(victim)
    world.flights.land(Flight(victim.workload, True, 0), State(level=Level.WARN), world.snapshot(Level.WARN))
    world.make_ready()
    assert world.deeds.verdicts == {"a": told, "b": PROVISIONAL}
    world.flights.forget_ready()
    assert world.deeds.verdicts == {"a": told, "b": ""}


def test_what_was_made_ready_in_an_earlier_shortage_is_not_used(world: World) -> None:
    victim = world.add("a", 900)
    world.make_ready()
    world.flights.forget_ready()
    assert world.deeds.verdicts == {"a": ""}
    world.add("b", 100)
    kill(world, victim)
    record = world.ledger.find(victim.workload.ref)
    assert record is not None
    assert (record.why, record.candidates) == (WHY, 2)


def test_another_priority_makes_another_one_ready(world: World) -> None:
    first = world.add("a", 900)
    second = world.add("b", 800)
    world.make_ready()
    del world.view.found[first.workload.ref]
    world.view.changes.note(900)
    world.make_ready()
    kill(world, second)
    assert world.deeds.killed == ["b"]
    assert [step.note for step in _steps(world, second) if step.what == "kill"] == ["held"]


def _steps(world: World, member: Member) -> tuple[Step, ...]:
    record = world.ledger.find(member.workload.ref)
    return () if record is None else record.steps


@pytest.mark.parametrize("level", [Level.WARN, Level.KILL])
def test_what_was_decided_and_not_begun_is_decided_anew(world: World, level: Level) -> None:
    victim = world.add("a", 900)
    record = world.ledger.draft(
        Seen(level, world.snapshot(level).memory, 1), Candidate(victim.workload), WHY, "shortage"
    )
    assert world.flights.resume(record, world.policy) is None
    assert world.deeds.killed == []
    assert world.deeds.verdicts == {"a": ""}, "nobody is told what is not so"


def test_the_first_of_the_order_is_expected_without_a_word(world: World) -> None:
    other, victim = world.add("b", 100), world.add("a", 900)
    world.expect(other)
    world.expect(victim)
    world.flights.calm_down()
    assert world.deeds.verdicts == {}
    assert leftovers(world) == []
    kill(world, victim)
    record = world.ledger.find(victim.workload.ref)
    assert record is not None
    assert [step.note for step in record.steps if step.what == "kill"] == ["held"]
    assert (record.why, record.level, record.candidates, record.usage_bytes) == (WHY, Level.KILL, 2, 1 << 20)
    assert list(world.deeds.verdicts) == ["a"]


def test_who_was_expected_is_announced_by_a_warning_and_forgotten_after_it(world: World) -> None:
    victim = world.add("a", 900)
    world.expect(victim)
    world.make_ready()
    assert world.deeds.verdicts == {"a": PROVISIONAL}
    world.flights.calm_down()
    assert world.deeds.verdicts == {"a": ""}
    world.expect()
    assert leftovers(world) == []


def fire(world: World) -> list[str]:
    """The order that a host at the kill threshold is left with when the kill has been written; nothing: none was."""
    return [each.workload.name for each in world.fire()]


def test_who_is_expected_dies_before_it_is_decided_and_once(world: World) -> None:
    victim, other = world.add("a", 900), world.add("b", 100)
    world.expect(victim, other)
    before = list[list[str]]()
    world.deeds.before = lambda: before.append(leftovers(world))
    assert fire(world) == ["a", "b"]
    assert before == [["a"]], "the decision stands in the stage when it is carried out"
    assert leftovers(world) == world.deeds.killed == ["a"]
    assert world.deeds.verdicts == {"a": PROVISIONAL}
    (staged,) = read_staged(world)
    assert [(step.what, step.outcome) for step in staged.steps] == [("kill", Outcome.DONE)], (
        "who takes over has to know"
    )
    kill(world, victim)
    assert world.deeds.killed == ["a"]
    assert fire(world) == []
    assert [step.note for step in _steps(world, victim) if step.what == "kill"] == ["held"]
    record = world.ledger.find(victim.workload.ref)
    assert record is not None
    assert (record.why, record.level, record.candidates, record.usage_bytes) == (WHY, Level.KILL, 2, 1 << 20)
    assert world.deeds.verdicts["a"].startswith("killed by cgoom: ")


def test_others_have_the_processor_when_its_launcher_was_told(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """Not before: it waits for a moment only; and nobody has it before a kill."""
    told: list[dict[str, str]] = []
    monkeypatch.setattr(Importance, "give_way", lambda _: told.append(dict(world.deeds.verdicts)))
    victim, other = world.add("a", 900), world.add("b", 100)
    world.expect(victim, other)
    assert fire(world) == ["a", "b"]
    assert told == [{"a": PROVISIONAL}]
    kill(world, victim)
    assert told[1] == told[2] == world.deeds.verdicts  # before it is reaped, and after


def test_who_could_not_be_killed_is_followed_by_a_choice_ahead_of_everybody(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    ranks: list[str] = []
    monkeypatch.setattr(Importance, "lower", lambda _: ranks.append("ordinary"))
    monkeypatch.setattr(Importance, "restore", lambda _: ranks.append("ahead"))
    world.expect(world.add("a", 900))
    assert fire(world) == ["a"]
    monkeypatch.setattr(world.deeds, "kill", lambda *_: Answer(Outcome.FAILED))
    world.expect(world.add("b", 1000))
    assert fire(world)[0] == "b"
    assert ranks == ["ordinary", "ahead"]


def test_who_is_announced_dies_before_it_is_decided(world: World) -> None:
    world.add("a", 900, 2 << 20)
    world.add("b", 900, 1 << 20)
    world.make_ready()
    assert fire(world) == ["a", "b"]


def test_it_is_aimed_where_a_kill_needs_nothing_more_than_the_threshold(world: World) -> None:
    victim, other = world.add("a", 900), world.add("b", 100)
    nobody, flights, now_usec = frozenset[CgroupRef](), world.flights, world.snapshot(Level.WARN).now_usec
    world.expect(victim, other)
    assert not flights.is_aimed(nobody, now_usec), "its launcher is not told to wait"
    world.make_ready()
    assert flights.is_aimed(nobody, now_usec)
    assert not flights.is_aimed(frozenset({other.workload.ref}), now_usec)
    world.add("c", 900)
    assert not flights.is_aimed(nobody, now_usec)
    world.make_ready()
    assert flights.is_aimed(nobody, now_usec)
    assert not flights.is_aimed(nobody, now_usec + SIZE_LIMIT_USEC), "their sizes decide"
    world.ledger.forget_ready()
    assert not flights.is_aimed(nobody, now_usec)
    world.make_ready()
    assert flights.is_aimed(nobody, now_usec)
    assert fire(world) != []
    assert not flights.is_aimed(nobody, now_usec)


@pytest.mark.parametrize("outcome", [Outcome.DONE, Outcome.FAILED])
def test_that_a_kill_was_done_stands_before_all_else_that_follows(
    world: World, outcome: Outcome, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Or a daemon that starts then would hold that it was not, and do it again."""
    found, make_entry = list[int](), ledger_module.Entry

    def note(record: Record, slot: int, begun_usec: int, was_ready: bool) -> ledger_module.Entry:
        found.extend(len(staged.steps) for staged in read_staged(world))
        return make_entry(record, slot, begun_usec, was_ready=was_ready)

    monkeypatch.setattr(ledger_module, "Entry", note)
    monkeypatch.setattr(world.deeds, "kill", lambda *_: Answer(outcome))
    world.expect(world.add("a", 900))
    assert fire(world) == ["a"]
    assert found == [outcome == Outcome.DONE]


def test_nobody_dies_in_advance_where_anything_may_have_changed(world: World) -> None:
    victim, other, equal = world.add("a", 900), world.add("b", 100), world.add("c", 900)
    assert fire(world) == []
    world.expect(victim, equal)  # their sizes decide, and nobody has read them
    assert fire(world) == []
    world.expect(victim, other)
    assert world.fire(frozenset({victim.workload.ref})) == ()
    world.view.blind = True  # the kernel does not tell what changes
    assert fire(world) == []
    world.view.blind = False
    world.view.changes.note(900)
    assert fire(world) == []
    world.expect(victim, other)
    world.make_ready()
    assert world.fire(frozenset({other.workload.ref})) == ()  # made while it would die
    assert world.fire(late_usec=SIZE_LIMIT_USEC) == ()
    world.flights.forget_ready()
    assert fire(world) == world.deeds.killed == []


@pytest.mark.parametrize("is_short", [True, False])
@pytest.mark.parametrize(("priority", "expected"), [(0, "ac"), (50, "ac"), (899, "ac"), (900, ""), (1000, "")])
def test_what_is_ready_stands_while_others_of_more_worth_change(
    world: World, is_short: bool, priority: int, expected: str
) -> None:
    """Thousands may be followed, launched or end before it is fired; the reason is of now."""
    victim, other = world.add("a", 900), world.add("b", 100)
    world.expect(victim, other)
    if is_short:
        world.make_ready()
    world.add("c", priority)
    world.empty(other)
    assert "".join(fire(world)) == expected


@pytest.mark.parametrize("is_short", [True, False])
def test_who_was_the_only_one_is_fired_with_who_came_since(world: World, is_short: bool) -> None:
    world.expect(world.add("a", 900))
    if is_short:
        world.make_ready()
    world.add("b", 100)
    assert fire(world) == ["a", "b"]


def test_a_slot_that_was_needed_is_made_ready_again(world: World) -> None:
    victim = world.add("a", 900)
    world.expect(victim)
    draft = world.ledger.draft(Seen(Level.OK, world.snapshot(Level.OK).memory, 1), Candidate(victim.workload), WHY, "x")
    slots = [world.stage.open_slot(draft) for _ in range(SLOTS)]
    assert fire(world) == []
    for slot in slots:
        world.stage.clear(slot or 0)
    world.expect(victim)
    assert fire(world) == ["a"]


def test_descriptors_are_given_back(world: World) -> None:
    before = len(list(Path("/proc/self/fd").iterdir()))
    for number in range(20):
        victim = world.add(f"v{number}", 900)
        world.make_ready()
        kill(world, victim)
        world.empty(victim)
        world.flights.land(Flight(victim.workload, True, 0), State(level=Level.KILL), world.snapshot(Level.KILL))
        world.view.found.pop(victim.workload.ref).cgroup.close()
        world.view.changes.note(900)
    assert len(list(Path("/proc/self/fd").iterdir())) <= before + 1

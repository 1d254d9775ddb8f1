"""What the daemon makes of the module's words: refusals, losses, and what comes late. The guest has the real one."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

import pytest

from cgoom.daemon.watch import Watch, find_new
from cgoom.errors import CgoomError, FormatError, GoneError, KernelError, NotPermittedError
from cgoom.kernel.memory_info import (
    Answer,
    Appeared,
    ArmedKill,
    ArmedKillEvent,
    Event,
    LevelEvent,
    Lost,
    Module,
    OomEvent,
    Stats,
    Vanished,
)
from cgoom.model import HostMemory, HostPolicy, Level
from cgoom.record.journal import Journal

FILL = 1 << 30


def make_stats(level: Level, seq: int) -> Stats:
    """What the module sees; only these two matter here."""
    return Stats(HostMemory(1 << 30, 1 << 29, 0, 0), 1 << 28, 4096, level, seq, 1000 * seq)


def make_answer(level: Level, seq: int, *kills: ArmedKill) -> Answer:
    """The answer to GET_STATS."""
    return Answer(make_stats(level, seq), HostPolicy(), FILL >> 10, 0, 0, 0, 0, kills)


class Scripted(Module):
    """A module that says what the test wants."""

    def __init__(self, answer: Answer) -> None:
        self.answer: Answer | CgoomError = answer
        self.refusal: CgoomError | None = None
        self.batches: list[list[Event] | CgoomError] = []
        self.asked = 0
        self.told: list[HostPolicy] = []
        self.is_there = True

    @property
    def is_present(self) -> bool:
        return self.is_there

    def read_stats(self) -> Answer:
        self.asked += 1
        if isinstance(self.answer, CgoomError):
            raise self.answer
        return self.answer

    def write_thresholds(self, host: HostPolicy, fill_bytes_per_sec: int) -> None:
        if self.refusal is not None:
            raise self.refusal
        self.told.append(host)
        if isinstance(self.answer, Answer):
            self.set_thresholds(host)

    def set_thresholds(self, host: HostPolicy) -> None:
        """As anybody may: it takes them, and says so, as the real one does."""
        assert isinstance(self.answer, Answer)
        stats = replace(self.answer.stats, seq=self.answer.stats.seq + 1)
        self.answer = replace(self.answer, stats=stats, host=host)
        self.batches.insert(0, [LevelEvent(stats, stats.level)])

    def drain(self) -> list[Event]:
        if not self.batches:
            return []
        batch = self.batches.pop(0)
        if isinstance(batch, CgoomError):
            raise batch
        return batch


@pytest.fixture
def log(tmp_path: Path) -> Path:
    """Where the journal goes."""
    return tmp_path / "log"


def make_watch(module: Scripted, log: Path) -> Watch:
    """A watch that follows the policy; that it set the thresholds was an event already."""
    fd = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    watch = Watch(module, Journal(fd, {}), FILL)
    watch.follow(HostPolicy())
    watch.take()
    return watch


def test_it_watches_once_it_goes_by_our_thresholds(log: Path) -> None:
    module = Scripted(make_answer(Level.OK, 4))
    watch = make_watch(module, log)
    assert (watch.is_calm, module.told) == (True, [HostPolicy()])
    module.batches = [[LevelEvent(make_stats(Level.WARN, 6), Level.OK)]]
    watch.take()
    assert watch.level == Level.WARN
    assert not watch.is_calm
    assert module.asked == 1


@pytest.mark.parametrize(("level", "is_below"), [(Level.OK, True), (Level.WARN, True), (Level.KILL, False)])
def test_it_says_when_the_kill_threshold_is_reached_unless_it_has(log: Path, level: Level, is_below: bool) -> None:
    assert make_watch(Scripted(make_answer(level, 4)), log).is_below_kill == is_below


def test_a_refusal_is_said_once_and_nothing_it_says_counts(log: Path) -> None:
    module = Scripted(make_answer(Level.OK, 4))
    module.refusal = NotPermittedError("memory_info: Operation not permitted")
    watch = make_watch(module, log)
    watch.follow(HostPolicy())
    module.batches = [[LevelEvent(make_stats(Level.OK, 6), Level.WARN), Lost()]]
    watch.take()
    assert watch.level is None
    assert log.read_text(encoding="utf-8").count("does not take the policy's thresholds") == 1


def test_what_waited_while_it_was_asked_is_old(log: Path) -> None:
    module = Scripted(make_answer(Level.OK, 8))
    watch = make_watch(module, log)
    module.batches = [
        [LevelEvent(make_stats(Level.KILL, 8), Level.WARN), LevelEvent(make_stats(Level.OK, 9), Level.KILL)]
    ]
    watch.take()
    assert watch.is_calm


def test_every_event_tells_the_level_and_a_gap_is_a_question(log: Path) -> None:
    module = Scripted(make_answer(Level.OK, 4))
    watch = make_watch(module, log)
    module.answer = make_answer(Level.KILL, 8)
    module.batches = [[OomEvent(make_stats(Level.WARN, 8), 1)]]
    assert watch.take()[0] == module.answer
    assert watch.level == Level.KILL


@pytest.mark.parametrize("loss", [[Lost()], FormatError("memory_info: garbage")])
def test_a_loss_is_a_question(log: Path, loss: list[Event] | CgoomError) -> None:
    module = Scripted(make_answer(Level.OK, 4))
    watch = make_watch(module, log)
    module.answer = make_answer(Level.WARN, 50)
    module.batches = [loss]
    watch.take()
    assert watch.level == Level.WARN


@pytest.mark.parametrize("error", [GoneError("gone"), KernelError("no memory for the answer"), FormatError("garbage")])
def test_without_an_answer_nobody_watches(log: Path, error: CgoomError) -> None:
    module = Scripted(make_answer(Level.OK, 4))
    watch = make_watch(module, log)
    module.answer = error
    module.batches = [[Lost()]]
    assert watch.take()[0] is None
    assert watch.level is None


def test_a_socket_that_cannot_be_read_ends_the_watch_and_not_the_daemon(log: Path) -> None:
    module = Scripted(make_answer(Level.OK, 4))
    watch = make_watch(module, log)
    module.batches = [KernelError("netlink: Bad file descriptor")]
    watch.take()
    assert watch.level is None


def test_it_goes_and_comes_with_other_numbers(log: Path) -> None:
    module = Scripted(make_answer(Level.OK, 49))
    watch = make_watch(module, log)
    module.batches = [[Vanished()]]
    watch.take()
    assert (watch.level, watch.changes) == (None, 1)
    module.answer = make_answer(Level.OK, 0)
    module.batches = [[Appeared()], [LevelEvent(make_stats(Level.WARN, 2), Level.OK)]]
    watch.take()
    assert (watch.level, watch.changes) == (Level.WARN, 2)
    assert module.told == [HostPolicy()] * 2


def test_an_armed_kill_is_a_question_and_what_was_seen_then_is_kept(log: Path) -> None:
    kill = ArmedKill(77, 3, 6, 6500)
    module = Scripted(make_answer(Level.OK, 4))
    watch = make_watch(module, log)
    module.answer = make_answer(Level.OK, 7, kill)
    module.batches = [[ArmedKillEvent(make_stats(Level.KILL, 6), 77, 3)]]
    answer, seen = watch.take()
    assert answer is not None
    assert find_new(answer, 0) == [kill]
    assert seen[kill.seq].level == Level.KILL


def test_kills_are_new_by_their_time_and_not_by_their_number() -> None:
    old, new = ArmedKill(1, 1, 90, 1000), ArmedKill(2, 1, 3, 2000)
    answer = make_answer(Level.OK, 3, new, old)
    assert find_new(answer, 0) == [old, new]
    assert find_new(answer, 1000) == [new]
    assert find_new(answer, 2000) == []
    assert find_new(replace(answer, kills=()), 0) == []


def test_without_netlink_there_is_nobody(tmp_path: Path) -> None:
    watch = Watch(None, Journal(-1, {}), FILL)
    watch.follow(HostPolicy())
    watch.ask()
    watch.disarm()
    assert watch.take() == (None, {})
    assert (watch.is_present, watch.is_calm, watch.arm(())) == (False, False, False)


OTHER = HostPolicy(kill=HostPolicy().warn)


def test_who_sets_other_thresholds_is_corrected_once_and_then_left_alone(log: Path) -> None:
    module = Scripted(make_answer(Level.OK, 4))
    watch = make_watch(module, log)
    asked = module.asked
    module.set_thresholds(OTHER)
    watch.take()
    assert (watch.is_calm, module.told) == (True, [HostPolicy()] * 2)
    assert module.asked == asked + 2
    watch.take()
    assert module.asked == asked + 2
    module.set_thresholds(OTHER)
    watch.take()
    assert (watch.level, len(module.told)) == (None, 2)
    module.batches = [[LevelEvent(make_stats(Level.OK, 99), Level.WARN)]]
    watch.take()
    assert watch.level is None
    assert not watch.retry(1 << 62)
    said = log.read_text(encoding="utf-8")
    assert (said.count("they are set again"), said.count("somebody else sets")) == (1, 1)


def test_a_policy_that_is_reloaded_is_tried_again(log: Path) -> None:
    module = Scripted(make_answer(Level.OK, 4))
    watch = make_watch(module, log)
    for _ in range(2):
        module.set_thresholds(OTHER)
        watch.take()
    assert watch.level is None
    watch.follow(OTHER)
    watch.take()
    assert watch.is_calm


def test_a_question_that_failed_is_asked_again(log: Path) -> None:
    module = Scripted(make_answer(Level.OK, 4))
    watch = make_watch(module, log)
    answer, module.answer = module.answer, KernelError("no memory for the answer")
    module.batches = [[Lost()]]
    watch.take()
    assert watch.retry(10_000_000)
    watch.take()
    assert (watch.level, watch.retry(10_500_000)) == (None, False)
    module.answer = answer
    assert watch.retry(11_000_000)
    watch.take()
    assert (watch.is_calm, watch.retry(20_000_000)) == (True, False)
    module.answer = KernelError("no memory for the answer")
    module.batches = [[Lost()]]
    watch.take()
    module.answer = make_answer(Level.WARN, 9)
    module.batches = [[LevelEvent(make_stats(Level.WARN, 9), Level.OK)]]
    watch.take()
    assert watch.level == Level.WARN

"""Real-time scheduling that the kernel refuses after it was granted."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest

from cgoom.kernel import sched
from cgoom.kernel.sched import FEW_EACH, MOMENT_SEC, NICE_COMMON, NICE_LEAST, Importance


def test_a_refusal_leaves_it_ordinary_and_is_asked_again(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[int] = []
    is_refused = False

    def set_scheduler(_pid: int, scheduler: int, _param: os.sched_param) -> None:
        asked.append(scheduler & ~os.SCHED_RESET_ON_FORK)
        if is_refused and asked[-1] == os.SCHED_FIFO:
            raise PermissionError

    monkeypatch.setattr(os, "sched_setscheduler", set_scheduler)
    monkeypatch.setattr(os, "setpriority", lambda *_: None)
    importance = Importance()
    importance.raise_()
    is_refused = True
    importance.lower()
    importance.restore()
    importance.lower()  # it is ordinary still
    assert asked == [os.SCHED_FIFO, os.SCHED_BATCH, os.SCHED_FIFO]
    is_refused = False
    importance.restore()
    importance.restore()
    assert asked[3:] == [os.SCHED_FIFO]


def test_only_who_is_ordinary_gives_way(monkeypatch: pytest.MonkeyPatch) -> None:
    slept: list[float] = []
    monkeypatch.setattr(os, "sched_setscheduler", lambda *_: None)
    monkeypatch.setattr(os, "setpriority", lambda *_: None)
    monkeypatch.setattr(time, "sleep", slept.append)
    importance = Importance()
    importance.give_way()  # never was anything else
    importance.raise_()
    importance.give_way()
    importance.lower()
    importance.give_way()
    assert slept == [MOMENT_SEC]
    importance.restore()
    importance.give_way()
    assert slept == [MOMENT_SEC]


@pytest.mark.parametrize(
    ("load", "nice"),
    [
        ("0.00 0.00 0.00 {few}/80 1", NICE_COMMON),
        ("0.00 0.00 0.00 {more}/80 1", NICE_LEAST),
        ("0.00", NICE_LEAST),
        ("0.00 0.00 0.00 some/80 1", NICE_LEAST),
        (None, NICE_LEAST),
    ],
)
def test_who_stands_back_has_no_more_weight_than_others_where_these_are_few(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, load: str | None, nice: int
) -> None:
    """It has it back with the next rank, and what is refused then is asked for again."""
    path, done = tmp_path / "loadavg", list[str]()
    few = FEW_EACH * len(os.sched_getaffinity(0))
    if load is not None:
        path.write_text(load.format(few=few, more=few + 1), encoding="ascii")
    is_refused = False

    def set_priority(_which: int, _who: int, value: int) -> None:
        done.append(f"nice {value}")
        if is_refused:
            raise PermissionError

    monkeypatch.setattr(sched, "_LOAD_PATH", str(path))
    monkeypatch.setattr(os, "setpriority", set_priority)
    monkeypatch.setattr(os, "sched_setscheduler", lambda _pid, policy, _: done.append(f"policy {policy & 0xF}"))
    importance = Importance()
    importance.stand_back()  # never was anything else
    assert done == []
    importance.raise_()
    done.clear()
    importance.stand_back()
    importance.stand_back()
    changes = [] if nice == NICE_LEAST else [f"nice {nice}"]
    assert done == [f"policy {os.SCHED_BATCH}", *changes]
    done.clear()
    is_refused = True
    importance.lower()
    importance.lower()
    assert done == [f"nice {NICE_LEAST}"] * 2 * len(changes)
    is_refused = False
    importance.lower()
    importance.lower()
    assert done == [f"nice {NICE_LEAST}"] * 3 * len(changes)


def test_who_may_no_longer_be_real_time_has_its_weight_back(monkeypatch: pytest.MonkeyPatch) -> None:
    weights: list[int] = []
    monkeypatch.setattr(os, "setpriority", lambda _which, _who, nice: weights.append(nice))
    monkeypatch.setattr(os, "sched_setscheduler", lambda *_: None)
    monkeypatch.setattr(sched, "FEW_EACH", 1_000_000)
    importance = Importance()
    importance.raise_()
    importance.stand_back()

    def refuse(*_: object) -> None:
        raise PermissionError

    monkeypatch.setattr(os, "sched_setscheduler", refuse)
    importance.restore()
    assert importance.is_lowered
    assert weights == [NICE_LEAST, NICE_COMMON, NICE_LEAST]

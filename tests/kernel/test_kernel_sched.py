"""Real-time scheduling that the kernel refuses after it was granted."""

from __future__ import annotations

import os
import time

import pytest

from cgoom.kernel.sched import MOMENT_SEC, Importance


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

"""Signals by descriptor."""

from __future__ import annotations

import os
import select
import signal
from collections.abc import Iterator

import pytest

from cgoom.kernel.signalfd import arm_signals, drain

SIGNOS = (signal.SIGUSR1, signal.SIGUSR2, signal.SIGRTMAX)


@pytest.fixture
def signal_fd() -> Iterator[int]:
    before = signal.pthread_sigmask(signal.SIG_BLOCK, ())
    fd = arm_signals(SIGNOS)
    yield fd
    drain(fd)
    os.close(fd)
    signal.pthread_sigmask(signal.SIG_SETMASK, before)


def test_they_wait_until_drained(signal_fd: int) -> None:
    assert drain(signal_fd) == []
    for signo in SIGNOS:
        os.kill(os.getpid(), signo)
    os.kill(os.getpid(), signal.SIGUSR1)
    assert select.select([signal_fd], [], [], 10)[0]
    assert sorted(drain(signal_fd)) == sorted(SIGNOS)
    assert drain(signal_fd) == []


def test_they_are_blocked_and_no_child_gets_the_descriptor(signal_fd: int) -> None:
    assert set(SIGNOS) <= signal.pthread_sigmask(signal.SIG_BLOCK, ())
    assert not os.get_inheritable(signal_fd)


def test_others_are_not_taken(signal_fd: int) -> None:
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGWINCH})
    os.kill(os.getpid(), signal.SIGWINCH)
    assert drain(signal_fd) == []

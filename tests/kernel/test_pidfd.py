"""pidfds of real children."""

from __future__ import annotations

import os
import signal
import subprocess
import time

import pytest

from cgoom.errors import GoneError, KernelError
from cgoom.kernel.pidfd import mrelease, open_pidfd, send_signal, wait_pidfd

TIMEOUT_USEC = 10_000_000


def spawn(script: str) -> int:
    return os.posix_spawn("/bin/sh", ["sh", "-c", script], os.environ)


def test_an_exit_status() -> None:
    pidfd = open_pidfd(spawn("exit 7"))
    assert wait_pidfd(pidfd, TIMEOUT_USEC) == 7
    with pytest.raises(GoneError):
        send_signal(pidfd, signal.SIGTERM)
    with pytest.raises(KernelError, match="No child"):
        wait_pidfd(pidfd, TIMEOUT_USEC)
    os.close(pidfd)


def test_a_signal_and_a_timeout() -> None:
    pidfd = open_pidfd(spawn("exec sleep 60"))
    assert not os.get_inheritable(pidfd)
    began = time.monotonic()
    assert wait_pidfd(pidfd, 0) is None
    assert wait_pidfd(pidfd, 2_500) is None
    assert time.monotonic() - began < 5
    send_signal(pidfd, signal.SIGTERM)
    assert wait_pidfd(pidfd) == 128 + signal.SIGTERM
    os.close(pidfd)


def test_a_core_dump_is_a_signal_too() -> None:
    pidfd = open_pidfd(spawn("ulimit -c 0; kill -SEGV $$"))
    assert wait_pidfd(pidfd, TIMEOUT_USEC) == 128 + signal.SIGSEGV
    os.close(pidfd)


def test_no_such_process() -> None:
    child = subprocess.Popen(["/bin/true"])
    child.wait(10)
    with pytest.raises(GoneError, match=f"^pid {child.pid}: "):
        open_pidfd(child.pid)
    for pid in (0, -1):
        with pytest.raises(KernelError):
            open_pidfd(pid)


def test_mrelease_of_the_living_and_the_dead() -> None:
    pidfd = open_pidfd(spawn("exec sleep 60"))
    assert not mrelease(pidfd)
    assert wait_pidfd(pidfd, 0) is None
    send_signal(pidfd, signal.SIGKILL)
    assert wait_pidfd(pidfd, TIMEOUT_USEC) == 128 + signal.SIGKILL
    assert not mrelease(pidfd)
    os.close(pidfd)


def test_mrelease_of_something_else() -> None:
    reader, writer = os.pipe()
    with pytest.raises(KernelError):
        mrelease(reader)
    os.close(reader)
    os.close(writer)

"""What wakes the daemon, also when it could not be woken."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path

from cgoom.daemon.sources import Source, Sources
from tests.support.wait import wait_until

# Microseconds; long enough to be stopped in for sure.
TIMEOUT_USEC = 1_500_000


def test_what_happened_while_it_was_stopped_is_told_at_once() -> None:
    """Its time was up long ago when it goes on: then the kernel says EINTR, and Python's epoll says nothing."""
    (reader, writer), (ready, told) = os.pipe(), os.pipe()
    pid = os.fork()
    if pid == 0:
        sources = Sources(reader)
        os.write(told, b"x")
        os._exit(0 if sources.wait(TIMEOUT_USEC) == [Source.TREE] else 1)
    os.read(ready, 1)
    wait_until(lambda: read_state(pid) == "S", 1, "the wait")
    os.kill(pid, signal.SIGSTOP)
    os.waitpid(pid, os.WUNTRACED)
    os.write(writer, b"x")
    until = time.monotonic() + 1.1 * TIMEOUT_USEC / 1e6
    wait_until(lambda: time.monotonic() > until, 10, "its time to be up")
    os.kill(pid, signal.SIGCONT)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
    for fd in (reader, writer, ready, told):
        os.close(fd)


def read_state(pid: int) -> str:
    """The letter of its state."""
    return Path(f"/proc/{pid}/stat").read_text(encoding="ascii").rpartition(") ")[2][0]

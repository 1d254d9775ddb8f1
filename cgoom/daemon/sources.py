"""Everything that can wake the daemon, in one epoll. The `selectors` module knows no EPOLLPRI, which PSI needs."""

from __future__ import annotations

import os
import select
import signal
from collections.abc import Collection, Iterator
from enum import Enum

from cgoom.errors import CgoomError, KernelError, NotPermittedError
from cgoom.kernel.psi import arm_trigger
from cgoom.kernel.signalfd import arm_signals, drain
from cgoom.units import USEC_PER_SEC

PRESSURE_PATH = "/proc/pressure/memory"
# Microseconds of stall in a window of memory pressure `some`; chosen: lmkd's window, and twice its stall, since for us
# it is only an additional wake-up. The second pair is what the kernel lets a process without CAP_SYS_RESOURCE have.
PRESSURE_TRIGGERS = ((150_000, 1_000_000), (300_000, 2_000_000))
# Microseconds of CLOCK_MONOTONIC, and of a wait: longer than any host lives.
NEVER_USEC = 1 << 60
SIGNOS = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)


class Source(Enum):
    """Who woke us."""

    SIGNALS = "signals"
    TREE = "tree"
    PRESSURE = "pressure"
    RELOAD = "reload"
    MODULE = "module"


# Whoever woke us, each once.
Woken = Collection[Source]


class Sources:
    """The descriptors and the wait on them."""

    def __init__(self, tree_fd: int) -> None:
        self._epoll = select.epoll()
        self._sources: dict[int, Source] = {}
        self._signal_fd = arm_signals(SIGNOS)
        self._add(self._signal_fd, Source.SIGNALS, select.EPOLLIN)
        self._add(tree_fd, Source.TREE, select.EPOLLIN)

    def arm_pressure(self) -> Iterator[str]:
        """Be woken by memory pressure; yields a finding where the kernel does not let us."""
        for stall_usec, window_usec in PRESSURE_TRIGGERS:
            try:
                fd = arm_trigger(PRESSURE_PATH, "some", stall_usec, window_usec)
            except (NotPermittedError, KernelError) as error:
                refused: CgoomError = error
            else:
                self._add(fd, Source.PRESSURE, select.EPOLLPRI)
                return
        yield f"memory pressure does not wake the daemon: {refused.message}"

    def add_module(self, fd: int) -> None:
        """Watch what the kernel module says, and whether it comes or goes."""
        self._add(fd, Source.MODULE, select.EPOLLIN)

    def add_reload(self, fd: int) -> None:
        """Watch the output of the process that compiles a policy."""
        self._add(fd, Source.RELOAD, select.EPOLLIN)

    def remove(self, fd: int) -> None:
        """Stop watching `fd`, before it is closed."""
        self._epoll.unregister(fd)
        del self._sources[fd]

    def wait(self, timeout_usec: int) -> list[Source]:
        """Sleep until something happens or the time is over; with half of NEVER_USEC or more it never is."""
        forever = timeout_usec >= NEVER_USEC // 2
        events = self._epoll.poll(None if forever else max(0, timeout_usec) / USEC_PER_SEC)
        # Whoever was stopped beyond the end of the wait is told of no event: Python does not ask again.
        events = events or self._epoll.poll(0)
        woken = []  # no set: to find a member by its hash is a call for each question, between an event and a kill
        for fd, mask in events:
            # A PSI trigger reports EPOLLERR for ever once its file is gone: look no more.
            if mask & select.EPOLLERR and self._sources[fd] == Source.PRESSURE and not mask & select.EPOLLPRI:
                self.remove(fd)
                os.close(fd)
                return [Source.PRESSURE]
            woken.append(self._sources[fd])
        return woken

    def drain_signals(self) -> list[int]:
        """The numbers of the signals that arrived."""
        return drain(self._signal_fd)

    def _add(self, fd: int, source: Source, mask: int) -> None:
        self._epoll.register(fd, mask)
        self._sources[fd] = source

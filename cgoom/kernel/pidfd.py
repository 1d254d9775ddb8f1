"""Processes by descriptor: a pid may be reused, a pidfd never is."""

from __future__ import annotations

import errno
import os
import select
import signal

from cgoom.kernel.fault import kernel_errors
from cgoom.kernel.libc import syscall
from cgoom.units import USEC_PER_MSEC

_PROCESS_MRELEASE = 448  # the same on every architecture
# What a shell adds to the number of the signal that ended a command.
_SIGNALLED = 128


def open_pidfd(pid: int) -> int:
    """A descriptor of the process. Raises GoneError, KernelError."""
    with kernel_errors(f"pid {pid}"):
        return os.pidfd_open(pid)


def send_signal(pidfd: int, signo: int) -> None:
    """Send `signo` to the process. Raises GoneError, NotPermittedError, KernelError."""
    with kernel_errors("pidfd_send_signal"):
        signal.pidfd_send_signal(pidfd, signo)


def mrelease(pidfd: int) -> bool:
    """Take the memory of a process that was killed and cannot get at dying; False: gone already, or not dying.

    Raises NotPermittedError, KernelError (EAGAIN: its memory map is locked, a later try may do).
    """
    with kernel_errors("process_mrelease"):
        try:
            syscall(_PROCESS_MRELEASE, pidfd, 0)
        except OSError as error:
            if error.errno in (errno.ESRCH, errno.EINVAL):
                return False
            raise
    return True


def wait_pidfd(pidfd: int, timeout_usec: int | None = None) -> int | None:
    """Wait for a child of ours and reap it: its exit status, or 128 + the signal that ended it; None: time is up.

    No timeout waits for ever. Raises KernelError (ECHILD: not a child of ours, or reaped already).
    """
    poller = select.poll()
    poller.register(pidfd, select.POLLIN)
    with kernel_errors("pidfd"):
        if not poller.poll(None if timeout_usec is None else timeout_usec / USEC_PER_MSEC):
            return None
        ended = os.waitid(os.P_PIDFD, pidfd, os.WEXITED | os.WNOHANG)
    if ended is None:
        return None
    return ended.si_status if ended.si_code == os.CLD_EXITED else _SIGNALLED + ended.si_status

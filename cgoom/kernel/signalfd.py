"""Signals as something to poll, so that none arrives between two steps."""

from __future__ import annotations

import ctypes
import os
import signal
import struct
from collections.abc import Iterable

from cgoom.kernel.fault import kernel_errors
from cgoom.kernel.libc import LIBC, require_result

# SFD_CLOEXEC and SFD_NONBLOCK are these two, include/uapi/linux/signalfd.h
_FLAGS = os.O_CLOEXEC | os.O_NONBLOCK
_SIGINFO_SIZE = 128  # bytes of struct signalfd_siginfo, which begins with the u32 ssi_signo
_SIGNALS_AT_ONCE = 64  # chosen: there are not more of them
_WORD_BITS = ctypes.sizeof(ctypes.c_ulong) * 8
_SET_WORDS = 1024 // _WORD_BITS  # sigset_t of the C library holds 1024 bits


def arm_signals(signos: Iterable[int]) -> int:
    """Block `signos` in this thread and return a descriptor that is readable while one waits. Raises KernelError.

    Arm before other threads start: they inherit the block.
    """
    wanted = set(signos)
    words = (ctypes.c_ulong * _SET_WORDS)()
    for signo in wanted:
        words[(signo - 1) // _WORD_BITS] |= 1 << (signo - 1) % _WORD_BITS
    signal.pthread_sigmask(signal.SIG_BLOCK, wanted)
    with kernel_errors("signalfd"):
        return require_result(LIBC.signalfd(-1, words, _FLAGS))


def drain(fd: int) -> list[int]:
    """The signals that wait, in the kernel's order; one that came twice is there once. Raises KernelError."""
    with kernel_errors("signalfd"):
        try:
            text = os.read(fd, _SIGINFO_SIZE * _SIGNALS_AT_ONCE)
        except BlockingIOError:
            return []
    return [struct.unpack_from("=I", text, start)[0] for start in range(0, len(text), _SIGINFO_SIZE)]

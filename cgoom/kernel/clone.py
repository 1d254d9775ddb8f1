"""clone3(2): a child that is in its cgroup from its first instruction, with a pidfd from birth."""

from __future__ import annotations

import ctypes
import gc
import os
import signal
from collections.abc import Callable
from typing import NoReturn

from cgoom.kernel.fault import kernel_errors
from cgoom.kernel.libc import syscall

_CLONE3 = 435  # the same on every architecture
_CLONE_PIDFD = 0x1000
_CLONE_INTO_CGROUP = 0x200000000
# Exit status of a child whose callable returned or raised; chosen: a shell's "not found".
CHILD_LOST = 127


class _CloneArgs(ctypes.Structure):
    """struct clone_args, include/uapi/linux/sched.h: the 88 bytes of CLONE_ARGS_SIZE_VER2."""

    _fields_ = tuple(
        (name, ctypes.c_uint64)
        for name in (
            "flags",
            "pidfd",
            "child_tid",
            "parent_tid",
            "exit_signal",
            "stack",
            "stack_size",
            "tls",
            "set_tid",
            "set_tid_size",
            "cgroup",
        )
    )


def spawn_into(cgroup_fd: int, child: Callable[[], NoReturn]) -> tuple[int, int]:
    """Start `child` in the cgroup behind the directory descriptor: (pid, pidfd). Raises GoneError and the like.

    `child` must soon exec or `os._exit`; should it return or raise, the child ends with status 127. It starts with
    default signal dispositions and nothing blocked. Call it from the main thread.
    """
    pidfd = ctypes.c_int(-1)
    args = _CloneArgs(
        flags=_CLONE_PIDFD | _CLONE_INTO_CGROUP,
        pidfd=ctypes.addressof(pidfd),
        exit_signal=signal.SIGCHLD,
        cgroup=cgroup_fd,
    )
    # Neither a Python signal handler nor a finalizer of the parent's objects may run in the child. The GIL is kept by
    # PyDLL; what os.fork() does beyond that is for threads and locks, which a child that execs has no use for.
    collecting = gc.isenabled()
    gc.disable()
    blocked = signal.pthread_sigmask(signal.SIG_SETMASK, signal.valid_signals())
    try:
        with kernel_errors("clone3"):
            pid = syscall(_CLONE3, ctypes.byref(args), ctypes.sizeof(args))
        if pid == 0:
            _run(child)
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, blocked)
        if collecting:
            gc.enable()
    return pid, pidfd.value


def _run(child: Callable[[], NoReturn]) -> NoReturn:
    try:
        for signo in signal.valid_signals():
            # Python itself ignores SIGPIPE and SIGXFSZ; what the caller of our program ignored (nohup) stays so.
            if callable(signal.getsignal(signo)) or signo in (signal.SIGPIPE, signal.SIGXFSZ):
                signal.signal(signo, signal.SIG_DFL)
        signal.pthread_sigmask(signal.SIG_SETMASK, ())
        child()
    finally:
        os._exit(CHILD_LOST)

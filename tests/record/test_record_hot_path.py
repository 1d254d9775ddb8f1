"""Staging a decision needs nothing from the kernel but memory: a seccomp filter kills who asks for more."""

from __future__ import annotations

import ctypes
import os
import platform
import signal
import struct
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from cgoom.model import Considered
from cgoom.record.stage import Stage
from tests.record.examples import USUAL

_PR_SET_SECCOMP, _PR_SET_NO_NEW_PRIVS, _SECCOMP_MODE_FILTER = 22, 38, 2
_RET_KILL_PROCESS, _RET_ALLOW = 0x80000000, 0x7FFF0000
_LOAD_NUMBER, _JUMP_IF_EQUAL, _RETURN = 0x20, 0x15, 0x06
# What the allocator may ask for, the interpreter's own lock, and the end: mmap, mprotect, munmap, brk, mremap, madvise,
# futex, exit_group of asm/unistd_64.h.
_MEMORY_ONLY = (9, 10, 11, 12, 25, 28, 202, 231)


def _require_memory_only() -> None:
    """From here on any other system call is a SIGSYS."""
    filter_ = b"".join(
        (
            struct.pack("=HBBI", _LOAD_NUMBER, 0, 0, 0),
            *(
                struct.pack("=HBBI", _JUMP_IF_EQUAL, len(_MEMORY_ONLY) - place, 0, number)
                for place, number in enumerate(_MEMORY_ONLY)
            ),
            struct.pack("=HBBI", _RETURN, 0, 0, _RET_KILL_PROCESS),
            struct.pack("=HBBI", _RETURN, 0, 0, _RET_ALLOW),
        )
    )
    code = ctypes.create_string_buffer(filter_, len(filter_))
    program = struct.pack("@HP", len(filter_) // 8, ctypes.addressof(code))
    libc = ctypes.CDLL(None, use_errno=True)
    for arguments in ((_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0), (_PR_SET_SECCOMP, _SECCOMP_MODE_FILTER, program, 0, 0)):
        if libc.prctl(*arguments) != 0:
            os._exit(77)


def _run_filtered(work: Callable[[], None]) -> int:
    pid = os.fork()
    if pid == 0:
        try:
            _require_memory_only()
            work()
            os._exit(0)
        finally:
            os._exit(1)
    status = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    if status == 77:
        pytest.skip("this kernel has no seccomp filters")
    return status


@pytest.mark.skipif(platform.machine() != "x86_64", reason="the system call numbers are those of x86_64")
def test_staging_makes_no_system_call(tmp_path: Path) -> None:
    stage = Stage(str(tmp_path))
    huge = replace(USUAL, considered=tuple(Considered(f"w{number}", 1, number, "x") for number in range(5000)))

    def decide() -> None:
        for record in (USUAL, huge):
            slot = stage.open_slot(record)
            assert slot is not None
            stage.update(slot, USUAL)
        stage.clear(0)

    assert _run_filtered(decide) == 0
    stage.close()
    stage = Stage(str(tmp_path))
    assert stage.read_leftovers() == [(1, USUAL)]
    stage.close()


@pytest.mark.skipif(platform.machine() != "x86_64", reason="the system call numbers are those of x86_64")
def test_the_filter_would_notice() -> None:
    assert _run_filtered(lambda: os.fsync(0)) == -signal.SIGSYS

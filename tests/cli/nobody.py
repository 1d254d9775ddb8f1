"""Running a piece of cgoom as a user without any rights."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable

# Loaded before the rights are gone: the interpreter's own files may belong to root alone.
import psutil  # noqa: F401

NOBODY = 65534


def run_as_nobody(body: Callable[[], int]) -> tuple[int, str]:
    """The exit status of `body` in a child that dropped every right, and what it wrote to stdout and stderr."""
    receive, send = os.pipe()
    pid = os.fork()
    if pid == 0:
        status = 99
        try:
            os.setgroups([])
            os.setresgid(NOBODY, NOBODY, NOBODY)
            os.setresuid(NOBODY, NOBODY, NOBODY)
            status = _run_into(send, body)
        finally:
            os._exit(status)
    os.close(send)
    with os.fdopen(receive, "rb") as stream:
        said = stream.read().decode("utf-8", "replace")
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]), said


def _run_into(fd: int, body: Callable[[], int]) -> int:
    """`body` with sys.stdout and sys.stderr going to the descriptor."""
    with (
        os.fdopen(fd, "w", encoding="utf-8") as stream,
        contextlib.redirect_stdout(stream),
        contextlib.redirect_stderr(stream),
    ):
        return body()

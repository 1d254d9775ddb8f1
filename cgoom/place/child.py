"""What runs between the start of the new process and CMD: nothing of the launcher may leak into CMD."""

from __future__ import annotations

import errno
import os
import sys

from cgoom.errors import CgoomError, NotPermittedError
from cgoom.frozen import Frozen
from cgoom.kernel.proc import read_oom_score_adj, write_oom_score_adj
from cgoom.place.request import STATUS_FAILED, STATUS_NOT_EXECUTABLE, STATUS_NOT_FOUND, ExecError, LaunchRequest
from cgoom.place.signals import CallerSignals, restore_signals

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from typing import NoReturn

# Bytes; an errno or one line of text, so that the one write is atomic (PIPE_BUF is 4096).
_REPORT_SIZE = 1024
# Where to look when there is no PATH, as in execvp(3) of glibc.
_PATH_DEFAULT = b"/bin:/usr/bin"
# With what execvp(3) of glibc goes on to the next directory; after anything else there was the file, and it is the one.
# ENAMETOOLONG instead of the lengths that it compares.
_PASSED_OVER = frozenset(
    {errno.EACCES, errno.ENOENT, errno.ENOTDIR, errno.ESTALE, errno.ENODEV, errno.ETIMEDOUT, errno.ENAMETOOLONG}
)


class Gate(Frozen):
    """A pipe that keeps the child waiting until its cgroup is ready. A launcher that dies opens it with EOF."""

    read_fd: int
    write_fd: int


def run_child(request: LaunchRequest, caller: CallerSignals, report_fd: int, gate: Gate | None = None) -> NoReturn:
    """Become CMD. Every failure goes to `report_fd`; without one, CMD's exec closes it."""
    try:
        if gate is not None:
            os.close(gate.write_fd)  # or our own copy would keep the EOF away
            if not os.read(gate.read_fd, 1):
                os._exit(STATUS_FAILED)
        execute_command(request.argv, caller)
    except OSError as error:
        os.write(report_fd, str(error.errno).encode())
    except BaseException as error:  # noqa: BLE001 - nothing may return into the launcher's own frames
        os.write(report_fd, f"{type(error).__name__}: {error}".encode(errors="backslashreplace")[:_REPORT_SIZE])
    finally:
        os._exit(STATUS_FAILED)


def read_report(report_fd: int, argv: Sequence[str]) -> CgoomError | None:
    """Why CMD was not executed; None when it was. Call it after the child has ended, or it waits."""
    report = os.read(report_fd, _REPORT_SIZE).decode(errors="replace")
    if not report:
        return None
    if not report.isdecimal():
        return CgoomError(f"before {argv[0]}: {report}", "this is a bug in cgoom, please report it")
    return make_exec_error(int(report), argv)


def make_exec_error(code: int, argv: Sequence[str]) -> ExecError:
    """The error for an execve(2) that failed with the errno `code`."""
    error = ExecError(f"{argv[0]}: {os.strerror(code)}")
    error.status = STATUS_NOT_FOUND if code == errno.ENOENT else STATUS_NOT_EXECUTABLE
    return error


def write_score(request: LaunchRequest) -> int | None:
    """Set our own oom_score_adj, which CMD inherits; where the kernel refuses, one warning on stderr.

    Before the process is in its cgroup: the daemon may raise the scores there, and would be written over. Returns what
    it was, for `put_back_score`; None where it stays.
    """
    wanted = request.oom_score_adj()
    pid = os.getpid()
    try:
        current = read_oom_score_adj(pid)
        try:
            write_oom_score_adj(pid, wanted)
        except NotPermittedError:
            _write_warning(f"oom_score_adj stays {current} instead of {wanted}: to lower it takes CAP_SYS_RESOURCE")
            return None
    except CgoomError as error:
        _write_warning(f"oom_score_adj is not {wanted}: {error.message}")
        return None
    return current


def put_back_score(score: int | None) -> None:
    """Our own oom_score_adj as it was before `write_score`, which the kernel never refuses to who set it."""
    if score is None:
        return
    try:
        write_oom_score_adj(os.getpid(), score)
    except CgoomError as error:
        _write_warning(f"oom_score_adj of the launcher is not {score} again: {error.message}")


def execute_command(argv: Sequence[str], caller: CallerSignals) -> NoReturn:
    """Give the signals back and execute CMD, looked up in PATH. Raises OSError."""
    environ = read_environ()
    restore_signals(caller)
    if not argv[0]:
        # execvp("") is ENOENT; os.execvpe would find the directories of PATH.
        raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT))
    refused: OSError | None = None
    for path in list_paths(argv[0], environ):
        try:
            os.execve(path, list(argv), environ)  # noqa: S606 - no shell is the point
        except OSError as error:
            if error.errno not in _PASSED_OVER:
                raise
            if refused is None or error.errno == errno.EACCES:  # what may not be executed tells more
                refused = error
    assert refused is not None
    raise refused


def list_paths(command: str, environ: Mapping[bytes, bytes]) -> list[bytes]:
    """The files that execvp(3) tries for `command`, in its order.

    Not os.execvpe, which imports `warnings` to look for PATH: measured, 35 ms of a launch of 500 in an emulated guest.
    """
    encoded = os.fsencode(command)
    if b"/" in encoded:
        return [encoded]
    return [os.path.join(directory, encoded) for directory in environ.get(b"PATH", _PATH_DEFAULT).split(b":")]


def read_environ() -> dict[bytes, bytes]:
    """The environment that we were started with.

    Not os.environb: in the C locale, Python adds LC_CTYPE to it (PEP 538), which CMD must not see.
    """
    try:
        with open("/proc/self/environ", "rb") as file:
            block = file.read()
    except OSError:  # /proc is hidden from us: then as Python has it
        return dict(os.environb)
    environ: dict[bytes, bytes] = {}
    for entry in block.split(b"\0"):
        name, equals, value = entry.partition(b"=")
        if name and equals:
            environ.setdefault(name, value)  # of two, getenv(3) finds the first
    return environ


def _write_warning(text: str) -> None:
    if sys.stderr is None:  # fd 2 was closed when we started, and may be anything by now
        return
    try:
        sys.stderr.write(f"cgoom: warning: {text}\n")
        sys.stderr.flush()
    except OSError:
        pass

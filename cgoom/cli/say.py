"""What is said on stderr: notes, and an error as one line and a hint. Without click: a launch does without."""

from __future__ import annotations

import os
import sys

from cgoom.errors import CgoomError
from cgoom.frozen import Frozen
from cgoom.place.request import STATUS_FAILED, ExecError
from cgoom.record.text import escape_text

# EX_SOFTWARE of sysexits.h: a fault of cgoom itself.
STATUS_INTERNAL = 70
# 128 + signo, what a shell reports for SIGINT.
STATUS_INTERRUPTED = 130


class Report(Frozen):
    """What an error says and the exit status that it ends with."""

    message: str
    hint: str
    status: int


def report_of(error: Exception) -> Report:
    """The report of an error of ours, or of a bug."""
    if isinstance(error, CgoomError):
        return Report(error.message, error.hint, error.status)
    return Report(
        f"internal: {type(error).__name__}: {error}",
        "this is a bug in cgoom: please report it with what CGOOM_DEBUG=1 adds",
        STATUS_INTERNAL,
    )


def end_with(error: Exception, report: Report) -> int:
    """Say the report, with CGOOM_DEBUG the traceback of `error` before it; the exit status."""
    if os.environ.get("CGOOM_DEBUG"):
        import traceback  # noqa: PLC0415 - for a bug only

        write_note("".join(traceback.format_exception(error)).rstrip())
    write_note(render_report(report))
    return report.status


def end_launch(error: Exception) -> int:
    """Say why a launch failed; the exit status. What is not about executing CMD ends with STATUS_FAILED."""
    if isinstance(error, CgoomError) and not isinstance(error, ExecError):
        error.status = STATUS_FAILED
    return end_with(error, report_of(error))


def render_report(report: Report) -> str:
    """One or two lines; whatever the user or the kernel put into the text is escaped."""
    lines = [f"cgoom: error: {escape_text(report.message)}"]
    if report.hint:
        lines.append(f"hint: {escape_text(report.hint)}")
    return "\n".join(lines)


def write_note(text: str) -> None:
    """One or more lines on stderr, escaped by the caller. A closed or broken stderr loses them, never the command."""
    if sys.stderr is None:  # fd 2 was closed before Python started
        return
    try:
        sys.stderr.write(f"{text}\n")
        sys.stderr.flush()
    except OSError:
        discard(sys.stderr.fileno())


def discard(fd: int) -> None:
    """Point `fd` at /dev/null: what is still buffered must not fail a second time when Python flushes it at exit."""
    null = os.open(os.devnull, os.O_WRONLY | os.O_CLOEXEC)
    os.dup2(null, fd)
    os.close(null)

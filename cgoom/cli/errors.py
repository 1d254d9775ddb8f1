"""Where every command ends: the only place that turns an exception into words on stderr and an exit status.

An error is one line `cgoom: error: what` and, where there is a remedy, one line `hint: remedy`. Never a traceback,
unless CGOOM_DEBUG is set; never the help text. Exit statuses beyond those of `cgoom/errors.py`: 70, 130 and 141 below.
"""

from __future__ import annotations

import errno
import os
import sys
import traceback
from collections.abc import Callable
from dataclasses import dataclass

import click

from cgoom.errors import CgoomError, KernelError
from cgoom.record.text import escape_text

# EX_SOFTWARE of sysexits.h: a fault of cgoom itself.
STATUS_INTERNAL = 70
# 128 + signo, what a shell reports for SIGINT and SIGPIPE.
STATUS_INTERRUPTED = 130
STATUS_BROKEN_PIPE = 141
# What a write to stdout may answer besides EPIPE. All other system calls are the business of cgoom/kernel/.
_STDOUT_FULL = frozenset({errno.ENOSPC, errno.EIO, errno.EDQUOT})


@dataclass(frozen=True, slots=True)
class Report:
    """What an error says and the exit status that it ends with."""

    message: str
    hint: str
    status: int


def report_of(error: Exception) -> Report:
    """The report of any exception that a command may end with."""
    if isinstance(error, CgoomError):
        return Report(error.message, error.hint, error.status)
    if isinstance(error, click.ClickException):
        return _usage_report(error)
    if isinstance(error, OSError) and error.filename is None and error.errno in _STDOUT_FULL:
        return Report(f"standard output: {error.strerror}", "", KernelError.status)
    return Report(
        f"internal: {type(error).__name__}: {error}",
        "this is a bug in cgoom: please report it with what CGOOM_DEBUG=1 adds",
        STATUS_INTERNAL,
    )


def _usage_report(error: click.ClickException) -> Report:
    """click's message in our style: no capital, no full stop, the suggestion in the hint."""
    context = error.ctx if isinstance(error, click.UsageError) else None
    command = context.command_path if context is not None else "cgoom"
    message = error.format_message()
    hint = f"see `{command} --help`"
    if isinstance(error, click.NoSuchOption):
        message = f"no such option: {error.option_name}"
        if error.possibilities:
            hint = f"did you mean {' or '.join(error.possibilities)}?"
    return Report(message[:1].lower() + message[1:].removesuffix("."), hint, error.exit_code)


def render_report(report: Report) -> str:
    """One or two lines; whatever the user or the kernel put into the text is escaped."""
    lines = [f"cgoom: error: {escape_text(report.message)}"]
    if report.hint:
        lines.append(f"hint: {escape_text(report.hint)}")
    return "\n".join(lines)


def write_note(text: str) -> None:
    """One or more lines on stderr, escaped by the caller. A closed or broken stderr loses them, never the command."""
    try:
        click.echo(text, err=True)
    except OSError:
        _discard(sys.stderr.fileno())


def write_out(text: str, newline: bool = True) -> None:
    """One block of text on stdout, flushed. Raises KernelError when stdout is closed, OSError when it takes no more."""
    if sys.stdout is None:  # fd 1 was closed before Python started
        raise KernelError("standard output is closed", "redirect it to a file or to a terminal")
    click.echo(text, nl=newline)


def _discard(fd: int) -> None:
    """Point `fd` at /dev/null: what is still buffered must not fail a second time when Python flushes it at exit."""
    null = os.open(os.devnull, os.O_WRONLY | os.O_CLOEXEC)
    os.dup2(null, fd)
    os.close(null)


def run(body: Callable[[], int]) -> int:
    """The exit status of `body`, or of the error that it ended with, said on stderr. Raises only SystemExit."""
    try:
        return body()
    except click.exceptions.Exit as end:
        return end.exit_code
    except (KeyboardInterrupt, click.Abort):
        return STATUS_INTERRUPTED
    except BrokenPipeError:
        if sys.stdout is not None:
            _discard(sys.stdout.fileno())
        return STATUS_BROKEN_PIPE
    except Exception as error:  # noqa: BLE001 - the last line of defence: a user never sees a traceback unasked
        if os.environ.get("CGOOM_DEBUG"):
            write_note(traceback.format_exc().rstrip())
        report = report_of(error)
        write_note(render_report(report))
        return report.status

"""Where every command ends: the only place that turns an exception into words on stderr and an exit status.

An error is one line `cgoom: error: what` and, where there is a remedy, one line `hint: remedy`. Never a traceback,
unless CGOOM_DEBUG is set; never the help text. Exit statuses beyond those of `cgoom/errors.py`: 70, 130 and 141 below.
"""

from __future__ import annotations

import errno
import sys
from collections.abc import Callable

import click

from cgoom.cli import say
from cgoom.cli.say import STATUS_INTERNAL, STATUS_INTERRUPTED, Report, discard, end_with, render_report, write_note
from cgoom.errors import KernelError

__all__ = ["STATUS_INTERNAL", "Report", "render_report", "report_of", "run", "write_note", "write_out"]

# 128 + signo, what a shell reports for SIGPIPE.
STATUS_BROKEN_PIPE = 141
# What a write to stdout may answer besides EPIPE. All other system calls are the business of cgoom/kernel/.
_STDOUT_FULL = frozenset({errno.ENOSPC, errno.EIO, errno.EDQUOT})


def report_of(error: Exception) -> Report:
    """The report of any exception that a command may end with."""
    if isinstance(error, click.ClickException):
        return _usage_report(error)
    if isinstance(error, OSError) and error.filename is None and error.errno in _STDOUT_FULL:
        return Report(f"standard output: {error.strerror}", "", KernelError.status)
    return say.report_of(error)


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


def write_out(text: str, newline: bool = True) -> None:
    """One block of text on stdout, flushed. Raises KernelError when stdout is closed, OSError when it takes no more."""
    if sys.stdout is None:  # fd 1 was closed before Python started
        raise KernelError("standard output is closed", "redirect it to a file or to a terminal")
    click.echo(text, nl=newline)


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
            discard(sys.stdout.fileno())
        return STATUS_BROKEN_PIPE
    except Exception as error:  # noqa: BLE001 - the last line of defence: a user never sees a traceback unasked
        return end_with(error, report_of(error))

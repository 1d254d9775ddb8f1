"""What the daemon says: one line at a time to stderr, which must never stop it.

A reader may be gone, stuck or stopped; then lines are lost and counted, and the next one that gets through tells it.
"""

from __future__ import annotations

import os
import select
import stat
from collections.abc import Mapping
from enum import IntEnum

from cgoom.record.text import clip_bytes, escape_text

# Bytes of one line with its newline; chosen: far below PIPE_BUF (4096), so a pipe that polls writable takes it whole.
LINE_LIMIT_BYTES = 2048


class Severity(IntEnum):
    """syslog(3) numbers, as sd-daemon(3) wants them at the start of a line."""

    ERR = 3
    WARNING = 4
    NOTICE = 5
    INFO = 6


class Journal:
    """Lines to `fd`: `<5>text` where that is the stream of systemd's journal (JOURNAL_STREAM), else `cgoom: text`.

    `dropped`: lines lost since the last one that got through.
    """

    def __init__(self, fd: int = 2, environ: Mapping[str, str] = os.environ) -> None:
        self.dropped = 0
        self._to_journald = False
        self._fd: int | None = None
        try:
            found = os.fstat(fd)
        except OSError:
            # Closed from the start. The number will be some other file's one day, so it is never written to.
            return
        self._to_journald = environ.get("JOURNAL_STREAM", "") == f"{found.st_dev}:{found.st_ino}"
        self._fd = _open_terminal(fd) if stat.S_ISCHR(found.st_mode) else fd

    def write(self, severity: Severity, text: str) -> bool:
        """One line, one write(2); False: it was lost. Never raises, never waits."""
        line = self._render(severity, text)
        written = self._fd is not None and _write_now(self._fd, line)
        self.dropped = 0 if written else self.dropped + 1
        return written

    def _render(self, severity: Severity, text: str) -> bytes:
        prefix = f"<{severity.value}>" if self._to_journald else "cgoom: "
        suffix = f" ({self.dropped} lines before this one were lost)\n" if self.dropped else "\n"
        # Cut before escaping too: what is longer than the limit cannot fit, and a text may be huge.
        head = prefix + escape_text(text[:LINE_LIMIT_BYTES])
        return clip_bytes(head, LINE_LIMIT_BYTES - len(suffix)) + suffix.encode("ascii")


def _open_terminal(fd: int) -> int:
    """A non-blocking fd of the terminal behind `fd`: one that polls writable may yet stop in the middle of a line.

    O_NONBLOCK belongs to the open file, which the user's shell shares, so it takes an open file of our own.
    """
    try:
        return os.open(f"/proc/self/fd/{fd}", os.O_WRONLY | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC)
    except OSError:
        return fd


def _write_now(fd: int, line: bytes) -> bool:
    poll = select.poll()
    poll.register(fd, select.POLLOUT)
    try:
        if [events for _, events in poll.poll(0)] != [select.POLLOUT]:
            return False
        return os.write(fd, line) == len(line)
    except OSError:
        return False

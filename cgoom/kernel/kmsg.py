"""/dev/kmsg: what the kernel says, one record for each read."""

from __future__ import annotations

import os
from typing import NamedTuple

from cgoom.kernel.fault import kernel_errors
from cgoom.kernel.text import make_format_error, parse_count

_PATH = "/dev/kmsg"
# Bytes; a record that does not fit is EINVAL. CONSOLE_EXT_LOG_MAX of the kernel is 8192.
_SIZE = 8192


class LogLine(NamedTuple):
    """One message. `t_usec`: the kernel's own clock, as dmesg shows it."""

    t_usec: int
    text: str


class KernelLog:
    """The kernel's log from now on."""

    __slots__ = ("_fd",)

    def __init__(self) -> None:
        """Go to its end. Raises GoneError, NotPermittedError, KernelError."""
        with kernel_errors(_PATH):
            self._fd = os.open(_PATH, os.O_RDONLY | os.O_NONBLOCK)
            os.lseek(self._fd, 0, os.SEEK_END)

    def read_lines(self) -> list[LogLine]:
        """Everything that is new, without waiting. Raises KernelError, FormatError."""
        lines = []
        with kernel_errors(_PATH):
            while True:
                try:
                    lines.append(parse_kmsg(os.read(self._fd, _SIZE)))
                except BlockingIOError:
                    return lines
                except BrokenPipeError:  # the ring overwrote what was not read yet; the next read goes on behind it
                    continue

    def close(self) -> None:
        """Let go of it."""
        os.close(self._fd)


def parse_kmsg(record: bytes) -> LogLine:
    r"""`6,1234,5678901,-;the text\n KEY=value\n`: prefix and text; keys and fields to come do not matter.

    Raises FormatError.
    """
    prefix, semicolon, rest = record.partition(b";")
    fields = prefix.split(b",")
    if not semicolon or len(fields) < 4:
        raise make_format_error(_PATH, record)
    return LogLine(parse_count(fields[2], _PATH, record), rest.partition(b"\n")[0].decode("utf-8", "backslashreplace"))

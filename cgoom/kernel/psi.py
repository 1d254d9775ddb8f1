"""PSI: time lost to a lack of memory, and triggers that wake us when it grows."""

from __future__ import annotations

import errno
import os
import re
from dataclasses import dataclass

from cgoom.errors import NotPermittedError
from cgoom.kernel.capability import read_effective
from cgoom.kernel.fault import kernel_errors
from cgoom.kernel.text import make_format_error, read_file

_LINE = re.compile(
    r"(some|full) avg10=([0-9]{1,3}\.[0-9]{2}) avg60=([0-9]{1,3}\.[0-9]{2}) avg300=([0-9]{1,3}\.[0-9]{2})"
    r" total=([0-9]{1,20})",
    re.ASCII,
)
# Microseconds; kernel/sched/psi.c: averages are computed every 2 s, and unprivileged windows must be multiples of that.
_UNPRIVILEGED_WINDOW_USEC = 2_000_000


@dataclass(frozen=True, slots=True)
class PressureLine:
    """Share of time lost over the last 10, 60 and 300 seconds in percent, and all time lost in microseconds."""

    avg10_pct: float
    avg60_pct: float
    avg300_pct: float
    total_usec: int


@dataclass(frozen=True, slots=True)
class Pressure:
    """`some`: at least one task waited; `full`: all did (None where the kernel has no such line)."""

    some: PressureLine
    full: PressureLine | None


def read_pressure(path: str) -> Pressure:
    """The pressure that a file such as /proc/pressure/memory tells.

    Raises GoneError, KernelError (EOPNOTSUPP: the kernel runs with psi=0), FormatError.
    """
    return parse_pressure(read_file(path).decode("utf-8", "replace"), path)


def parse_pressure(text: str, what: str = "pressure") -> Pressure:
    """The text of a pressure file, whose name for errors is `what`. Raises FormatError."""
    lines = {}
    for line in text.splitlines():
        found = _LINE.fullmatch(line)
        if found is None or found[1] in lines:
            raise make_format_error(what, line.encode("utf-8", "replace"))
        lines[found[1]] = PressureLine(float(found[2]), float(found[3]), float(found[4]), int(found[5]))
    if "some" not in lines:
        raise make_format_error(what, text.encode("utf-8", "replace"))
    return Pressure(lines["some"], lines.get("full"))


def arm_trigger(path: str, kind: str, stall_usec: int, window_usec: int) -> int:
    """A descriptor that polls POLLPRI when `kind` (some, full) exceeds `stall_usec` in a window of `window_usec`.

    At most once for each window. POLLERR means that the cgroup was removed. Raises GoneError, NotPermittedError,
    KernelError (EINVAL: a window beyond 10 s, or below the 500 ms that Linux before 6.12 asks for).
    """
    with kernel_errors(path):
        fd = os.open(path, os.O_RDWR | os.O_NONBLOCK)
        try:
            # The kernel overwrites the last byte with NUL; without one of ours it would cut a digit.
            os.write(fd, f"{kind} {stall_usec} {window_usec}\0".encode())
        except OSError as error:
            os.close(fd)
            if error.errno == errno.EINVAL and _needs_privilege(window_usec):
                hint = "run it with CAP_SYS_RESOURCE, or use a window that is a multiple of 2 s"
                raise NotPermittedError(f"{path}: a window of {window_usec} us is not allowed", hint) from error
            raise
    return fd


def _needs_privilege(window_usec: int) -> bool:
    return window_usec % _UNPRIVILEGED_WINDOW_USEC != 0 and "CAP_SYS_RESOURCE" not in read_effective()

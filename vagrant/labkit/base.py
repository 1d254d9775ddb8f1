"""What every part of the lab shares: its words for failure, its cache, its way of talking."""

from __future__ import annotations

import contextlib
import fcntl
import os
import sys
import time
from collections.abc import Iterator
from pathlib import Path

STATUS_LAB_ERROR = 96
STATUS_GUEST_LOST = 97
STATUS_KERNEL_COMPLAINED = 98

CHECKOUT = Path(__file__).resolve().parents[2]
VAGRANT = CHECKOUT / "vagrant"

KERNELS = ("6.1", "6.12")
DEFAULT_KERNEL = "6.1"


class LabError(Exception):
    """The lab itself failed: nothing is known about what was to be tried."""

    status = STATUS_LAB_ERROR

    def __init__(self, message: str, hint: str | None = None) -> None:
        """Say what failed and, when there is one, the remedy."""
        super().__init__(message)
        self.hint = hint


class GuestLostError(LabError):
    """The guest vanished or ran out of time."""

    status = STATUS_GUEST_LOST


def say(message: str) -> None:
    """Write one line about the lab itself; stdout belongs to the command."""
    print(f"lab: {message}", file=sys.stderr, flush=True)


def cache_dir(name: str = "") -> Path:
    """Return the lab's cache or a directory of it, created when missing."""
    root = os.environ.get("CGOOM_LAB_CACHE")
    path = (Path(root).absolute() if root else Path.home() / ".cache/cgoom/lab") / name
    path.mkdir(parents=True, exist_ok=True)
    return path


@contextlib.contextmanager
def locked(path: Path, waiting: str | None = None) -> Iterator[None]:
    """Hold an exclusive lock on a file; say `waiting` when somebody else holds it."""
    with path.open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if waiting:
                say(waiting)
            fcntl.flock(file, fcntl.LOCK_EX)
        yield


def prune(paths: list[Path], keep: int) -> list[Path]:
    """Return the oldest of `paths`, all but the `keep` newest, for the caller to remove."""

    def age(path: Path) -> float:
        try:
            return path.stat().st_mtime
        except FileNotFoundError:  # another lab pruned it first
            return 0.0

    return sorted(paths, key=age, reverse=True)[keep:]


class Deadline:
    """A time limit that starts now."""

    def __init__(self, seconds: float, what: str = "command") -> None:
        """Allow `seconds` from now on for `what`."""
        self.what = what
        self.limit_seconds = seconds
        self._end = time.monotonic() + seconds

    def left(self) -> float:
        """Return the seconds left, never negative."""
        return max(0.0, self._end - time.monotonic())

"""A starting line: commands wait at it and begin together."""

from __future__ import annotations

import fcntl
import os
from pathlib import Path
from typing import Protocol


class Stage(Protocol):
    """Whoever has a directory for the lock."""

    directory: Path


class Gate:
    """A locked file; `behind(command)` waits for the lock, `open()` lets everybody go, those who come later too."""

    def __init__(self, stage: Stage) -> None:
        self._path = stage.directory / "gate"
        self._fd = os.open(self._path, os.O_RDONLY | os.O_CREAT | os.O_CLOEXEC, 0o600)
        fcntl.flock(self._fd, fcntl.LOCK_EX)

    def behind(self, command: list[str]) -> list[str]:
        """The command, to be executed when the gate opens."""
        return ["sh", "-c", f'flock --shared {self._path} true; exec "$@"', "sh", *command]

    def open(self) -> None:
        """Let everybody go."""
        os.close(self._fd)


def read_own_kib(name: str) -> int:
    """One field of this guest's /proc/meminfo, in KiB."""
    lines = Path("/proc/meminfo").read_text(encoding="ascii").splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(f"{name}:"))

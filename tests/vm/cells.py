"""Cgroups with a command in each, made by hand: what the module does, it does without any part of cgoom."""

from __future__ import annotations

import contextlib
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

from tests.support.scene import find_cgroup2, is_populated, remove_tree
from tests.support.wait import wait_until
from tests.vm.gate import read_own_kib

# Seconds; a full guest has to find a victim first.
LIMIT = 120.0
MIB = 1 << 20


class Cell:
    """One cgroup and the command that runs in it, as root with a score of its own."""

    def __init__(self, path: Path, command: list[str], score: int) -> None:
        path.mkdir(parents=True)
        self.path = path
        self.cgroup_id = path.stat().st_ino
        script = f'echo 0 >{path}/cgroup.procs; echo {score} >/proc/self/oom_score_adj; exec "$@"'
        self.running = subprocess.Popen(["sh", "-c", script, "sh", *command], start_new_session=True)

    def is_alive(self) -> bool:
        """Whether its command runs."""
        return self.running.poll() is None

    def was_killed(self) -> bool:
        """Whether SIGKILL ended its command."""
        return self.running.poll() == -signal.SIGKILL

    def rss_mib(self) -> float:
        """What its command has of memory."""
        with contextlib.suppress(FileNotFoundError, ProcessLookupError):
            pages = int(Path(f"/proc/{self.running.pid}/statm").read_text(encoding="ascii").split()[1])
            return pages * 4096 / MIB
        return 0.0

    def wait_for_rss(self, mib: float) -> None:
        """Until it has so much."""
        wait_until(lambda: self.rss_mib() >= mib or not self.is_alive(), LIMIT, f"{self.path.name} to take {mib} MiB")

    def count(self) -> int:
        """Processes in it."""
        return len((self.path / "cgroup.procs").read_text(encoding="ascii").split())

    def write(self, name: str, text: str) -> None:
        """Write one of its files."""
        (self.path / name).write_text(text, encoding="ascii")

    def end(self) -> None:
        """Nobody is left in it, and it is gone."""
        with contextlib.suppress(FileNotFoundError):
            self.write("cgroup.freeze", "0")
            self.write("cgroup.kill", "1")
        self.running.wait(LIMIT)
        wait_until(lambda: not is_populated(self.path), LIMIT, f"{self.path.name} to be empty")
        remove_tree(self.path)


class Cells:
    """All cells of a test."""

    def __init__(self) -> None:
        self.top = find_cgroup2() / "cells.slice"
        self._cells: list[Cell] = []

    def add(self, name: str, command: list[str], score: int = 0) -> Cell:
        """Run a command in a cell; `a/b` is a cell in a cell."""
        cell = Cell(self.top / name, command, score)
        self._cells.append(cell)
        wait_until(lambda: is_populated(cell.path) or not cell.is_alive(), LIMIT, f"{name} to run")
        return cell

    def close(self) -> None:
        """End all of them, the innermost first."""
        for cell in sorted(self._cells, key=lambda cell: -len(cell.path.parts)):
            cell.end()
        remove_tree(self.top)


@contextlib.contextmanager
def make_cells() -> Iterator[Cells]:
    """Cells, and none of them afterwards."""
    cells = Cells()
    try:
        yield cells
    finally:
        cells.close()


def available_mib() -> int:
    """What can be taken without anybody dying, about."""
    return read_own_kib("MemAvailable") // 1024

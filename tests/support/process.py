"""What /proc tells of a process that cgoom itself never asks."""

from __future__ import annotations

from pathlib import Path


def read_switches(pid: int) -> int:
    """How often the process, or the thread of that number, went to sleep by itself."""
    return _read_status(pid, "voluntary_ctxt_switches")


def read_rss_anon_kib(pid: int) -> int:
    """Anonymous memory in KiB."""
    return _read_status(pid, "RssAnon")


def read_cpu_sec(pid: int) -> float:
    """Seconds of CPU that a process has used, from the scheduler's own nanosecond count."""
    fields = Path(f"/proc/{pid}/schedstat").read_text(encoding="ascii").split()
    return int(fields[0]) / 1e9


def _read_status(pid: int, name: str) -> int:
    lines = Path(f"/proc/{pid}/status").read_text(encoding="utf-8", errors="replace").splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(f"{name}:"))

"""What a test wants to know of the parent of a launch."""

from __future__ import annotations

from pathlib import Path

from cgoom.kernel.proc import read_stat

# Bytes; what the parent of a launch may have for itself.
PRIVATE_MOST_BYTES = 4 << 20


def is_waiting(pid: int) -> bool:
    """Whether the launcher has become the waiter (it calls itself so when all is loaded) and sleeps."""
    is_replaced = b"-I\0-S\0" in Path(f"/proc/{pid}/cmdline").read_bytes()
    stat = read_stat(pid)
    return is_replaced and (stat.comm, stat.state) == ("cgoom", "S")


def read_private_bytes(pid: int) -> int:
    """Anonymous memory: what no other process shares, whoever else runs the same interpreter at the moment."""
    for line in Path(f"/proc/{pid}/smaps_rollup").read_text(encoding="ascii").splitlines():
        if line.startswith("Anonymous:"):
            return int(line.split()[1]) * 1024
    raise AssertionError(f"no Anonymous in smaps_rollup of {pid}")

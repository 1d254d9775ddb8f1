"""`python -m cgoom.cli.hog MIB_PER_S LIMIT_MIB`: the demo's workload. Takes memory at a rate, ignores SIGTERM."""

from __future__ import annotations

import mmap
import signal
import sys
import time

# Steps per second; chosen: fine enough for a smooth curve, coarse enough for an interpreter.
STEPS_PER_SEC = 20
_MIB = 1 << 20


def take_memory(rate_mib: int, limit_mib: int) -> None:
    """Touch `rate_mib` MiB each second up to `limit_mib`, then hold them until killed."""
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    held: list[mmap.mmap] = []
    step_bytes = max(mmap.PAGESIZE, rate_mib * _MIB // STEPS_PER_SEC)
    due = time.monotonic()
    while len(held) * step_bytes < limit_mib * _MIB:
        area = mmap.mmap(-1, step_bytes, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
        for page in range(0, step_bytes, mmap.PAGESIZE):
            area[page] = 1
        held.append(area)
        due += 1 / STEPS_PER_SEC
        time.sleep(max(0.0, due - time.monotonic()))
    signal.pause()


if __name__ == "__main__":
    take_memory(int(sys.argv[1]), int(sys.argv[2]))

"""How fast this host's memory can be filled: what the time between two samples has to reckon with."""

from __future__ import annotations

import mmap
import os
import time

# Bytes; chosen: large enough for a rate that huge pages and the per-CPU page lists do not dominate, small enough for a
# host that is short of memory already when the daemon starts.
PROBE_BYTES = 8 << 20
# Probes; the fastest counts, since a single one may have been preempted.
PROBES = 3
# madvise(2), since Linux 5.14: fault every page in, writable, in one call.
MADV_POPULATE_WRITE = 23
# Bytes per second; chosen where the probe cannot run: one core of a current machine zeroing pages.
FALLBACK_BYTES_PER_SEC = 4 << 30


def measure_fill_rate() -> int:
    """Bytes per second that half of the CPUs could fault in at once.

    Half, because the other half is what the system needs to notice; a probe is a lower bound anyway: it also pays for
    its system call.
    """
    fastest = 0
    for _ in range(PROBES):
        try:
            fastest = max(fastest, _probe())
        except OSError:
            return FALLBACK_BYTES_PER_SEC
    return fastest * max(1, (os.cpu_count() or 1) // 2)


def _probe() -> int:
    with mmap.mmap(-1, PROBE_BYTES, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS) as area:
        begun = time.monotonic_ns()
        area.madvise(MADV_POPULATE_WRITE)
        return PROBE_BYTES * 1_000_000_000 // max(1, time.monotonic_ns() - begun)

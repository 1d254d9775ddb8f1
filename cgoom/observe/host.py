"""How fast this host's memory can be filled: what the time between two samples has to reckon with."""

from __future__ import annotations

import mmap
import os
import time

# Bytes; chosen: large enough for a rate that huge pages and the per-CPU page lists do not dominate, small enough for a
# host that is short of memory already when the daemon starts.
PROBE_BYTES = 8 << 20
# Probes; chosen. The fastest counts, since time that was taken from a guest makes a single one slow.
PROBES = 3
# Bytes per second; chosen: less than any host's, an emulated guest of two CPUs was measured to have 600 MiB/s and more.
# Such time may be taken from all of them.
FILL_LEAST_BYTES_PER_SEC = 512 << 20


def measure_fill_rate() -> int:
    """Bytes per second that all CPUs could fill fresh memory with at once.

    Who fills memory writes to it, so the probe does too; the fault of each page is the larger part of its time. In an
    emulated guest of two CPUs two processes were measured to fill at 0.8 of this rate. A rate that is too low is found
    out too late; one that is too high costs samples.
    """
    fresh = bytes(PROBE_BYTES)
    return max(FILL_LEAST_BYTES_PER_SEC, max(_probe(fresh) for _ in range(PROBES)) * (os.cpu_count() or 1))


def _probe(fresh: bytes) -> int:
    with mmap.mmap(-1, PROBE_BYTES, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS) as area:
        begun = time.thread_time_ns()  # whom the scheduler sets aside fills memory no slower afterwards
        area.write(fresh)
        return PROBE_BYTES * 1_000_000_000 // max(1, time.thread_time_ns() - begun)

"""The one clock by which the daemon measures time."""

from __future__ import annotations

import time


def read_usec() -> int:
    """CLOCK_MONOTONIC in microseconds."""
    return time.monotonic_ns() // 1000

"""Sizes, percentages and times as people write them. Inside: bytes and microseconds, both integers."""

from __future__ import annotations

import re

from cgoom.errors import InputError

USEC_PER_MSEC = 1_000
USEC_PER_SEC = 1_000_000

_SIZE = re.compile(r"([0-9]{1,20})(?:\.([0-9]{1,9}))?\s*([KMGT]?)(?:i?B)?", re.ASCII | re.IGNORECASE)
_SHIFT = {"": 0, "K": 10, "M": 20, "G": 30, "T": 40}
_TIME = re.compile(r"([0-9]{1,12})(?:\.([0-9]{1,6}))?\s*(us|ms|s|min|m|h)", re.ASCII)
_USEC = {
    "us": 1,
    "ms": USEC_PER_MSEC,
    "s": USEC_PER_SEC,
    "m": 60 * USEC_PER_SEC,
    "min": 60 * USEC_PER_SEC,
    "h": 3600 * USEC_PER_SEC,
}
_PERCENT = re.compile(r"([0-9]{1,3}(?:\.[0-9]{1,6})?)\s*%", re.ASCII)
# Bytes; the largest value that cgroup control files take (PAGE_COUNTER_MAX pages, include/linux/page_counter.h).
SIZE_LIMIT_BYTES = 2**63 - 1
# Characters of a wrong value that an error repeats; chosen: what fits the line.
ECHO_LIMIT = 64


def parse_size(text: str) -> int:
    """`512M`, `1.5G`, `8K`, `4096`: bytes, powers of 1024. Raises InputError."""
    found = _SIZE.fullmatch(text.strip())
    if found is None:
        raise InputError(f"not a size: {text[:ECHO_LIMIT]!r}", "write a number with K, M, G or T, such as 512M")
    whole, fraction, suffix = found.group(1), found.group(2) or "", found.group(3).upper()
    divisor: int = 10 ** len(fraction)
    scaled = (int(whole + fraction) << _SHIFT[suffix]) // divisor
    if scaled > SIZE_LIMIT_BYTES:
        raise InputError(f"too large a size: {text[:ECHO_LIMIT]!r}", "the kernel counts at most 2^63-1 bytes")
    return scaled


def parse_time(text: str) -> int:
    """`500ms`, `10s`, `2min`, `1h`: microseconds. A bare number has no unit and is refused. Raises InputError."""
    found = _TIME.fullmatch(text.strip())
    if found is None:
        raise InputError(f"not a time: {text[:ECHO_LIMIT]!r}", "write a number with us, ms, s, min or h, such as 500ms")
    whole, fraction, suffix = found.group(1), found.group(2) or "", found.group(3)
    divisor: int = 10 ** len(fraction)
    return int(whole + fraction) * _USEC[suffix] // divisor


def parse_percent(text: str) -> float:
    """`5%`, `3.14 %`: a number from 0 to 100. Raises InputError."""
    found = _PERCENT.fullmatch(text.strip())
    value = float(found.group(1)) if found is not None else -1.0
    if not 0 <= value <= 100:
        raise InputError(f"not a percentage: {text[:ECHO_LIMIT]!r}", "write a number from 0% to 100%")
    return value


def render_size(size_bytes: int) -> str:
    """At most four digits and a unit: `0B`, `812K`, `96.3M`, `1.5G`."""
    value = float(size_bytes)
    for suffix in "BKMG":
        if abs(value) < 1000:
            return f"{value:.0f}{suffix}" if suffix in "BK" or value >= 100 else f"{value:.1f}{suffix}"
        value /= 1024
    return f"{value:.1f}T"


def render_time(usec: int) -> str:
    """`850us`, `12.3ms`, `4.05s`, `3min20s`."""
    if usec < USEC_PER_MSEC:
        return f"{usec}us"
    if usec < USEC_PER_SEC:
        return f"{usec / USEC_PER_MSEC:.1f}ms"
    if usec < 60 * USEC_PER_SEC:
        return f"{usec / USEC_PER_SEC:.2f}s"
    return f"{usec // (60 * USEC_PER_SEC)}min{usec // USEC_PER_SEC % 60}s"

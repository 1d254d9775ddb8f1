"""The values that options take, from text. What a launch always needs is here; sizes and times come from `units`."""

# ruff: noqa: PLC0415 - `units` has regular expressions, and compiling those costs a launch that needs none 6 ms

from __future__ import annotations

from cgoom.errors import InputError
from cgoom.names import PRIORITY_MOST, require_priority

# More digits than any number here has.
_DIGITS_MOST = 9


def parse_priority(text: str) -> int:
    """0..1000. Raises InputError."""
    if not _is_count(text):
        raise InputError(f"not a priority: {text!r}", f"0 is the most important, {PRIORITY_MOST} dies first")
    return require_priority(int(text))


def parse_limit_bytes(text: str) -> int:
    """A size above 0, in bytes. Raises InputError."""
    from cgoom.units import parse_size

    size_bytes = parse_size(text)
    if size_bytes == 0:
        raise InputError("a limit of nothing", "write a size above 0, such as 512M, or leave the option out")
    return size_bytes


def parse_grace(text: str) -> int:
    """A time with its unit, in microseconds. Raises InputError."""
    from cgoom.units import parse_time

    return parse_time(text)


def parse_cpu_weight(text: str) -> int:
    """The range of cpu.weight, Documentation/admin-guide/cgroup-v2.rst. Raises InputError."""
    return parse_count(text, 1, 10_000)


def parse_pids_max(text: str) -> int:
    """Up to PID_MAX_LIMIT of a 64-bit kernel; pids.max takes no more. Raises InputError."""
    return parse_count(text, 1, 4_194_304)


def parse_count(text: str, least: int, most: int) -> int:
    """A decimal number from `least` to `most`. Raises InputError."""
    value = int(text) if _is_count(text) else -1
    if not least <= value <= most:
        raise InputError(f"not a number from {least} to {most}: {text!r}", "write it in decimal digits")
    return value


def _is_count(text: str) -> bool:
    return len(text) <= _DIGITS_MOST and text.isascii() and text.isdigit()

"""The short name of a decision, as people type it into `cgoom history ID`."""

from __future__ import annotations

ID_DIGITS = 11  # hex digits; chosen: short enough to type, and 44 bits of microseconds come round once in 203 days
_MASK = (1 << 4 * ID_DIGITS) - 1
_SPREAD = 0x9E3779B97F4A7C15  # 2^64 / golden ratio, odd: spreads cgroup ids, which are small and consecutive


def make_record_id(time_usec: int, cgroup_id: int) -> str:
    """11 hex digits. Two decisions on one cgroup differ always (within 203 days), on two cgroups all but 1 in 2^44."""
    return f"{(time_usec ^ (cgroup_id * _SPREAD >> 20)) & _MASK:0{ID_DIGITS}x}"

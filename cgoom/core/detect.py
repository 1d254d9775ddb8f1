"""How short the host is: two thresholds down, one gap up.

A level is entered when MemAvailable and, on a host with swap, SwapFree are both at or below the threshold. It is left
when either of them has risen above the threshold by the gap between `warn` and `recover`.
"""

from __future__ import annotations

from cgoom.model import Amount, HostMemory, HostPolicy, Level, Threshold
from cgoom.units import render_size


def raw_level(host: HostPolicy, memory: HostMemory) -> Level:
    """The level of this sample alone, without hysteresis. Only this one may justify a kill."""
    if is_below(host.kill, memory):
        return Level.KILL
    return Level.WARN if is_below(host.warn, memory) else Level.OK


def detect(host: HostPolicy, previous: Level, memory: HostMemory) -> Level:
    """The level after `previous`, with hysteresis."""
    raw = raw_level(host, memory)
    if raw >= previous:
        return raw
    if previous == Level.KILL and is_below(host.kill, memory, *find_gap(host, memory)):
        return Level.KILL
    return Level.WARN if is_below(host.recover, memory) else raw


def is_below(threshold: Threshold, memory: HostMemory, mem_gap_bytes: int = 0, swap_gap_bytes: int = 0) -> bool:
    """Whether memory and swap are both at or below the threshold, raised by the gaps."""
    if memory.available_bytes > threshold.mem_available.of(memory.total_bytes) + mem_gap_bytes:
        return False
    if memory.swap_total_bytes == 0:
        return True
    return memory.swap_free_bytes <= threshold.swap_free.of(memory.swap_total_bytes) + swap_gap_bytes


def shortage(host: HostPolicy, level: Level, memory: HostMemory) -> str:
    """What is short at `level`, in one phrase: `MemAvailable 4.8% (48.1M) <= 5%, SwapFree 2.0% (10.2M) <= 5%`."""
    if level == Level.OK:
        return _part("MemAvailable", memory.available_bytes, memory.total_bytes)
    threshold = host.kill if level == Level.KILL else host.warn
    parts = [_part("MemAvailable", memory.available_bytes, memory.total_bytes, threshold.mem_available)]
    if memory.swap_total_bytes:
        parts.append(_part("SwapFree", memory.swap_free_bytes, memory.swap_total_bytes, threshold.swap_free))
    return ", ".join(parts)


def find_gap(host: HostPolicy, memory: HostMemory) -> tuple[int, int]:
    """Bytes of memory and of swap that have to be there beyond a threshold before its level is left."""

    def between(low: Amount, high: Amount, total_bytes: int) -> int:
        return max(0, high.of(total_bytes) - low.of(total_bytes))

    return (
        between(host.warn.mem_available, host.recover.mem_available, memory.total_bytes),
        between(host.warn.swap_free, host.recover.swap_free, memory.swap_total_bytes),
    )


def _part(name: str, part_bytes: int, total_bytes: int, limit: Amount | None = None) -> str:
    seen = f"{name} {100 * part_bytes / max(1, total_bytes):.1f}% ({render_size(part_bytes)})"
    if limit is None:
        return seen
    relation = "<=" if part_bytes <= limit.of(total_bytes) else ">"
    return f"{seen} {relation} {limit if limit.is_pct else render_size(int(limit.value))}"

"""When to look again: before the fastest plausible allocator can have reached the next threshold."""

from __future__ import annotations

from cgoom.core.detect import find_gap, raw_level
from cgoom.model import HostMemory, HostPolicy, Level, Threshold
from cgoom.units import USEC_PER_SEC

# Microseconds. The bounds of the contract: a sample costs some ten microseconds natively, so that 1 ms is affordable
# for the moments just before a threshold, and one wake-up a second is what an idle host may cost.
SHORTEST_USEC = 1_000
LONGEST_USEC = 1_000_000
# Microseconds; chosen. The host is short and nobody is left to kill: often enough to see it recover, rare enough to
# stay cheap. A new workload wakes the daemon by itself.
HELPLESS_USEC = 100_000
# Microseconds; chosen. Somebody dies, or the host cools down after that, and nobody else is killed. The victim's end
# wakes the daemon where its cgroup is watched, and the end of a cooldown has its own time; a recovery may be missed.
WAITING_USEC = 20_000
# Microseconds between two looks in a cooldown, at least; chosen: each of them is a whole turn of the daemon.
COOLING_LEAST_USEC = 5_000
# Times that what a look took has to pass before the next one, while the host is not short: looks that a timer asks for
# take a quarter of one processor. Chosen; it changes nothing where a look takes less than a third of SHORTEST_USEC
# (21 us were measured natively). Where it takes longer, the next one may be that much later than the rate asks for.
REST_TIMES = 3
# Microseconds; chosen. A look that was held up, or had thousands of launches to take, blinds the daemon no longer.
REST_LONGEST_USEC = 10_000


def next_sample_usec(host: HostPolicy, memory: HostMemory, fill_bytes_per_sec: int) -> int:
    """Microseconds until the next sample is due."""
    raw = raw_level(host, memory)
    if raw == Level.KILL:
        return HELPLESS_USEC
    distance_bytes = _distance(host.kill if raw == Level.WARN else host.warn, memory)
    return max(SHORTEST_USEC, min(LONGEST_USEC, distance_bytes * USEC_PER_SEC // max(1, fill_bytes_per_sec)))


def cooling_usec(host: HostPolicy, memory: HostMemory, fill_bytes_per_sec: int) -> int:
    """Microseconds between two looks while the host cools down, which a recovery ends.

    One that goes half the hysteresis beyond it is seen, if that cannot be taken again within COOLING_LEAST_USEC.
    """
    gap_bytes, swap_bytes = find_gap(host, memory)
    if host.kill.swap_free.of(memory.swap_total_bytes) < memory.swap_total_bytes:  # or swap never rises above it
        gap_bytes = min(gap_bytes, swap_bytes)
    return max(COOLING_LEAST_USEC, min(WAITING_USEC, gap_bytes // 2 * USEC_PER_SEC // max(1, fill_bytes_per_sec)))


def spare_usec(host: HostPolicy, memory: HostMemory, fill_bytes_per_sec: int) -> int:
    """Microseconds that a look at a host above the kill threshold may be late by.

    Until the fastest plausible allocator can have left no more than half of the memory that is there at the threshold:
    with that half the kernel does not have to act yet. Nor before the threshold is reached, which swap may be far from.
    """
    half_bytes = host.kill.mem_available.of(memory.total_bytes) // 2
    spare_bytes = max(memory.available_bytes - half_bytes, _distance(host.kill, memory))
    return spare_bytes * USEC_PER_SEC // max(1, fill_bytes_per_sec)


def rest_usec(took_usec: int) -> int:
    """Microseconds that others have this processor for after a look that took so many; at most REST_LONGEST_USEC."""
    return min(REST_LONGEST_USEC, REST_TIMES * took_usec)


def _distance(threshold: Threshold, memory: HostMemory) -> int:
    """Bytes that must at least be allocated before memory and swap are both at the threshold."""
    mem_bytes = memory.available_bytes - threshold.mem_available.of(memory.total_bytes)
    swap_bytes = 0
    if memory.swap_total_bytes:
        swap_bytes = memory.swap_free_bytes - threshold.swap_free.of(memory.swap_total_bytes)
    return max(0, mem_bytes, swap_bytes)

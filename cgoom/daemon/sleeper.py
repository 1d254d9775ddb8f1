"""The sleep between two turns: as an ordinary process, but for what is near on a busy host."""

from __future__ import annotations

from cgoom.core.pace import LONGEST_USEC
from cgoom.daemon.sources import Source, Sources
from cgoom.kernel.clock import read_usec
from cgoom.kernel.sched import Importance

# Microseconds; chosen: longer than others keep an ordinary process waiting that has the most weight, which was measured
# to be 8 ms in an emulated guest.
SLICE_USEC = 10_000
# Microseconds; chosen. A look further away than that is waited for as an ordinary process, and a slice less long,
# a second excepted: memory was measured to be filled at 0.8 of the rate that is reckoned with, so that 35 ms are left.
FAR_USEC = 100_000


class Sleeper:
    """Sleeps until the next look.

    Who is woken as a real-time process takes the processor that it slept on from whom it finds there, beside an idle
    one, too; an ordinary process is given the idle one. So it sleeps as the former only where the next look is near
    and where the last ordinary sleep showed that those are kept waiting.
    """

    def __init__(self, sources: Sources, importance: Importance) -> None:
        """A host is not busy until it shows: what a single late look costs is within what a far one may be late."""
        self._sources, self._importance = sources, importance
        self._is_near = True
        self._is_busy = False

    def plan(self, wake_at_usec: int, now_usec: int, *, is_waiting: bool) -> int:
        """When to wake up for a look that is due then: earlier where it is far, an ordinary process may be late.

        `is_waiting`: nobody can be killed then, be it late.
        """
        left_usec = wake_at_usec - now_usec
        self._is_near = left_usec <= FAR_USEC and not is_waiting
        return wake_at_usec - (SLICE_USEC if FAR_USEC < left_usec < LONGEST_USEC else 0)

    def lie_down(self) -> None:
        """Take the rank of the next sleep."""
        self._importance.take(ahead=self._is_near and self._is_busy)

    def sleep(self, until_usec: int) -> frozenset[Source]:
        """Until then, or until something happens: what it was."""
        begun_usec = read_usec()
        woken = self._sources.wait(until_usec - begun_usec)
        if not woken and self._importance.is_lowered:
            self._is_busy = read_usec() - max(until_usec, begun_usec) > SLICE_USEC
        return woken

"""The sleep between two turns: whom it ends before, when it is over; and whom the work between them comes before."""

from __future__ import annotations

from cgoom.core.pace import LONGEST_USEC
from cgoom.daemon.sources import NEVER_USEC, Source, Sources
from cgoom.kernel.clock import read_usec
from cgoom.kernel.sched import Importance

# Microseconds; chosen: longer than others keep an ordinary process waiting that has the most weight, which was measured
# to be 8 ms in an emulated guest.
SLICE_USEC = 10_000
# Microseconds; chosen. A look that far away is waited for as an ordinary process, however busy the host, and a slice
# less long, a second excepted: memory was measured to be filled at 0.8 of the rate that is reckoned with, so that 35 ms
# are left.
FAR_USEC = 100_000
# Microseconds; chosen: a tick of 4 ms, and the millisecond that a timeout is rounded up to. An ordinary process that
# was kept waiting for longer is on a busy host; what it waits less is what a kill may be late by on any.
LATE_USEC = 5_000
# An ordinary process may be woken up later by one part in so many of its timeout (select_estimate_accuracy in the
# kernel's fs/select.c).
SLACK_PARTS = 1_000
# Microseconds; chosen: on a host that stays busy beside the threshold, one look in a second may be late.
BUSY_USEC = 1_000_000


class Sleeper:
    """Sleeps until the next look.

    Who is woken as a real-time process takes the processor that it slept on from whom it finds there, beside an idle
    one, too; for an ordinary process the kernel looks for an idle one. So it sleeps as the former only where the next
    look is near, and only where an ordinary sleep has just ended late, or where none will tell, since the module ends
    it. Where a timer ends it and the look is far or nobody can be killed, it waits until a processor is given to it.
    """

    def __init__(self, sources: Sources, importance: Importance) -> None:
        """A host is not busy until that shows."""
        self._sources, self._importance = sources, importance
        self.is_near = False  # as of the last plan: the next look, if anybody can be killed at it
        self.spare_until_usec = 0  # as of the last look: until then a look is not too late
        self._until_usec = self._lain_usec = NEVER_USEC
        self._busy_until_usec, self._is_ordinary = 0, False  # the latter: as it lay down for a sleep that is not told

    def plan(self, wake_at_usec: int, now_usec: int, *, is_waiting: bool) -> int:
        """When to wake up for a look that is due then: earlier where it is far, an ordinary process may be late.

        `is_waiting`: nobody can be killed then, be it late.
        """
        left_usec = wake_at_usec - now_usec
        self.is_near = left_usec < FAR_USEC and not is_waiting
        return wake_at_usec - (SLICE_USEC if FAR_USEC <= left_usec < LONGEST_USEC else 0)

    def work(self, *, is_waiting: bool, is_early: bool, is_long: bool = False) -> None:
        """Take the rank of what is done until then: ahead of everybody only where the next look must not wait for it.

        `is_waiting`: nobody can be killed then, be it late. `is_early`: that is further away than such work takes.
        `is_long`: it makes the look late by itself, so that others have their share then even if the host is busy.
        """
        if is_waiting:
            self._importance.stand_back()
        elif is_early:
            self._importance.lower()
        elif self.has_spare(is_long=is_long):
            begun_usec = read_usec()
            self._importance.lower(is_patient=False)
            self._see(read_usec() - begun_usec)  # the kernel may choose somebody else right then
        else:
            self._importance.restore()

    def has_spare(self, *, is_long: bool = False) -> bool:
        """Whether a look may be late by a slice; on a busy host, which would make each of them so, it may not.

        Measured: ahead of everybody, turns beside a threshold that was not reached kept a probe waiting for 4 - 19 ms
        in an emulated guest.
        """
        now_usec = read_usec()
        return now_usec + SLICE_USEC < self.spare_until_usec and (is_long or now_usec >= self._busy_until_usec)

    def lie_down(self, wake_at_usec: int, *, is_watched: bool) -> None:
        """Take the rank of the next sleep, until the look at `wake_at_usec`; NEVER_USEC: that is left to the module.

        `is_watched`: the module ends it, at the threshold itself if need be.
        """
        self._lain_usec = read_usec()
        is_left_to_module = is_watched and wake_at_usec == NEVER_USEC
        if self.is_near and (is_left_to_module or self._lain_usec < self._busy_until_usec):
            self._importance.restore()
        else:
            self._importance.lower(is_patient=not (self.is_near or is_watched))

    def sleep(self, until_usec: int) -> list[Source]:
        """Until then, or until something happens: what it was."""
        self._until_usec, self._is_ordinary = until_usec, self._importance.is_lowered
        return self._sources.wait(until_usec - read_usec())

    def note_wake(self, now_usec: int) -> None:
        """The last sleep was over at that time. Whoever ended it: beyond its own end it was kept waiting."""
        if self._is_ordinary:
            self._is_ordinary = False  # told once
            due_usec = max(self._until_usec, self._lain_usec)
            self._see(now_usec - due_usec - (due_usec - self._lain_usec) // SLACK_PARTS)

    def _see(self, late_usec: int) -> None:
        """How late an ordinary process was: whether the host is busy."""
        if late_usec > LATE_USEC:
            self._busy_until_usec = read_usec() + BUSY_USEC

"""How the scheduler treats this process: ahead of everybody, or as an ordinary one with the most weight.

That weight counts within its scheduler group: its cgroup where the cpu controller is on, else its session (autogroup).
"""

from __future__ import annotations

import os
import time
from contextlib import suppress

# The lowest real-time priority, as lmkd's: ahead of every ordinary process, behind every other real-time one. A host
# full of hogs otherwise gives the daemon its fair share: beside eleven of them it was measured to be 0.1 s late.
REAL_TIME_PRIORITY = 1
# The smallest, of setpriority(2): the most weight that an ordinary process can have.
NICE_LEAST = -20
# Seconds; chosen: others are taken, which sched_yield(2) does not promise to who has the most weight. What follows a
# kill was measured to keep somebody waiting for 8 - 13 ms in an emulated guest, beside an idle processor.
MOMENT_SEC = 0.0001


class Importance:
    """Real-time after `raise_`, or ordinary, eager or patient, when that is asked for; before it, nothing."""

    __slots__ = ("_scheduler",)

    def __init__(self) -> None:
        """As everybody."""
        self._scheduler: int | None = None  # None: it was never raised

    @property
    def is_lowered(self) -> bool:
        """Whether it was raised and is an ordinary process."""
        return self._scheduler not in (None, os.SCHED_FIFO)

    def raise_(self) -> None:
        """Be real-time from now on; children are not. Raises OSError where the one or the other is refused."""
        os.setpriority(os.PRIO_PROCESS, 0, NICE_LEAST)
        _set(os.SCHED_FIFO, REAL_TIME_PRIORITY)
        self._scheduler = os.SCHED_FIFO

    def lower(self, *, is_patient: bool = True) -> None:
        """Be ordinary for what takes long and could wait: others want this processor, too.

        Patient: it takes it from nobody when it is woken (SCHED_BATCH of sched(7)). The worst wait of a probe beside
        the daemon was measured to be 1.7 ms then, and 3.9 otherwise, in the median of seven runs.
        """
        scheduler = os.SCHED_BATCH if is_patient else os.SCHED_OTHER
        if self._scheduler not in (None, scheduler):
            _set(scheduler, 0)
            self._scheduler = scheduler

    def restore(self) -> None:
        """Be real-time again after `lower`; where that is refused meanwhile, at the next call."""
        if self.is_lowered:
            # With CONFIG_RT_GROUP_SCHED a cgroup whose cpu controller was switched on has no real-time share. An
            # ordinary daemon is better than none.
            with suppress(PermissionError):
                _set(os.SCHED_FIFO, REAL_TIME_PRIORITY)
                self._scheduler = os.SCHED_FIFO

    def give_way(self) -> None:
        """While ordinary, let whoever waits for this processor have it for a moment."""
        if self.is_lowered:
            time.sleep(MOMENT_SEC)

    def take(self, *, ahead: bool) -> None:
        """Be ahead of everybody from here on, or ordinary."""
        if ahead:
            self.restore()
        else:
            self.lower()


def _set(scheduler: int, priority: int) -> None:
    os.sched_setscheduler(0, scheduler | os.SCHED_RESET_ON_FORK, os.sched_param(priority))

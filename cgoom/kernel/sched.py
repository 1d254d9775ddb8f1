"""How the scheduler treats this process: ahead of everybody, or as an ordinary process with the most weight.

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
    """Real-time, except between `lower` and `restore`; without `raise_`, nothing.

    `is_lowered`: it could be real-time and is an ordinary process.
    """

    __slots__ = ("_is_raised", "is_lowered")

    def __init__(self) -> None:
        """As everybody."""
        self._is_raised = self.is_lowered = False

    def raise_(self) -> None:
        """Be real-time from now on; children are not. Raises OSError where the one or the other is refused."""
        os.setpriority(os.PRIO_PROCESS, 0, NICE_LEAST)
        _set(os.SCHED_FIFO, REAL_TIME_PRIORITY)
        self._is_raised = True

    def lower(self) -> None:
        """Be ordinary for what takes long and could wait: others want this processor, too."""
        if self._is_raised and not self.is_lowered:
            _set(os.SCHED_OTHER, 0)
            self.is_lowered = True

    def restore(self) -> None:
        """Be real-time again after `lower`; where that is refused meanwhile, at the next call."""
        if self.is_lowered:
            # With CONFIG_RT_GROUP_SCHED a cgroup whose cpu controller was switched on has no real-time share. An
            # ordinary daemon is better than none.
            with suppress(PermissionError):
                _set(os.SCHED_FIFO, REAL_TIME_PRIORITY)
                self.is_lowered = False

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

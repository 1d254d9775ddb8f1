"""How the scheduler treats this process: ahead of everybody, as an ordinary one with the most weight, or as any other.

Weight counts within its scheduler group: its cgroup where the cpu controller is on, else its session (autogroup).
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
# As any other process.
NICE_COMMON = 0
# Seconds; chosen: others are taken, which sched_yield(2) does not promise to who has the most weight. What follows a
# kill was measured to keep somebody waiting for 8 - 13 ms in an emulated guest, beside an idle processor.
MOMENT_SEC = 0.0001
# Who wants to run, for each processor and with ourselves, where no more weight than theirs is enough. Chosen: what
# follows a kill, measured to be 26 ms of processor in an emulated guest, is then over in 80.
FEW_EACH = 3
# Its fourth field is how many want to run, and of how many (proc(5)).
_LOAD_PATH = "/proc/loadavg"
# Bytes; its five numbers take 60 at the most.
_LOAD_SIZE = 128


class Importance:
    """Real-time after `raise_`, or ordinary, eager or patient, when that is asked for; before it, nothing."""

    __slots__ = ("_few", "_load_fd", "_nice", "_scheduler")

    def __init__(self) -> None:
        """As everybody."""
        self._scheduler: int | None = None  # None: it was never raised
        self._nice, self._few, self._load_fd = NICE_COMMON, 0, -1

    @property
    def is_lowered(self) -> bool:
        """Whether it was raised and is an ordinary process."""
        return self._scheduler not in (None, os.SCHED_FIFO)

    def raise_(self) -> None:
        """Be real-time from now on; children are not. Raises OSError where the one or the other is refused."""
        os.setpriority(os.PRIO_PROCESS, 0, NICE_LEAST)
        self._nice = NICE_LEAST
        _set(os.SCHED_FIFO, REAL_TIME_PRIORITY)
        self._scheduler = os.SCHED_FIFO
        self._few = FEW_EACH * len(os.sched_getaffinity(0))
        with suppress(OSError):
            self._load_fd = os.open(_LOAD_PATH, os.O_RDONLY | os.O_CLOEXEC)
        self._do_few_run()  # the kernel takes memory for the first answer

    def lower(self, *, is_patient: bool = True) -> None:
        """Be ordinary for what takes long and could wait: others want this processor, too.

        Patient: it takes it from nobody when it is woken (SCHED_BATCH of sched(7)). The worst wait of a probe beside
        the daemon was measured to be 1.7 ms then, and 3.9 otherwise, in the median of seven runs.
        """
        self._be(os.SCHED_BATCH if is_patient else os.SCHED_OTHER)
        self._weigh(NICE_LEAST)

    def stand_back(self) -> None:
        """Be as anybody else for what nobody waits for; where many want to run, patient with the most weight."""
        self._be(os.SCHED_BATCH)
        self._weigh(NICE_COMMON if self._do_few_run() else NICE_LEAST)

    def restore(self) -> None:
        """Be real-time again; where that is refused meanwhile, at the next call, and ordinary with the most weight."""
        if self.is_lowered:
            self._weigh(NICE_LEAST)
            # With CONFIG_RT_GROUP_SCHED a cgroup whose cpu controller was switched on has no real-time share. An
            # ordinary daemon is better than none.
            with suppress(PermissionError):
                _set(os.SCHED_FIFO, REAL_TIME_PRIORITY)
                self._scheduler = os.SCHED_FIFO

    def give_way(self) -> None:
        """While ordinary, let whoever waits for this processor have it for a moment."""
        if self.is_lowered:
            time.sleep(MOMENT_SEC)

    def _be(self, scheduler: int) -> None:
        if self._scheduler not in (None, scheduler):
            _set(scheduler, 0)
            self._scheduler = scheduler

    def _weigh(self, nice: int) -> None:
        """Have the weight of this nice value; where that is refused meanwhile, at the next call."""
        if self.is_lowered and self._nice != nice:
            with suppress(PermissionError):
                os.setpriority(os.PRIO_PROCESS, 0, nice)
                self._nice = nice

    def _do_few_run(self) -> bool:
        """Whether few want to run at this moment; False where the kernel does not tell, or its file is not open."""
        with suppress(OSError, ValueError, IndexError):
            return int(os.pread(self._load_fd, _LOAD_SIZE, 0).split()[3].partition(b"/")[0]) <= self._few
        return False


def _set(scheduler: int, priority: int) -> None:
    os.sched_setscheduler(0, scheduler | os.SCHED_RESET_ON_FORK, os.sched_param(priority))

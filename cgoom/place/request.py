"""What a launch asks for, and what it gets."""

from __future__ import annotations

import os

from cgoom.errors import CgoomError
from cgoom.frozen import Frozen
from cgoom.kernel.identity import Identity
from cgoom.names import PRIORITY_DEFAULT, PRIORITY_MOST

TYPE_CHECKING = False
if TYPE_CHECKING:
    from cgoom.kernel.cgroup import Cgroup

# The largest oom_score_adj that a launch sets; 1000 is kept for the one that dies next.
_SCORE_MOST = 999

# The statuses of env(1), nice(1) and timeout(1): cgoom itself failed; CMD cannot be executed; CMD is not there.
STATUS_FAILED = 125
STATUS_NOT_EXECUTABLE = 126
STATUS_NOT_FOUND = 127


class ExecError(CgoomError):
    """The kernel refused to execute CMD; `status` is STATUS_NOT_EXECUTABLE or STATUS_NOT_FOUND."""


class Limits(Frozen):
    """What the kernel shall hold the workload to; None: nothing is written."""

    memory_max_bytes: int | None = None
    memory_low_bytes: int | None = None
    cpu_weight: int | None = None
    pids_max: int | None = None


class LaunchRequest(Frozen):
    """CMD and what it is worth. Name and priority have passed `model.require_name` and `require_priority`."""

    name: str
    argv: tuple[str, ...]
    priority: int = PRIORITY_DEFAULT
    protect: bool = False
    grace_usec: int | None = None
    limits: Limits = Limits()

    def identity(self) -> Identity:
        """What is written on the workload's cgroup."""
        return Identity(self.name, self.priority, self.protect, self.grace_usec)

    def oom_score_adj(self) -> int:
        """0..999, rising with the priority; 0 for a protected workload, so that it is never pushed forward."""
        return 0 if self.protect else round(self.priority * _SCORE_MOST / PRIORITY_MOST)


class Placed(Frozen):
    """CMD in its cgroup. `report_fd`: the read end of a pipe that tells why CMD could not be executed.

    `is_direct`: the cgroup is ours to remove.
    """

    request: LaunchRequest
    pid: int
    pidfd: int
    cgroup: Cgroup
    report_fd: int
    is_direct: bool

    def close(self) -> None:
        """Let go of the three descriptors; CMD is not touched."""
        self.cgroup.close()
        os.close(self.report_fd)
        os.close(self.pidfd)

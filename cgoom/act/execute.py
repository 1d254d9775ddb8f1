"""What a decision does to the world. A dry run is another executor, not an `if`."""

from __future__ import annotations

import os
import signal
from contextlib import suppress
from dataclasses import dataclass
from typing import Protocol

from cgoom.errors import CgoomError, GoneError
from cgoom.kernel.cgroup import Cgroup
from cgoom.kernel.identity import write_verdict
from cgoom.kernel.pidfd import mrelease, open_pidfd, send_signal
from cgoom.model import Outcome


@dataclass(frozen=True, slots=True)
class Answer:
    """What came of it; `note` says how many processes were meant, or what the kernel objected to."""

    outcome: Outcome
    note: str = ""


class Executor(Protocol):
    """The two rungs, and what follows a kill."""

    def term(self, cgroup: Cgroup, verdict: str) -> Answer:
        """Ask every process of the workload to end; `verdict` is what its launcher will be told."""

    def kill(self, cgroup: Cgroup, verdict: str) -> Answer:
        """End the workload as a whole; `verdict` is what its launcher will be told."""

    def reap(self, cgroup: Cgroup) -> int:
        """Take the memory of what is still dying; how many processes gave theirs."""


class RealExecutor:
    """Acts through the held cgroup, so that another cgroup of the same path can never be hit."""

    def term(self, cgroup: Cgroup, verdict: str) -> Answer:
        """SIGTERM to every process below the cgroup, each through a pidfd.

        A process counts only if it is still listed after its pidfd was opened: the pid may have been reused between.
        """
        sent = 0
        with suppress(CgoomError):
            write_verdict(cgroup.fd, verdict)
        try:
            pidfds = _open_listed(cgroup)
        except CgoomError as error:
            return _failed(error)
        for pidfd in pidfds:
            try:
                send_signal(pidfd, signal.SIGTERM)
                sent += 1
            except CgoomError:
                continue  # ended by itself meanwhile, which is what was asked for
            finally:
                os.close(pidfd)
        if not sent and not _is_populated(cgroup):
            return Answer(Outcome.GONE)
        # Nobody may have been reached (they fork and exit faster than we list): then the grace ends in the kill.
        return Answer(Outcome.DONE, f"{sent} processes")

    def kill(self, cgroup: Cgroup, verdict: str) -> Answer:
        """One write to `cgroup.kill`: the whole subtree, forks in flight included.

        The verdict is there first: the launcher may read it the moment its child is dead.
        """
        with suppress(CgoomError):
            write_verdict(cgroup.fd, verdict)
        try:
            cgroup.write_kill()
        except CgoomError as error:
            with suppress(CgoomError):
                write_verdict(cgroup.fd, "")  # it lives on: nobody shall be told otherwise
            return _failed(error)
        return Answer(Outcome.DONE)

    def reap(self, cgroup: Cgroup) -> int:
        """process_mrelease on everything that is killed and not yet gone."""
        reaped = 0
        try:
            pidfds = _open_listed(cgroup)
        except CgoomError:
            return 0
        for pidfd in pidfds:
            try:
                reaped += mrelease(pidfd)
            except CgoomError:
                continue  # the kernel reaps by itself, only later
            finally:
                os.close(pidfd)
        return reaped


class DryExecutor:
    """Answers what would have been done, and touches nothing."""

    def term(self, cgroup: Cgroup, verdict: str) -> Answer:
        """WOULD, with the number of processes."""
        return self.kill(cgroup, verdict)

    def kill(self, cgroup: Cgroup, verdict: str) -> Answer:  # noqa: ARG002 - nobody is killed
        """WOULD, with the number of processes."""
        try:
            return Answer(Outcome.WOULD, f"{len(cgroup.read_procs_recursive())} processes")
        except CgoomError as error:
            return _failed(error)

    def reap(self, cgroup: Cgroup) -> int:  # noqa: ARG002 - nothing was killed
        """Nothing to reap."""
        return 0


def _open_listed(cgroup: Cgroup) -> list[int]:
    opened: dict[int, int] = {}
    for pid in cgroup.read_procs_recursive():
        try:
            opened[pid] = open_pidfd(pid)
        except CgoomError:
            continue  # gone since it was listed
    try:
        listed = frozenset(cgroup.read_procs_recursive()) if opened else frozenset()
    except CgoomError:
        listed = frozenset()
    for pid in opened.keys() - listed:
        os.close(opened.pop(pid))
    return list(opened.values())


def _is_populated(cgroup: Cgroup) -> bool:
    try:
        return cgroup.read_populated()
    except GoneError:
        return False


def _failed(error: CgoomError) -> Answer:
    return Answer(Outcome.GONE) if isinstance(error, GoneError) else Answer(Outcome.FAILED, error.message)

"""What a decision does to the world. A dry run is another executor, not an `if`."""

from __future__ import annotations

import os
import signal
from contextlib import suppress
from dataclasses import dataclass
from typing import Protocol

from cgoom.errors import CgoomError, GoneError
from cgoom.kernel.cgroup import Cgroup, write_kill_fd
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

    def announce(self, cgroup: Cgroup) -> None:
        """Say that a verdict follows, should it be killed: its launcher will wait for it. Before the kill, in time."""

    def kill(self, cgroup: Cgroup, kill_fd: int | None = None) -> Answer:
        """End the workload as a whole, at best through a descriptor of its `cgroup.kill` that is open already."""

    def tell(self, cgroup: Cgroup, verdict: str) -> None:
        """What its launcher will be told, or nothing any more."""

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
            write_verdict(cgroup.fd, verdict, is_final=False)
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

    def announce(self, cgroup: Cgroup) -> None:
        """A verdict without a text; a cgroup that is gone needs none."""
        with suppress(CgoomError):
            write_verdict(cgroup.fd, "", is_final=False)

    def kill(self, cgroup: Cgroup, kill_fd: int | None = None) -> Answer:
        """One write to `cgroup.kill`: the whole subtree, forks in flight included.

        Nothing comes before it. An xattr is kernel memory, which a host that is short may have to wait for.
        """
        try:
            if kill_fd is None:
                cgroup.write_kill()
            else:
                write_kill_fd(kill_fd)
        except CgoomError as error:
            return _failed(error)
        return Answer(Outcome.DONE)

    def tell(self, cgroup: Cgroup, verdict: str) -> None:
        """The verdict, which may be written to a cgroup that was removed meanwhile and is still held."""
        with suppress(CgoomError):
            write_verdict(cgroup.fd, verdict)

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

    def term(self, cgroup: Cgroup, verdict: str) -> Answer:  # noqa: ARG002 - nobody is told
        """WOULD, with the number of processes."""
        return self.kill(cgroup)

    def announce(self, cgroup: Cgroup) -> None:
        """Nobody dies."""

    def tell(self, cgroup: Cgroup, verdict: str) -> None:
        """Nobody died."""

    def kill(self, cgroup: Cgroup, kill_fd: int | None = None) -> Answer:  # noqa: ARG002 - nobody is killed
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

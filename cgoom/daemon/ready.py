"""What is held and known of the next victim, and of a kill that was written."""

from __future__ import annotations

import os
from dataclasses import dataclass

from cgoom.act.execute import Answer
from cgoom.model import Candidate, CgroupRef, Workload
from cgoom.observe.member import Member


@dataclass(slots=True)
class Held:
    """A victim's `cgroup.kill` and `cgroup.events`, open."""

    ref: CgroupRef
    kill_fd: int
    events_fd: int

    def close(self) -> None:
        """Let go of both."""
        os.close(self.kill_fd)
        os.close(self.events_fd)


@dataclass(frozen=True, slots=True)
class Ready:
    """Who is next, as of when, and whether its launcher was told to wait for a verdict.

    `order`: the first two, as a decision would see them. `generation`: of the tree's changes when the first of them was
    that for certain (-1: never), or None: sizes decide that nobody has read. `stuck`: who could not be chosen then.
    """

    order: tuple[Candidate, ...]
    made_usec: int
    is_announced: bool
    generation: int | None
    stuck: frozenset[CgroupRef]

    @property
    def workload(self) -> Workload:
        """The next victim."""
        return self.order[0].workload


@dataclass(frozen=True, slots=True)
class Aim:
    """Who is killed without a further thought at the kill threshold, until then. `kill_fd`: its open `cgroup.kill`."""

    ready: Ready
    member: Member
    kill_fd: int
    until_usec: int


@dataclass(frozen=True, slots=True)
class Shot:
    """A kill that was written: its answer, and whether its record was open, or made ready, before."""

    ref: CgroupRef
    answer: Answer
    was_open: bool
    was_ready: bool


def is_clear(first: tuple[Workload, ...]) -> bool:
    """Whether the priority alone decides who of them is the first."""
    return len(first) < 2 or first[0].priority > first[1].priority

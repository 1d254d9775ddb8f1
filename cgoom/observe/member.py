"""The workloads that are followed, by priority, and what the protected ones among them shield."""

from __future__ import annotations

from collections.abc import Iterator, Set
from dataclasses import dataclass, field

from cgoom.kernel.cgroup import Cgroup
from cgoom.model import PRIORITY_MOST, Workload
from cgoom.observe.changes import Changes


@dataclass(slots=True)
class Member:
    """A workload that is followed, its cgroup held open."""

    cgroup: Cgroup
    workload: Workload
    populated: bool
    memory_events: dict[str, int]
    watches: dict[str, int] = field(default_factory=dict)  # control file -> watch


class Ranks:
    """Members by their priority. A member is removed before its workload changes."""

    def __init__(self, changes: Changes) -> None:
        """Nobody. `changes`: where to note who comes and goes."""
        self._changes = changes
        self._members: dict[int, dict[str, Member]] = {}  # priority -> path -> member
        self._shielding: dict[str, int] = {}  # path -> how many protected workloads are below it

    def priorities(self) -> Set[int]:
        """Those that somebody has."""
        return self._members.keys()

    def equals(self, priority: int) -> list[Member]:
        """Those of this priority, in no particular order."""
        return list(self._members.get(priority, {}).values())

    def shields(self, path: str) -> bool:
        """Whether a protected workload is somewhere below this cgroup."""
        return path in self._shielding

    def add(self, member: Member) -> None:
        """Give it its place."""
        self._members.setdefault(member.workload.priority, {})[member.workload.ref.path] = member
        self._note(member.workload, 1)

    def remove(self, member: Member) -> None:
        """Take its place from it."""
        self._note(member.workload, -1)
        equals = self._members[member.workload.priority]
        del equals[member.workload.ref.path]
        if not equals:
            del self._members[member.workload.priority]

    def _note(self, workload: Workload, by: int) -> None:
        """One more or less of these: who is shielded from now on, or not any more, may have any priority."""
        is_other = False
        for above in _ancestors(workload.ref.path) if workload.protect else ():
            count = self._shielding.pop(above, 0)
            if count + by:
                self._shielding[above] = count + by
            is_other |= not (count and count + by)
        self._changes.note(PRIORITY_MOST if is_other else workload.priority)


def _ancestors(path: str) -> Iterator[str]:
    """The paths above, the nearest first, without the mount itself."""
    while "/" in path:
        path = path.rpartition("/")[0]
        yield path

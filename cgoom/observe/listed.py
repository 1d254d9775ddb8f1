"""Workloads that were listed and not looked at yet: of each, the priority that its directory claims."""

from __future__ import annotations

from collections.abc import Container, Iterable, Set

from cgoom.kernel.cgroup import Cgroup
from cgoom.kernel.identity import read_child_priority
from cgoom.model import CgroupRef
from cgoom.observe.selection import child_path

Row = tuple[int, str, int]  # cgroup id, path, priority


class Listed:
    """By priority, and of each priority by age."""

    def __init__(self) -> None:
        """Nobody."""
        self._priorities: dict[str, int] = {}
        self._paths: dict[int, dict[str, int]] = {}  # priority -> path -> cgroup id, the oldest first
        self._ascending: list[int] = []  # the priorities, some of which nobody has any more

    def __len__(self) -> int:
        return len(self._priorities)

    def __contains__(self, path: str) -> bool:
        return path in self._priorities

    def fill(self, found: Iterable[Row]) -> None:
        """Replace all. The kernel gives out ids in ascending order."""
        self._priorities.clear()
        self._paths.clear()
        for cgroup_id, path, priority in sorted(found):
            self._priorities[path] = priority
            self._paths.setdefault(priority, {})[path] = cgroup_id
        self._ascending = sorted(self._paths)

    def priorities(self) -> Set[int]:
        """Those that somebody has."""
        return self._paths.keys()

    def largest(self) -> int | None:
        """The largest of them; None: nobody is listed."""
        while self._ascending and self._ascending[-1] not in self._paths:
            self._ascending.pop()
        return self._ascending[-1] if self._ascending else None

    def count(self, priority: int) -> int:
        """How many have it."""
        return len(self._paths.get(priority, ()))

    def find(self, priority: int, *, oldest: bool) -> CgroupRef | None:
        """The oldest or newest one that has it; None: nobody has."""
        paths = self._paths.get(priority)
        if paths is None:
            return None
        path = next(iter(paths)) if oldest else next(reversed(paths))
        return CgroupRef(path, paths[path])

    def take(self, path: str) -> bool:
        """Strike it off; whether it was listed."""
        priority = self._priorities.pop(path, None)
        if priority is None:
            return False
        paths = self._paths[priority]
        del paths[path]
        if not paths:
            del self._paths[priority]
        if not self._priorities:
            self.fill(())  # a dict keeps the memory of what was taken from it
        return True


def list_children(cgroup: Cgroup, known: Container[str]) -> tuple[list[Row], list[str]]:
    """The children whose path is not known: those that say a priority, and the paths of the others.

    Raises GoneError, NotPermittedError, KernelError.
    """
    found, others = [], []
    for name, cgroup_id in cgroup.children().items():
        path = child_path(cgroup.path, name)
        if path in known:
            continue
        priority = read_child_priority(cgroup.fd, name)
        if priority is None:
            others.append(path)
        else:
            found.append((cgroup_id, path, priority))
    return found, others

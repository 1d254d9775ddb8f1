"""The live view of the workloads: inotify says what appears, changes, empties and ends; nothing is polled.

One inotify instance watches the directories below which workloads may stand (IN_CREATE, IN_DELETE, IN_ATTRIB: an
xattr write is an attribute change), and of each workload `cgroup.events` and `memory.events` (IN_MODIFY, which the
kernel sends for these files since Linux 4.6). A lost event (queue overflow, no watch left) means one full rescan.
"""

from __future__ import annotations

import errno
from collections.abc import Iterator
from dataclasses import dataclass, field
from enum import Enum

from cgoom.errors import CgoomError, GoneError, KernelError
from cgoom.kernel.cgroup import Cgroup, open_cgroup
from cgoom.kernel.inotify import IN_ATTRIB, IN_CREATE, IN_DELETE, IN_MODIFY, IN_Q_OVERFLOW, Event, Inotify
from cgoom.model import CgroupRef, Workload
from cgoom.observe.selection import Matcher, child_path, is_parent, read_workload


class ChangeKind(Enum):
    """What happened to a workload."""

    APPEARED = "appeared"
    ENDED = "ended"
    EMPTIED = "emptied"
    KERNEL_KILL = "kernel-kill"


@dataclass(frozen=True, slots=True)
class Change:
    """One thing that happened. `own_limit`: the kernel killed because of the workload's own memory.max."""

    kind: ChangeKind
    workload: Workload
    own_limit: bool = False


@dataclass(slots=True)
class Member:
    """A workload in the view, its cgroup held open."""

    cgroup: Cgroup
    workload: Workload
    populated: bool
    memory_events: dict[str, int]
    watches: list[int] = field(default_factory=list)


class Tree:
    """Every workload of the host, kept up to date by `drain()`."""

    def __init__(self, root: Cgroup, slice_name: str, scope: Matcher) -> None:
        self._root, self._slice_name, self._scope = root, slice_name, scope
        self._inotify = Inotify()
        self._members: dict[str, Member] = {}
        self._ranks: dict[int, dict[str, Member]] = {}  # priority -> path -> member
        self._files: dict[int, str] = {}  # watch of a control file -> path of its workload
        self._parents: dict[int, str] = {}  # watch of a directory -> its path
        self.blind = False  # not everything could be watched: rescan before a decision

    @property
    def fd(self) -> int:
        """Readable when something happened."""
        return self._inotify.fd

    def __len__(self) -> int:
        return len(self._members)

    def members(self) -> Iterator[Member]:
        """Every workload, the largest priority number first; among equals in no particular order."""
        for priority in sorted(self._ranks, reverse=True):
            yield from self._ranks[priority].values()

    def equals(self) -> Iterator[list[Member]]:
        """The workloads of each priority, the largest number first."""
        for priority in sorted(self._ranks, reverse=True):
            yield list(self._ranks[priority].values())

    def find(self, ref: CgroupRef) -> Member | None:
        """The member of this identity; None when it is gone or another cgroup has taken its path."""
        member = self._members.get(ref.path)
        return member if member is not None and member.workload.ref == ref else None

    def rescope(self, scope: Matcher) -> list[Change]:
        """Take another policy's rules: forget what they no longer name, find what they do."""
        self._scope = scope
        return self.rescan()

    def rescan(self) -> list[Change]:
        """Compare the whole view with the kernel's tree."""
        self.blind = False
        for wd in list(self._parents):
            self._inotify.remove(wd)
        self._parents.clear()
        changes = []
        for path in list(self._members):
            changes += self._look(path)
        return changes + self._watch_parent("")

    def drain(self) -> list[Change]:
        """Take every event that is there, without blocking."""
        changes: list[Change] = []
        for event in self._inotify.drain():
            changes += self.rescan() if event.mask & IN_Q_OVERFLOW else self._take(event)
        return changes

    def close(self) -> None:
        """Give back every descriptor; no cgroup is touched."""
        for member in self._members.values():
            member.cgroup.close()
        self._inotify.close()

    def _take(self, event: Event) -> list[Change]:
        if event.wd in self._files:
            return self._refresh(self._files[event.wd])
        parent = self._parents.get(event.wd)
        if parent is None or not event.name:
            return []
        return self._look(child_path(parent, event.name))

    def _look(self, path: str) -> list[Change]:
        """Bring the view of one path in line with what is there now."""
        try:
            cgroup = open_cgroup(self._root.fd, path)
        except CgoomError:
            return self._forget(path)
        known = self._members.get(path)
        changes: list[Change] = []
        if known is not None and known.workload.ref != cgroup.ref:
            changes, known = self._forget(path), None
        workload = read_workload(cgroup, self._slice_name, self._scope)
        if known is not None:
            cgroup.close()
            if workload is None:
                return changes + self._forget(path)
            self._unrank(known)
            known.workload = workload
            self._rank(known)
            return changes + self._refresh(path)
        if workload is None:
            cgroup.close()
        else:
            changes += self._admit(cgroup, workload)
        if is_parent(path, self._slice_name, self._scope):
            changes += self._watch_parent(path)
        return changes

    def _admit(self, cgroup: Cgroup, workload: Workload) -> list[Change]:
        path = cgroup.ref.path
        member = Member(cgroup, workload, True, {})
        self._members[path] = member
        self._rank(member)
        for name in ("cgroup.events", "memory.events"):
            wd = self._watch(f"/proc/self/fd/{cgroup.fd}/{name}", IN_MODIFY)
            if wd is not None:
                member.watches.append(wd)
                self._files[wd] = path
        try:
            member.memory_events = cgroup.read_memory_events()
            member.populated = cgroup.read_populated()
        except GoneError:
            self._forget(path)
            return []
        return [Change(ChangeKind.APPEARED, workload)]

    def _refresh(self, path: str) -> list[Change]:
        """Read what the control files of a workload say now."""
        member = self._members[path]
        try:
            memory_events = member.cgroup.read_memory_events()
            populated = member.cgroup.read_populated()
        except GoneError:
            return self._forget(path)
        changes: list[Change] = []
        if memory_events.get("oom_kill", 0) > member.memory_events.get("oom_kill", 0):
            own_limit = memory_events.get("oom", 0) > member.memory_events.get("oom", 0)
            changes.append(Change(ChangeKind.KERNEL_KILL, member.workload, own_limit))
        if member.populated and not populated:
            changes.append(Change(ChangeKind.EMPTIED, member.workload))
        member.memory_events, member.populated = memory_events, populated
        return changes

    def _forget(self, path: str) -> list[Change]:
        for wd in [wd for wd, parent in self._parents.items() if parent == path or parent.startswith(path + "/")]:
            self._inotify.remove(wd)
            del self._parents[wd]
        member = self._members.pop(path, None)
        if member is None:
            return []
        self._unrank(member)
        for wd in member.watches:
            self._inotify.remove(wd)
            del self._files[wd]
        member.cgroup.close()
        return [Change(ChangeKind.ENDED, member.workload)]

    def _rank(self, member: Member) -> None:
        self._ranks.setdefault(member.workload.priority, {})[member.workload.ref.path] = member

    def _unrank(self, member: Member) -> None:
        equals = self._ranks[member.workload.priority]
        del equals[member.workload.ref.path]
        if not equals:
            del self._ranks[member.workload.priority]

    def _watch_parent(self, path: str) -> list[Change]:
        """Watch a directory first and list it afterwards, so that nothing appears unseen in between."""
        try:
            with open_cgroup(self._root.fd, path) as cgroup:
                wd = self._watch(f"/proc/self/fd/{cgroup.fd}", IN_CREATE | IN_DELETE | IN_ATTRIB)
                if wd is not None:
                    self._parents[wd] = path
                names = cgroup.child_names()
        except GoneError:
            return []
        changes: list[Change] = []
        for name in names:
            below = child_path(path, name)
            if below not in self._members:
                changes += self._look(below)
        return changes

    def _watch(self, path: str, mask: int) -> int | None:
        """A watch; None where the file is not there (hybrid: no memory.events) and where no watch is left (blind)."""
        try:
            return self._inotify.add(path, mask)
        except GoneError:
            return None
        except KernelError as error:
            if getattr(error.__cause__, "errno", None) != errno.ENOSPC:
                raise
            self.blind = True
            return None

"""The live view of the workloads: inotify says what appears, changes, empties and ends; nothing is polled.

One inotify instance watches the directories below which workloads may stand (IN_CREATE, IN_DELETE, IN_ATTRIB: an
xattr write is an attribute change), and of each workload `cgroup.events` and `memory.events` (IN_MODIFY, which the
kernel sends for these files since Linux 4.6). A lost event (queue overflow, no watch left) means one full rescan.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from enum import Enum

from cgoom.errors import CgoomError, GoneError
from cgoom.kernel.cgroup import Cgroup, open_cgroup
from cgoom.kernel.inotify import IN_ATTRIB, IN_CREATE, IN_DELETE, IN_MODIFY, IN_Q_OVERFLOW, Event, Inotify
from cgoom.model import CgroupRef, Workload
from cgoom.observe.member import Member, Ranks
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


class Tree:
    """Every workload of the host, kept up to date by `drain()`."""

    def __init__(self, root: Cgroup, slice_name: str, scope: Matcher) -> None:
        self._root, self._slice_name, self._scope = root, slice_name, scope
        self._inotify = Inotify()
        self._members: dict[str, Member] = {}
        self._ranks = Ranks()
        self._files: dict[int, str] = {}  # watch of a control file -> path of its workload
        self._parents: dict[int, str] = {}  # watch of a directory -> its path
        self._watched: set[str] = set()  # the same paths
        self.blind = False  # not everything could be watched: rescan before a decision
        self.generation = 0  # another one: who may be chosen, or in which order, may have changed

    @property
    def fd(self) -> int:
        """Readable when something happened."""
        return self._inotify.fd

    def __len__(self) -> int:
        return len(self._members)

    def members(self) -> Iterator[Member]:
        """Every workload, the largest priority number first; among equals in no particular order."""
        for equals in self.equals():
            yield from equals

    def equals(self) -> Iterator[list[Member]]:
        """The workloads of each priority, the largest number first."""
        for priority in sorted(self._ranks.priorities(), reverse=True):
            yield self._ranks.equals(priority)

    def shields(self, path: str) -> bool:
        """Whether a protected workload is somewhere below this cgroup."""
        return self._ranks.shields(path)

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
        self._watched.clear()
        changes = []
        for path in list(self._members):
            changes += self._look(path)
        return changes + self._look("")

    def drain(self) -> list[Change]:
        """Take every event that is there, without blocking."""
        changes: list[Change] = []
        for event in self._inotify.drain():
            changes += self.rescan() if event.mask & IN_Q_OVERFLOW else self._take(event)
        return changes

    def refresh(self, ref: CgroupRef) -> list[Change]:
        """Look at one workload now, whether or not an event of it has arrived."""
        return self._refresh(ref.path) if self.find(ref) is not None else []

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
        """Bring the view of one path, and of what is newly seen below it, in line with what is there now.

        Without recursion: whoever may create cgroups decides how deep they are.
        """
        changes: list[Change] = []
        pending = [path]
        while pending:
            looked_at = pending.pop()
            changes += self._look_at(looked_at)
            if looked_at not in self._watched and is_parent(looked_at, self._slice_name, self._scope):
                pending += self._watch_parent(looked_at)
        return changes

    def _look_at(self, path: str) -> list[Change]:
        try:
            cgroup = open_cgroup(self._root.fd, path)
        except GoneError:
            return self._forget(path)
        except CgoomError:  # no descriptor left, for example: what is known stays known
            self.blind = True
            return []
        known = self._members.get(path)
        changes: list[Change] = []
        if known is not None and known.workload.ref != cgroup.ref:
            changes, known = self._forget(path), None
        workload = read_workload(cgroup, self._slice_name, self._scope)
        if known is not None:
            cgroup.close()
            if workload is None:
                return changes + self._forget(path)
            if known.workload != workload:
                self.generation += 1
                self._ranks.remove(known)
                known.workload = workload
                self._ranks.add(known)
            self._arm(known)
            changes += self._refresh(path)
        elif workload is None:
            cgroup.close()
        else:
            changes += self._admit(cgroup, workload)
        return changes

    def _admit(self, cgroup: Cgroup, workload: Workload) -> list[Change]:
        path = cgroup.ref.path
        member = Member(cgroup, workload, True, {})
        self._members[path] = member
        self.generation += 1
        self._ranks.add(member)
        self._arm(member)
        try:
            member.memory_events = cgroup.read_memory_events()
            member.populated = cgroup.read_populated()
        except GoneError:
            self._forget(path)
            return []
        except CgoomError:
            self.blind = True
        return [Change(ChangeKind.APPEARED, workload)]

    def _arm(self, member: Member) -> None:
        """Watch the two event files, those that are not watched yet."""
        for name in ("cgroup.events", "memory.events"):
            if name not in member.watches:
                wd = self._watch(f"/proc/self/fd/{member.cgroup.fd}/{name}", IN_MODIFY)
                if wd is not None:
                    member.watches[name] = wd
                    self._files[wd] = member.workload.ref.path

    def _refresh(self, path: str) -> list[Change]:
        """Read what the control files of a workload say now."""
        member = self._members[path]
        try:
            memory_events = member.cgroup.read_memory_events()
            populated = member.cgroup.read_populated()
        except GoneError:
            return self._forget(path)
        except CgoomError:
            self.blind = True
            return []
        changes: list[Change] = []
        if memory_events.get("oom_kill", 0) > member.memory_events.get("oom_kill", 0):
            own_limit = memory_events.get("oom", 0) > member.memory_events.get("oom", 0)
            changes.append(Change(ChangeKind.KERNEL_KILL, member.workload, own_limit))
        if member.populated and not populated:
            changes.append(Change(ChangeKind.EMPTIED, member.workload))
        self.generation += member.populated != populated
        member.memory_events, member.populated = memory_events, populated
        return changes

    def _forget(self, path: str) -> list[Change]:
        if path in self._watched:
            for wd in [wd for wd, parent in self._parents.items() if parent == path or parent.startswith(path + "/")]:
                self._inotify.remove(wd)
                self._watched.discard(self._parents.pop(wd))
        member = self._members.pop(path, None)
        if member is None:
            return []
        self.generation += 1
        self._ranks.remove(member)
        for wd in member.watches.values():
            self._inotify.remove(wd)
            del self._files[wd]
        member.cgroup.close()
        return [Change(ChangeKind.ENDED, member.workload)]

    def _watch_parent(self, path: str) -> list[str]:
        """Watch a directory first and list it afterwards, so that nothing appears unseen in between.

        The paths of the children that are not workloads yet.
        """
        try:
            with open_cgroup(self._root.fd, path) as cgroup:
                wd = self._watch(f"/proc/self/fd/{cgroup.fd}", IN_CREATE | IN_DELETE | IN_ATTRIB)
                if wd is not None:
                    self._parents[wd] = path
                    self._watched.add(path)
                names = cgroup.children()
        except GoneError:
            return []
        except CgoomError:
            self.blind = True
            return []
        return [below for name in names if (below := child_path(path, name)) not in self._members]

    def _watch(self, path: str, mask: int) -> int | None:
        """A watch; None where the file is not there (hybrid: no memory.events) and where no watch is left (blind)."""
        try:
            return self._inotify.add(path, mask)
        except GoneError:
            return None
        except CgoomError:
            self.blind = True
            return None

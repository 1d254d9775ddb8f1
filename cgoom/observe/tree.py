"""The live view of the workloads: inotify says what appears, changes, empties and ends; nothing is polled.

One inotify instance watches the directories below which workloads may stand (IN_CREATE, IN_DELETE, IN_ATTRIB: an
xattr write is an attribute change), and of each workload `cgroup.events` and `memory.events` (IN_MODIFY, which the
kernel sends for these files since Linux 4.6). A lost event (queue overflow, no watch left) means one full rescan.

To open, read and watch a workload takes ten times as long as to read the priority of its directory. Those that stand in
the slice already are therefore listed first; one of them is followed when its turn in the order comes, or somebody asks
for it, or something happens to it, or there is time.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from enum import Enum

from cgoom.errors import CgoomError, GoneError
from cgoom.kernel.cgroup import Cgroup, open_cgroup
from cgoom.kernel.clock import read_usec
from cgoom.kernel.inotify import IN_ATTRIB, IN_CREATE, IN_DELETE, IN_MODIFY, IN_Q_OVERFLOW, Event, Inotify
from cgoom.model import CgroupRef, Workload
from cgoom.observe.changes import Changes
from cgoom.observe.listed import Listed, list_children
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
        self._listed = Listed()
        self._was_spared = False  # when the slice was listed, the kernel had killed nobody in it, nor met a limit
        self._late: list[Change] = []  # found on the way to somebody, for the next `follow`
        self.changes = Changes()
        self._ranks = Ranks(self.changes)
        self._files: dict[int, str] = {}  # watch of a control file -> path of its workload
        self._parents: dict[int, str] = {}  # watch of a directory -> its path
        self._watched: dict[str, int] = {}  # the same paths -> cgroup id
        self.blind = False  # not everything could be watched: rescan before a decision

    @property
    def fd(self) -> int:
        """Readable when something happened."""
        return self._inotify.fd

    def __len__(self) -> int:
        return len(self._members) + len(self._listed)

    @property
    def unfollowed(self) -> int:
        """How many are only listed."""
        return len(self._listed)

    @property
    def is_behind(self) -> bool:
        """Whether `follow` has something to do or to tell."""
        return bool(self._listed or self._late)

    def members(self) -> Iterator[Member]:
        """Everyone who is followed, the largest priority number first; among equals in no particular order."""
        for priority in sorted(self._ranks.priorities(), reverse=True):
            yield from self._ranks.equals(priority)

    def priorities(self) -> list[int]:
        """Those that somebody has, the largest number first."""
        return sorted(self._ranks.priorities() | self._listed.priorities(), reverse=True)

    def followed(self, priority: int) -> list[Member]:
        """Those of this priority that are followed, in no particular order."""
        return self._ranks.equals(priority)

    def count_listed(self, priority: int) -> int:
        """How many of this priority are not followed yet."""
        return self._listed.count(priority)

    def follow_next(self, priority: int, *, oldest: bool) -> Member | None:
        """Follow the newest or oldest one that was listed with this priority.

        None: it is gone, has another one, or is another cgroup by now. Else that is one change.
        """
        ref = self._listed.find(priority, oldest=oldest)
        member = self.find(ref) if ref is not None else None
        return member if member is not None and member.workload.priority == priority else None

    def follow(self, until_usec: int, *, oldest: bool) -> list[Change]:
        """Follow who is only listed until then, one at least.

        The changes that this brought, and those of everybody else who was followed since the last call.
        """
        while (priority := self._listed.largest()) is not None:
            self.follow_next(priority, oldest=oldest)
            if read_usec() >= until_usec:
                break
        changes, self._late = self._late, []
        return changes

    def shields(self, path: str) -> bool:
        """Whether a protected workload is somewhere below this cgroup. Who is only listed is below no workload."""
        return self._ranks.shields(path)

    def find(self, ref: CgroupRef) -> Member | None:
        """The member of this identity, followed from now on; None: it is gone, or another cgroup has taken its path."""
        if ref.path in self._listed:
            self._late += self._look_at(ref.path)
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
        self._listed.fill(())
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
        was_listed = self._listed.take(path)
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
        if self._watched.get(path, cgroup.cgroup_id) != cgroup.cgroup_id:
            changes += self._forget_below(path)
        workload = read_workload(cgroup, self._slice_name, self._scope)
        if known is not None:
            cgroup.close()
            if workload is None:
                return changes + self._forget(path)
            if known.workload != workload:
                self._ranks.remove(known)
                known.workload = workload
                self._ranks.add(known)
            self._arm(known)
            changes += self._refresh(path)
        elif workload is None:
            cgroup.close()
        else:
            changes += self._admit(cgroup, workload, was_listed)
        return changes

    def _admit(self, cgroup: Cgroup, workload: Workload, was_listed: bool) -> list[Change]:
        path = cgroup.ref.path
        member = Member(cgroup, workload, True, {})
        self._members[path] = member
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
        changes = [Change(ChangeKind.APPEARED, workload)]
        if was_listed and member.memory_events.get("oom_kill") and self._is_new_kill():
            changes.append(Change(ChangeKind.KERNEL_KILL, workload, bool(member.memory_events.get("oom"))))
        return changes

    def _is_new_kill(self) -> bool:
        """Whether the kernel killed somebody in the slice after it was listed.

        The counters of the slice include those of everybody in it, except where cgroup2 is mounted with
        `memory_localevents`: there they stay 0, and it is not known.
        """
        if not self._was_spared:
            return False
        try:
            with open_cgroup(self._root.fd, self._slice_name) as cgroup:
                return bool(cgroup.read_memory_events().get("oom_kill"))
        except CgoomError:
            return False

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
        if member.populated != populated:
            self.changes.note(member.workload.priority)
        member.memory_events, member.populated = memory_events, populated
        return changes

    def _forget(self, path: str) -> list[Change]:
        changes = self._forget_below(path) if path in self._watched else []
        member = self._members.pop(path, None)
        if member is None:
            return changes
        self._ranks.remove(member)
        for wd in member.watches.values():
            self._inotify.remove(wd)
            del self._files[wd]
        member.cgroup.close()
        return [*changes, Change(ChangeKind.ENDED, member.workload)]

    def _forget_below(self, path: str) -> list[Change]:
        """It is gone, and whoever was below it, though a new one may be there: their events may come too late."""
        self._unwatch(path)
        below = [known for known in self._members if known.startswith(path + "/")]
        return [change for known in below for change in self._forget(known)]

    def _unwatch(self, path: str) -> None:
        """End the watch of a directory and those of all below it."""
        for wd in [wd for wd, parent in self._parents.items() if parent == path or parent.startswith(path + "/")]:
            self._inotify.remove(wd)
            del self._watched[self._parents.pop(wd)]

    def _watch_parent(self, path: str) -> list[str]:
        """Watch a directory first and list it afterwards, so that nothing appears unseen in between.

        The paths of the children that are neither followed nor listed.
        """
        try:
            with open_cgroup(self._root.fd, path) as cgroup:
                wd = self._watch(f"/proc/self/fd/{cgroup.fd}", IN_CREATE | IN_DELETE | IN_ATTRIB)
                if wd is not None:
                    self._parents[wd] = path
                    self._watched[path] = cgroup.cgroup_id
                if path == self._slice_name:
                    return self._list(cgroup)
                names = cgroup.children()
        except GoneError:
            return []
        except CgoomError:
            self.blind = True
            return []
        return [below for name in names if (below := child_path(path, name)) not in self._members]

    def _list(self, cgroup: Cgroup) -> list[str]:
        """List the children of the slice; the paths of those that say no priority."""
        memory_events = cgroup.read_memory_events()
        self._was_spared |= not (memory_events.get("oom") or memory_events.get("oom_kill"))
        found, others = list_children(cgroup, self._members)
        self._listed.fill(found)
        if found:
            self.changes.note(max(priority for *_, priority in found))
        return others

    def _watch(self, path: str, mask: int) -> int | None:
        """A watch; None where the file is not there (hybrid: no memory.events) and where no watch is left (blind)."""
        try:
            return self._inotify.add(path, mask)
        except GoneError:
            return None
        except CgoomError:
            self.blind = True
            return None

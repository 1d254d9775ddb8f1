"""Which cgroups are workloads: what was launched below cgoom's slice, and what a policy rule names elsewhere."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Protocol

from cgoom.errors import CgoomError, GoneError
from cgoom.kernel.cgroup import Cgroup, open_cgroup
from cgoom.kernel.identity import read_identity
from cgoom.model import PRIORITY_DEFAULT, MatchRule, Origin, Workload


class Matcher(Protocol):
    """The policy's workload rules, as `core.match.Scope` compiles them."""

    def match(self, path: str) -> MatchRule | None:
        """The first rule that names this cgroup."""

    def descends(self, path: str) -> bool:
        """Whether a rule may name something below it."""


@dataclass(frozen=True, slots=True)
class Managed:
    """A workload and its held cgroup; whoever receives it closes the cgroup."""

    workload: Workload
    cgroup: Cgroup


def read_workload(cgroup: Cgroup, slice_name: str, scope: Matcher) -> Workload | None:
    """What this cgroup is worth, or None where it is not a workload (yet: a launch writes the identity last)."""
    path = cgroup.ref.path
    if path == slice_name:
        return None  # everybody's: no rule may make one workload of all
    if path.startswith(slice_name + "/"):
        identity = read_identity(cgroup.fd) if path.count("/") == 1 else None
        if identity is None:
            return None
        return Workload(
            cgroup.ref, identity.name, identity.priority, identity.protect, Origin.LAUNCHED, identity.grace_usec
        )
    rule = scope.match(path)
    if rule is None:
        return None
    priority = PRIORITY_DEFAULT if rule.priority is None else rule.priority
    return Workload(cgroup.ref, path, priority, rule.protect, Origin.MATCHED)


def is_parent(path: str, slice_name: str, scope: Matcher) -> bool:
    """Whether workloads may stand directly or further below this cgroup."""
    return path in ("", slice_name) or (not path.startswith(slice_name + "/") and scope.descends(path))


def find_workloads(root: Cgroup, slice_name: str, scope: Matcher) -> Iterator[Managed]:
    """Every workload below `root`, each with its cgroup held open. What vanishes meanwhile is not there."""
    pending = [""]
    while pending:
        parent = pending.pop()
        for child in _open_children(root, parent):
            path = child.ref.path
            if is_parent(path, slice_name, scope):
                pending.append(path)
            workload = read_workload(child, slice_name, scope)
            if workload is None:
                child.close()
            else:
                yield Managed(workload, child)


def child_path(parent: str, name: str) -> str:
    """The path of `name` in `parent`; the mount itself is the empty path."""
    return f"{parent}/{name}" if parent else name


def _open_children(root: Cgroup, parent: str) -> Iterator[Cgroup]:
    try:
        with open_cgroup(root.fd, parent) as held:
            names = held.children()
    except GoneError:
        return
    for name in names:
        try:
            yield open_cgroup(root.fd, child_path(parent, name))
        except CgoomError:
            continue  # gone meanwhile, or a name that the kernel will not let us resolve: not a workload

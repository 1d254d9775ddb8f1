"""Who may be chosen now: only those that share the largest priority number are looked at, whatever else there is."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from typing import Protocol

from cgoom.core.eligible import skip_reason
from cgoom.core.explain import CONSIDERED_LIMIT, explain
from cgoom.model import Candidate, CgroupRef, Considered, Policy, TieBreak
from cgoom.observe.tree import Member, Tree
from cgoom.observe.usage import read_usage

_BY_SIZE = frozenset({TieBreak.LARGEST, TieBreak.SMALLEST})


class Host(Protocol):
    """The parts of the loop that a docket needs."""

    tree: Tree
    own_path: str
    hybrid: bool


@dataclass(slots=True)
class Surroundings:
    """Those parts by themselves, for what is made before the loop."""

    tree: Tree
    own_path: str
    hybrid: bool


def find_first_equals(host: Host, policy: Policy, stuck: frozenset[CgroupRef]) -> tuple[Candidate, ...]:
    """The candidates of the largest priority number that has any, and one of the next, for the reason's sake.

    Their usage is read only where it can matter.
    """
    first: list[Member] = []
    for members in host.tree.equals():
        found = [member for member in members if not _skip(host, member) and member.workload.ref not in stuck]
        if found and first:
            return (*_look_at(host, policy, first), Candidate(found[0].workload))
        first = first or found
    return tuple(_look_at(host, policy, first))


def find_equals(host: Host, policy: Policy, limit: int) -> Iterator[list[Candidate]]:
    """Those that can be chosen, of each priority, the largest number first.

    Their usage is read only where it can matter, and of no more than `limit` equals: among more of them the sizes are
    a matter of moments, and to read them all would cost more than the order is worth.
    """
    for members in host.tree.equals():
        found = [member for member in members if not _skip(host, member)]
        if len(found) > limit:
            yield [Candidate(member.workload) for member in found]
        elif found:
            yield list(_look_at(host, policy, found))


def _look_at(host: Host, policy: Policy, equals: list[Member]) -> Iterator[Candidate]:
    needed = len(equals) > 1 and not _BY_SIZE.isdisjoint(policy.victim.tie_break)
    for member in equals:
        yield Candidate(member.workload, read_usage(member.cgroup, host.hybrid) if needed else None)


def find_considered(host: Host, policy: Policy, seen: tuple[Candidate, ...]) -> list[Considered]:
    """The first of the order, for the record: those that the decision saw, as it saw them, then the next ones."""
    known = {candidate.workload.ref for candidate in seen}
    others = (
        Candidate(member.workload, None, _skip(host, member))
        for member in host.tree.members()
        if member.workload.ref not in known
    )
    return explain(policy, [*seen, *islice(others, CONSIDERED_LIMIT)], CONSIDERED_LIMIT)


def _skip(host: Host, member: Member) -> str:
    reason = skip_reason(member.workload, host.own_path, member.populated)
    if not reason and host.tree.shields(member.workload.ref.path):
        return "something protected runs below it"
    return reason

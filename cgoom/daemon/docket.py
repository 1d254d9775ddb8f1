"""Who may be chosen, in which order: kept while there is time, so that a kill has nothing left to read.

Only those that share the largest priority number are looked at, whatever else there is. Where their sizes decide, a
few are read at a time: the memory of a hundred equals takes longer to add up than a host takes to fill.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice

from cgoom.core.eligible import skip_reason
from cgoom.core.explain import CONSIDERED_LIMIT, explain
from cgoom.core.rank import rank
from cgoom.model import Candidate, CgroupRef, Considered, Policy, TieBreak, Usage
from cgoom.observe.tree import Member, Tree
from cgoom.observe.usage import read_usage

_BY_SIZE = frozenset({TieBreak.LARGEST, TieBreak.SMALLEST})
# Microseconds that one look may spend on reading sizes while nobody has to die; chosen: two samples of an emulated
# guest, so that a threshold is not crossed unseen meanwhile.
SLICE_USEC = 3_000
# Microseconds that a size stays good for; chosen: in that time a hog grows by some tens of MiB, and the sizes of
# hundreds of equals can be read once in slices.
SIZE_AGE_USEC = 500_000


@dataclass(slots=True)
class Surroundings:
    """What a docket looks at. `own_path`: the cgroup that the daemon runs in."""

    tree: Tree
    own_path: str
    hybrid: bool


class Docket:
    """The first of the order, and what is known of those beside it."""

    def __init__(self, host: Surroundings, policy: Policy) -> None:
        self._host, self._policy = host, policy
        self._key: tuple[int, frozenset[CgroupRef]] | None = None
        self._following: tuple[Candidate, ...] = ()
        self._equals: dict[CgroupRef, Candidate] = {}
        self._unread: deque[Member] = deque()
        self._read: deque[tuple[int, Member]] = deque()  # (when, who), the oldest size first
        self._first: tuple[Candidate, ...] | None = None

    def set_policy(self, policy: Policy) -> None:
        """Another policy: everything is looked at again."""
        self._policy, self._key = policy, None

    def look(self, stuck: frozenset[CgroupRef], now_usec: int, *, urgent: bool) -> tuple[Candidate, ...]:
        """The first two of the order; of another priority the second one has no usage.

        Empty where nobody can be chosen, and, unless `urgent`, while sizes that decide are still being read.
        """
        key = (self._host.tree.generation, stuck)
        if key != self._key:
            self._find(stuck)
            self._key = key
        if self._unread or self._read:
            self._read_sizes(now_usec, urgent)
        if self._unread:
            return ()
        if self._first is None:
            ranked = rank(self._equals.values(), self._policy.victim)
            self._first = (*ranked[:2], *self._following)[:2]
        return self._first

    @property
    def is_reading(self) -> bool:
        """Whether sizes are still missing: look again soon."""
        return bool(self._unread)

    def _find(self, stuck: frozenset[CgroupRef]) -> None:
        """The equals of the largest priority number that has any, and one of the next, for the reason's sake."""
        first: list[Member] = []
        self._following = ()
        for members in self._host.tree.equals():
            found = [each for each in members if not self.skip(each) and each.workload.ref not in stuck]
            if found and first:
                self._following = (Candidate(found[0].workload),)
                break
            first = first or found
        known = self._equals
        self._equals = {each.workload.ref: Candidate(each.workload) for each in first}
        self._read.clear()
        self._unread.clear()
        self._first = None
        if len(first) > 1 and not _BY_SIZE.isdisjoint(self._policy.victim.tie_break):
            for member in first:
                before = known.get(member.workload.ref)
                if before is None or before.usage is None:
                    self._unread.append(member)
                else:
                    self._keep(member, before.usage, 0)

    def _read_sizes(self, now_usec: int, urgent: bool) -> None:
        """Read what is missing, then what is old; all that is missing when it is urgent, and else a slice."""
        deadline_usec = time.monotonic_ns() // 1000 + SLICE_USEC
        while self._unread and (urgent or time.monotonic_ns() // 1000 < deadline_usec):
            self._keep_read(self._unread.popleft(), now_usec)
        while not urgent and self._read and now_usec - self._read[0][0] > SIZE_AGE_USEC:
            if time.monotonic_ns() // 1000 >= deadline_usec:
                break
            self._keep_read(self._read.popleft()[1], now_usec)

    def _keep_read(self, member: Member, now_usec: int) -> None:
        usage = read_usage(member.cgroup, self._host.hybrid)
        self._keep(member, usage or Usage(0, 0), now_usec)  # gone, or it does not tell: then it has the last place

    def _keep(self, member: Member, usage: Usage, now_usec: int) -> None:
        self._equals[member.workload.ref] = Candidate(member.workload, usage)
        self._read.append((now_usec, member))
        self._first = None

    def find_considered(self, victim: Candidate) -> list[Considered]:
        """The first of the order, for the record: the victim, its equals as they were known, then the next ones."""
        others = (
            self._equals.get(member.workload.ref) or Candidate(member.workload, None, self.skip(member))
            for member in self._host.tree.members()
            if member.workload.ref != victim.workload.ref
        )
        return explain(self._policy, [victim, *islice(others, CONSIDERED_LIMIT)], CONSIDERED_LIMIT)

    def find_equals(self, limit: int, *, may_read: bool) -> Iterator[list[Candidate]]:
        """Those that can be chosen, of each priority, the largest number first.

        Their usage is as known, or read where there is time, it matters, and there are no more than `limit` equals:
        among more of them the sizes are a matter of moments, and to read them all would cost more than the order is
        worth. So it would on a hybrid host, where every process has to be looked at.
        """
        by_size = not _BY_SIZE.isdisjoint(self._policy.victim.tie_break) and not self._host.hybrid
        for members in self._host.tree.equals():
            found = [member for member in members if not self.skip(member)]
            read = may_read and by_size and 1 < len(found) <= limit
            if found:
                yield [self._look_at(member, read) for member in found]

    def _look_at(self, member: Member, read: bool) -> Candidate:
        known = self._equals.get(member.workload.ref)
        if known is not None and known.usage is not None:
            return known
        if not read:
            return Candidate(member.workload)
        return Candidate(member.workload, read_usage(member.cgroup, self._host.hybrid))

    def skip(self, member: Member) -> str:
        """Why this one cannot be chosen, or nothing."""
        reason = skip_reason(member.workload, self._host.own_path, member.populated)
        if not reason and self._host.tree.shields(member.workload.ref.path):
            return "something protected runs below it"
        return reason

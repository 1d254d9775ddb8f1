"""Who may be chosen, in which order: kept while there is time, so that a kill has nothing left to read.

Only those that share the largest priority number are looked at, whatever else there is. Where their sizes decide, a
few are read at a time: the memory of a hundred equals takes longer to add up than a host takes to fill.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice

from cgoom.core.eligible import skip_reason
from cgoom.core.explain import CONSIDERED_LIMIT, explain
from cgoom.core.rank import rank
from cgoom.kernel.clock import read_usec
from cgoom.model import Candidate, CgroupRef, Considered, Policy, TieBreak, Usage
from cgoom.observe.member import Member
from cgoom.observe.tree import Tree
from cgoom.observe.usage import read_usage

_BY_SIZE = frozenset({TieBreak.LARGEST, TieBreak.SMALLEST})
# Microseconds that one look may spend on reading sizes while nobody has to die; chosen: two samples of an emulated
# guest, so that a threshold is not crossed unseen meanwhile.
SLICE_USEC = 3_000
# The same when somebody has to die: beyond it the largest of those that were read dies. Chosen: what a hog takes
# meanwhile is less than what lies below the kill threshold of a host of 1 GiB.
URGENT_USEC = 20_000
# Microseconds after which a size is read again, and after which it counts for nothing; chosen: a hog grows by some
# tens of MiB meanwhile, and the sizes of hundreds of equals can be read in slices.
SIZE_AGE_USEC = 500_000
SIZE_LIMIT_USEC = 2_000_000
# Equals that are put in order for a record; chosen: among more of them nobody looks for the second.
EQUALS_LIMIT = 256


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
        self._policy = policy
        self.forget()

    def forget(self) -> None:
        """The host is not short: what was read belongs to a shortage that is over."""
        if self._key is not None:
            self._key, self._equals, self._following, self._first = None, {}, (), None
            self._unread.clear()
            self._read.clear()

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
        if self._unread and not urgent:
            return ()
        if self._first is None:
            ranked = rank(self._equals.values(), self._policy.victim)
            self._first = (*ranked[:2], *self._following)[:2]
        return self._first

    @property
    def unread(self) -> int:
        """How many sizes are still missing: look again soon."""
        return len(self._unread)

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
        known, read_at_usec = self._equals, {member.workload.ref: at_usec for at_usec, member in self._read}
        self._equals = {each.workload.ref: Candidate(each.workload) for each in first}
        self._read.clear()
        self._unread.clear()
        self._first = None
        if len(first) > 1 and not _BY_SIZE.isdisjoint(self._policy.victim.tie_break):
            for member in first:
                before = known.get(member.workload.ref)
                if before is None or before.usage is None or member.workload.ref not in read_at_usec:
                    self._unread.append(member)
                else:
                    self._keep(member, before.usage, read_at_usec[member.workload.ref])
            self._read = deque(sorted(self._read, key=lambda pair: pair[0]))

    def _read_sizes(self, now_usec: int, urgent: bool) -> None:
        """Read what is missing, then what is old, for as long as there is time."""
        while self._read and now_usec - self._read[0][0] > SIZE_LIMIT_USEC:
            member = self._read.popleft()[1]
            self._equals[member.workload.ref] = Candidate(member.workload)
            self._unread.append(member)
            self._first = None
        deadline_usec = read_usec() + (URGENT_USEC if urgent else SLICE_USEC)
        while self._unread and read_usec() < deadline_usec:
            self._keep_read(self._unread.popleft(), now_usec, urgent)
        while not urgent and self._read and now_usec - self._read[0][0] > SIZE_AGE_USEC:
            if read_usec() >= deadline_usec:
                break
            self._keep_read(self._read.popleft()[1], now_usec, urgent)

    def _keep_read(self, member: Member, now_usec: int, urgent: bool) -> None:
        usage = read_usage(member.cgroup, by_share=self._host.hybrid and not urgent)
        self._keep(member, usage or Usage(0, 0), now_usec)  # gone, or it does not tell: then it has the last place

    def _keep(self, member: Member, usage: Usage, now_usec: int) -> None:
        self._equals[member.workload.ref] = Candidate(member.workload, usage)
        self._read.append((now_usec, member))
        self._first = None

    def find_considered(self, victim: Candidate) -> list[Considered]:
        """The first of the order, for the record: the victim, its equals as they were known, then the next ones."""
        equals = [each for ref, each in self._equals.items() if ref != victim.workload.ref]
        if len(equals) <= EQUALS_LIMIT:
            equals = rank(equals, self._policy.victim)
        others = (
            Candidate(member.workload, None, self.skip(member))
            for member in self._host.tree.members()
            if member.workload.ref != victim.workload.ref and member.workload.ref not in self._equals
        )
        following = islice((*equals[:CONSIDERED_LIMIT], *islice(others, CONSIDERED_LIMIT)), CONSIDERED_LIMIT)
        return explain(self._policy, [victim, *following], CONSIDERED_LIMIT)

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
        if not read:
            known = self._equals.get(member.workload.ref)  # as it was when it was last looked at
            usage = known.usage if known is not None else None
            return Candidate(member.workload, usage)
        return Candidate(member.workload, read_usage(member.cgroup))

    def skip(self, member: Member) -> str:
        """Why this one cannot be chosen, or nothing."""
        reason = skip_reason(member.workload, self._host.own_path, member.populated)
        if not reason and self._host.tree.shields(member.workload.ref.path):
            return "something protected runs below it"
        return reason

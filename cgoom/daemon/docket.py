"""Who may be chosen, in which order: kept while there is time, so that a kill has nothing left to read.

Only those that share the largest priority number are looked at, whatever else there is. Where their sizes decide, a
few are read at a time: the memory of a hundred equals takes longer to add up than a host takes to fill. So it is with
equals that were there before the daemon, and that it knows by their priority alone until they are followed.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import islice

from cgoom.core.eligible import skip_reason
from cgoom.core.explain import CONSIDERED_LIMIT, explain
from cgoom.core.rank import rank
from cgoom.daemon.sources import NEVER_USEC
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
# meanwhile is less than what lies below the kill threshold of a host of 1 GiB. Finding one that can die at all among
# those that are only listed may take longer. `find_equals` may follow others for as long.
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
        self._down_to = 0  # the priority below which nothing matters for the first two
        self._priority: int | None = None  # of the equals whose sizes decide; None: there are none
        self._is_searching = False  # there was no time to find one that can be chosen, or the first of them
        self._following: tuple[Candidate, ...] = ()
        self._equals: dict[CgroupRef, Candidate] = {}
        self._unread: deque[Member] = deque()
        self._read: deque[tuple[int, Member]] = deque()  # (when, who), the oldest size first
        self._first: tuple[Candidate, ...] | None = None
        self.is_cut = False  # there was no time to find out the whole order

    def set_policy(self, policy: Policy) -> None:
        """Another policy: everything is looked at again."""
        self._policy = policy
        self.forget()

    def forget(self) -> None:
        """The host is not short: what was read belongs to a shortage that is over."""
        if self._key is not None:
            self._key, self._priority, self._is_searching = None, None, False
            self._equals, self._following, self._first = {}, (), None
            self._unread.clear()
            self._read.clear()

    def look(self, stuck: frozenset[CgroupRef], now_usec: int, *, urgent: bool) -> tuple[Candidate, ...]:
        """The first two of the order; of another priority the second one has no usage.

        Empty where nobody can be chosen, and, unless `urgent`, while it is still being found out who comes first.
        """
        deadline_usec = None
        while True:
            if not self._is_current(stuck):
                self._key = (self._host.tree.changes.generation, stuck)
                self._find(stuck, NEVER_USEC if urgent else read_usec() + SLICE_USEC)
            if self._is_searching:
                self._key = (-1, stuck)
                return ()
            if self.unread or self._read:
                deadline_usec = deadline_usec or read_usec() + (URGENT_USEC if urgent else SLICE_USEC)
                self._read_sizes(stuck, now_usec, deadline_usec, urgent)
            # Who is followed on the way may turn out to have another priority than it was listed with.
            if self._is_current(stuck):
                break
        if self.unread and not urgent:
            return ()
        if self._first is None:
            ranked = rank(self._equals.values(), self._policy.victim)
            self._first = (*ranked[:2], *self._following)[:2]
        return self._first

    @property
    def generation(self) -> int:
        """Of the tree's changes up to which the first two are known to stand; -1: they are not known."""
        return self._key[0] if self._key is not None else -1

    def _is_current(self, stuck: frozenset[CgroupRef]) -> bool:
        """Whether the first two are as they were found."""
        key = self._key
        return key is not None and key[1] == stuck and self._host.tree.changes.down_to(self._down_to) <= key[0]

    @property
    def unread(self) -> int:
        """How many sizes, or workloads, are still to be read: look again soon."""
        listed = self._host.tree.count_listed(self._priority) if self._priority is not None else 0
        return len(self._unread) + listed + self._is_searching

    def is_fresh(self, now_usec: int) -> bool:
        """Whether the next look has no size to read that is missing or old."""
        return not self.unread and (not self._read or now_usec - self._read[0][0] <= SIZE_AGE_USEC)

    def _find(self, stuck: frozenset[CgroupRef], until_usec: int) -> None:
        """The equals of the largest priority number that has any, and one of the next, for the reason's sake."""
        first: list[Member] = []
        self._following, self._priority, self._is_searching, self._down_to = (), None, False, 0
        priorities = iter(self._host.tree.priorities())
        for priority in priorities:
            first = self._able(priority, stuck)
            # Where sizes decide, the others that are only listed are read in slices; else the first of them is enough.
            if not first or not self._is_by_size:
                more = self._follow_able(priority, stuck, until_usec)
                first += [more] if more is not None else []
                self._is_searching = more is None and self._host.tree.count_listed(priority) > 0
            if len(first) == 1 and not self._is_by_size:  # and the second, for the reason's sake
                more = self._follow_able(priority, stuck, read_usec() + SLICE_USEC)
                first += [more] if more is not None else []
            if first or self._is_searching:
                break
        if first and not self._is_searching:
            self._priority = first[0].workload.priority if self._is_by_size else None
            if len(first) > 1:
                self._down_to = first[0].workload.priority
            else:
                self._find_following(priorities, stuck)
        self._take_equals(first)

    def _find_following(self, priorities: Iterable[int], stuck: frozenset[CgroupRef]) -> None:
        """One of the next, if need be one that is only listed, as long as that takes no time to speak of."""
        until_usec = read_usec() + SLICE_USEC
        for priority in priorities:
            able = (each for each in self._host.tree.followed(priority) if self._is_able(each, stuck))
            following = next(able, None)
            if following is None and read_usec() < until_usec:
                following = self._follow_able(priority, stuck, until_usec)
            if following is not None:
                self._following, self._down_to = (Candidate(following.workload),), priority
                return

    def _take_equals(self, first: list[Member]) -> None:
        """What is known of their sizes stays known."""
        known, read_at_usec = self._equals, {member.workload.ref: at_usec for at_usec, member in self._read}
        self._equals = {each.workload.ref: Candidate(each.workload) for each in first}
        self._read.clear()
        self._unread.clear()
        self._first = None
        if self._is_by_size and (len(first) > 1 or self.unread):
            for member in first:
                before = known.get(member.workload.ref)
                if before is None or before.usage is None or member.workload.ref not in read_at_usec:
                    self._unread.append(member)
                else:
                    self._keep(member, before.usage, read_at_usec[member.workload.ref])
            self._read = deque(sorted(self._read, key=lambda pair: pair[0]))

    def _read_sizes(self, stuck: frozenset[CgroupRef], now_usec: int, deadline_usec: int, urgent: bool) -> None:
        """Read what is missing, then what is old, for as long as there is time, and one of them at least."""
        while self._read and now_usec - self._read[0][0] > SIZE_LIMIT_USEC:
            member = self._read.popleft()[1]
            self._equals[member.workload.ref] = Candidate(member.workload)
            self._unread.append(member)
            self._first = None
        while self.unread:
            if self._priority is not None and not (self._unread and urgent):  # who is known can be read in less time
                self._follow_equal(self._priority, stuck)
            if self._unread:
                self._keep_read(self._unread.popleft(), now_usec, urgent)
            if read_usec() >= deadline_usec:
                break
        while not urgent and self._read and now_usec - self._read[0][0] > SIZE_AGE_USEC:
            if read_usec() >= deadline_usec:
                break
            self._keep_read(self._read.popleft()[1], now_usec, urgent)

    def _follow_equal(self, priority: int, stuck: frozenset[CgroupRef]) -> None:
        """Take one more of the equals that are only listed, if there is one that may be chosen."""
        member = self._follow_next(priority)
        if member is not None and self._is_able(member, stuck):
            self._equals[member.workload.ref] = Candidate(member.workload)
            self._unread.append(member)

    def _follow_able(self, priority: int, stuck: frozenset[CgroupRef], until_usec: int) -> Member | None:
        """The first of those that are only listed that may be chosen; None: there is none, or no time for another."""
        while self._host.tree.count_listed(priority):
            member = self._follow_next(priority)
            if member is not None and self._is_able(member, stuck):
                return member
            if read_usec() >= until_usec:
                break
        return None

    def _follow_next(self, priority: int) -> Member | None:
        """Follow one more. If nothing else shows on that occasion, what was found stays current."""
        tree, key = self._host.tree, self._key
        was_current, known = key is not None and self._is_current(key[1]), tree.changes.generation
        member = tree.follow_next(priority, oldest=self.is_oldest_first)
        if member is not None and key is not None and was_current and tree.changes.generation == known + 1:
            self._key = (tree.changes.generation, key[1])
        return member

    def _keep_read(self, member: Member, now_usec: int, urgent: bool) -> None:
        usage = read_usage(member.cgroup, by_share=self._host.hybrid and not urgent)
        self._keep(member, usage or Usage(0, 0), now_usec)  # gone, or it does not tell: then it has the last place

    def _keep(self, member: Member, usage: Usage, now_usec: int) -> None:
        self._equals[member.workload.ref] = Candidate(member.workload, usage)
        self._read.append((now_usec, member))
        self._first = None

    def find_considered(self, victim: Candidate) -> list[Considered]:
        """The first of the order, for the record: the victim, its equals as they were known, then the next ones.

        Whoever is only listed is left out.
        """
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
        worth. So it would on a hybrid host, where every process has to be looked at. Who is only listed is followed as
        far as it takes and there is time; the order ends where it is not known yet, and then `is_cut`.
        """
        self.is_cut = False
        by_size, until_usec = self._is_by_size and not self._host.hybrid, read_usec() + URGENT_USEC
        for priority in self._host.tree.priorities():
            found = self._able(priority)
            most = len(found) + limit + 1  # those that are only listed may all come before those that are followed
            while self._host.tree.count_listed(priority) and len(found) < most:
                member = self._host.tree.follow_next(priority, oldest=self.is_oldest_first)
                found += [member] if member is not None and self._is_able(member) else []
                if read_usec() >= until_usec:
                    break
            self.is_cut = bool(self._host.tree.count_listed(priority)) and len(found) < most
            read = may_read and by_size and 1 < len(found) <= limit
            if found:
                yield [self._look_at(member, read) for member in found]
            if self.is_cut:
                return

    def _look_at(self, member: Member, read: bool) -> Candidate:
        if not read:
            known = self._equals.get(member.workload.ref)  # as it was when it was last looked at
            usage = known.usage if known is not None else None
            return Candidate(member.workload, usage)
        return Candidate(member.workload, read_usage(member.cgroup))

    def _able(self, priority: int, stuck: frozenset[CgroupRef] = frozenset()) -> list[Member]:
        """Those of this priority that are followed and may be chosen."""
        return [member for member in self._host.tree.followed(priority) if self._is_able(member, stuck)]

    def _is_able(self, member: Member, stuck: frozenset[CgroupRef] = frozenset()) -> bool:
        return not self.skip(member) and member.workload.ref not in stuck

    @property
    def _is_by_size(self) -> bool:
        return not _BY_SIZE.isdisjoint(self._policy.victim.tie_break)

    @property
    def is_oldest_first(self) -> bool:
        """Whether the older ones of equals come first, as far as age decides."""
        by_age = (each for each in self._policy.victim.tie_break if each not in _BY_SIZE)
        return next(by_age, TieBreak.NEWEST) is TieBreak.OLDEST

    def skip(self, member: Member) -> str:
        """Why this one cannot be chosen, or nothing."""
        reason = skip_reason(member.workload, self._host.own_path, member.populated)
        if not reason and self._host.tree.shields(member.workload.ref.path):
            return "something protected runs below it"
        return reason

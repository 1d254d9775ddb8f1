"""The order in which workloads die. Total and deterministic: priority, then the tie-breaks, then the cgroup id.

The order in which candidates are given never matters, because no two of them have the same key.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from heapq import nsmallest

from cgoom.model import Candidate, TieBreak, VictimPolicy, Workload
from cgoom.units import render_size


def rank(candidates: Iterable[Candidate], victim: VictimPolicy) -> list[Candidate]:
    """Everyone, the first to die first; those that cannot be chosen come last."""
    return sorted(candidates, key=lambda candidate: _key(candidate, victim.tie_break))


def rank_first(equals: Iterable[Iterable[Candidate]], victim: VictimPolicy, limit: int) -> tuple[Workload, ...]:
    """The first `limit` of the order, those that cannot be chosen left out.

    `equals`: the candidates of each priority, the largest number first; no more of them are taken than it needs.
    """
    found: list[Workload] = []
    for group in equals:
        able = (candidate for candidate in group if not candidate.skip)
        first = nsmallest(limit - len(found), able, key=lambda candidate: _key(candidate, victim.tie_break))
        found += [candidate.workload for candidate in first]
        if len(found) >= limit:
            break
    return tuple(found)


def place_reason(ranked: Sequence[Candidate], index: int, victim: VictimPolicy) -> str:
    """Why the one at `index` stands before the next one that can be chosen."""
    mine = ranked[index]
    if mine.skip:
        return mine.skip
    following = next((other for other in ranked[index + 1 :] if not other.skip), None)
    if following is None:
        return "the last one that can be chosen" if index else "the only one that can be chosen"
    priority, other = mine.workload.priority, following.workload.priority
    if priority != other:
        return f"priority {priority} over {other}"
    for tie_break in victim.tie_break:
        if _break(mine, tie_break) != _break(following, tie_break):
            return f"same priority {priority}, {_tie_text(mine, following, tie_break)}"
    return f"same priority {priority}, newer"


def _key(candidate: Candidate, tie_break: tuple[TieBreak, ...]) -> tuple[int, ...]:
    workload = candidate.workload
    return (
        int(bool(candidate.skip)),
        -workload.priority,
        *(_break(candidate, each) for each in tie_break),
        -workload.ref.cgroup_id,
    )


def _break(candidate: Candidate, tie_break: TieBreak) -> int:
    """Smaller dies first. The kernel gives out cgroup ids in ascending order, so that a larger one is newer."""
    cgroup_id = candidate.workload.ref.cgroup_id
    if tie_break is TieBreak.NEWEST:
        return -cgroup_id
    if tie_break is TieBreak.OLDEST:
        return cgroup_id
    size_bytes = candidate.usage.freeable_bytes if candidate.usage else 0
    return -size_bytes if tie_break is TieBreak.LARGEST else size_bytes


def _tie_text(mine: Candidate, following: Candidate, tie_break: TieBreak) -> str:
    if tie_break in (TieBreak.NEWEST, TieBreak.OLDEST):
        return {TieBreak.NEWEST: "newer", TieBreak.OLDEST: "older"}[tie_break]
    sizes = [render_size(each.usage.freeable_bytes if each.usage else 0) for each in (mine, following)]
    word = "larger" if tie_break == TieBreak.LARGEST else "smaller"
    return f"{word} ({sizes[0]} to {sizes[1]})"

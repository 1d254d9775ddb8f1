"""Who would die, in order, and why: the same order that `decide` uses, told in words."""

from __future__ import annotations

from collections.abc import Iterable

from cgoom.core.rank import place_reason, rank
from cgoom.model import Candidate, Considered, Policy

# Entries of a record's order list; chosen: more than a person reads, little enough for one line of history.
CONSIDERED_LIMIT = 16


def explain(policy: Policy, candidates: Iterable[Candidate], limit: int | None = None) -> list[Considered]:
    """The order with a reason for every place; at most `limit` entries."""
    ranked = rank(candidates, policy.victim)
    return [
        Considered(
            name=candidate.workload.name,
            priority=candidate.workload.priority,
            usage_bytes=candidate.usage.freeable_bytes if candidate.usage else None,
            why=place_reason(ranked, index, policy.victim),
        )
        for index, candidate in enumerate(ranked[:limit])
    ]

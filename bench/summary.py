"""From JSON lines to medians and ranges. Pure."""

from __future__ import annotations

import json
import math
import random
import statistics
from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from bench.contestants import CONTESTANTS
from bench.scenario import LOW

Fields = dict[str, Any]
# What two groups of runs showed.
Pair = tuple[Sequence[float], Sequence[float]]
# Random divisions of the runs that a difference is held against; chosen: a share of 0.05 is known to 0.004 then.
DIVISIONS = 10_000
# Shares that are the same but for the order in which they were added up.
_ROUNDING = 1e-9


@dataclass(frozen=True)
class Spread:
    """What was seen, in the order of its size, in so many of `runs` runs; at least one value."""

    values: tuple[float, ...]
    runs: int

    @property
    def seen(self) -> int:
        """In how many runs there was such a moment."""
        return len(self.values)

    @property
    def median(self) -> float:
        """Of two in the middle, what is between them."""
        return statistics.median(self.values)

    @property
    def least(self) -> float:
        """The smallest value."""
        return self.values[0]

    @property
    def most(self) -> float:
        """The largest value."""
        return self.values[-1]

    @property
    def p99(self) -> float:
        """The 99th percentile, by the nearest rank: a value that was seen."""
        return self.values[math.ceil(0.99 * self.seen) - 1]


@dataclass(frozen=True)
class Row:
    """One contestant in one scenario. `spreads`: field of a run -> its spread; a field that no run has is not there."""

    scenario: str
    contestant: str
    runs: int
    right: int  # runs in which the least important workload was the first to be killed
    by: str  # who killed first: `daemon 9, kernel 1`
    firsts: str  # who was killed first: `low 9, high 1`
    killed: str  # how many workloads a run lost, from the fewest to the most
    spreads: dict[str, Spread]


def parse_lines(text: str) -> list[Fields]:
    """One object for each line; the last one may be half written by a guest that was lost, and does not count."""
    lines = text.splitlines()
    found = []
    for number, line in enumerate(lines, 1):
        try:
            found.append(json.loads(line))
        except ValueError:
            if number != len(lines):
                raise
    return found


def spread_of(values: Sequence[float | None]) -> Spread | None:
    """The spread of the values that are there; None: there are none."""
    seen = tuple(sorted(value for value in values if value is not None))
    return Spread(seen, len(values)) if seen else None


def longer_share(pairs: Sequence[Pair]) -> float:
    """In which share of the pairs of one of ours and one of theirs ours is the longer: 0.5 if neither is.

    Each of `pairs` is what one scenario showed; the mean over them, whatever their number of runs.
    """
    return statistics.fmean(
        sum((one > other) + (one == other) / 2 for one in ours for other in theirs) / (len(ours) * len(theirs))
        for ours, theirs in pairs
    )


def chance_of(pairs: Sequence[Pair]) -> float:
    """The share of random divisions of the same runs in which ours are the longer as often as they were, or oftener.

    A permutation test on `longer_share`, one-sided, the runs of each scenario among themselves; below 0.05 a difference
    is commonly believed.
    """
    dice = random.Random(0)  # the same for the same runs
    ranks = [(_weigh(ours, theirs), len(ours)) for ours, theirs in pairs]
    shown = sum(sum(drawn[:count]) for drawn, count in ranks)
    hits = 0
    for _ in range(DIVISIONS):
        divided = 0.0
        for drawn, count in ranks:
            dice.shuffle(drawn)
            divided += sum(drawn[:count])
        hits += divided >= shown - _ROUNDING
    return (hits + 1) / (DIVISIONS + 1)  # what was shown is one of the divisions, too


def _weigh(ours: Sequence[float], theirs: Sequence[float]) -> list[float]:
    """What each run adds to its scenario's share if it is one of ours, ours first, but for a constant.

    Its rank, ties sharing theirs: the pairs that are ours are counted by a sum then (Mann and Whitney, 1947).
    """
    runs, pairs = [*ours, *theirs], len(ours) * len(theirs)
    ordered = sorted(runs)
    return [(bisect_left(ordered, run) + bisect_right(ordered, run)) / 2 / pairs for run in runs]


def summarise(lines: Iterable[Fields]) -> list[Row]:
    """One row for each scenario, in the order of their first runs, and contestant, in the order of their list."""
    groups: dict[tuple[str, str], list[Fields]] = {}
    for line in lines:
        if line["kind"] == "run":
            groups.setdefault((line["scenario"], line["contestant"]), []).append(line)
    scenarios = list(dict.fromkeys(scenario for scenario, _ in groups))
    places = {name: place for place, name in enumerate(CONTESTANTS)}
    # A result that was kept may be of somebody who is no contestant any more.
    listed = sorted(groups, key=lambda key: (scenarios.index(key[0]), places.get(key[1], len(places))))
    return [_summarise_group(*key, groups[key]) for key in listed]


def _summarise_group(scenario: str, contestant: str, runs: list[Fields]) -> Row:
    names = list(dict.fromkeys(name for run in runs for name, value in run.items() if is_number(value)))
    spreads = {name: spread_of([run.get(name) for run in runs]) for name in names}
    killed = [len(run["order"]) for run in runs]
    return Row(
        scenario,
        contestant,
        len(runs),
        sum(run["first"] == LOW for run in runs),
        count_words([run["by"] for run in runs]),
        count_words([run["first"] for run in runs]),
        str(min(killed)) if min(killed) == max(killed) else f"{min(killed)}-{max(killed)}",
        {name: spread for name, spread in spreads.items() if spread is not None},
    )


def is_number(value: object) -> bool:
    """Whether it can have a median; True and False cannot."""
    return isinstance(value, int | float) and not isinstance(value, bool)


def count_words(words: Sequence[str | None]) -> str:
    """`daemon 9, kernel 1`, the most frequent first; `nobody` for None."""
    counts: dict[str, int] = {}
    for word in words:
        counts[word or "nobody"] = counts.get(word or "nobody", 0) + 1
    return ", ".join(f"{word} {count}" for word, count in sorted(counts.items(), key=lambda each: -each[1]))

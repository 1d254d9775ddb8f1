"""oom_score_adj of a whole cgroup: the largest one for the next victim, and back to what it was.

Only the first place can be had this way: among several workloads of score 1000 the kernel would go by size.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass

from cgoom.errors import GoneError, NotPermittedError
from cgoom.kernel.cgroup import Cgroup
from cgoom.kernel.proc import read_oom_score_adj, read_stat, write_oom_score_adj

NEXT_SCORE = 1000  # OOM_SCORE_ADJ_MAX, include/uapi/linux/oom.h: the kernel takes it before every smaller one
_NEVER_SCORE = -1000  # OOM_SCORE_ADJ_MIN: whoever set it knew why
# Looks at cgroup.procs; chosen: a child that is forked before its parent's score changed is found by the second one,
# and a fork bomb must not keep us for ever.
_ROUNDS = 8


@dataclass(frozen=True, slots=True)
class OwnScore:
    """A process whose score was not that of most others of its cgroup. `starttime` as in /proc/PID/stat."""

    pid: int
    starttime: int
    score: int


@dataclass(frozen=True, slots=True)
class Scores:
    """What the processes of a cgroup had before: most of them `common`, the others their own."""

    common: int
    others: tuple[OwnScore, ...] = ()


def read_scores(cgroup: Cgroup, known: Scores | None = None) -> Scores:
    """What the processes have now; to be kept somewhere safe before `raise_scores`. Raises GoneError, KernelError.

    `known`: what they had before an earlier `raise_scores`. Whoever still has NEXT_SCORE counts with that, and not with
    what we wrote; whoever is new, or wrote its own score since, counts with what it has.
    """
    found: dict[int, int] = {}
    own = {each.pid: each for each in known.others} if known is not None else {}
    for pid in cgroup.read_procs_recursive():
        with suppress(GoneError):
            score = read_oom_score_adj(pid)
            if known is not None and score == NEXT_SCORE:
                score = _read_before(pid, own, known.common)
            found[pid] = score
    scores = Counter(score for score in found.values() if score != _NEVER_SCORE)
    if not scores:
        return known or Scores(0)
    common = scores.most_common(1)[0][0]
    others = []
    for pid, score in found.items():
        if score not in (common, _NEVER_SCORE):
            with suppress(GoneError):
                others.append(OwnScore(pid, read_stat(pid).starttime, score))
    return Scores(common, tuple(others))


def raise_scores(cgroup: Cgroup) -> None:
    """Give every process NEXT_SCORE; new children inherit it. Raises NotPermittedError, GoneError, KernelError."""
    for pid in _each_process(cgroup):
        with suppress(GoneError):
            if read_oom_score_adj(pid) not in (NEXT_SCORE, _NEVER_SCORE):
                write_oom_score_adj(pid, NEXT_SCORE)


def put_back_scores(cgroup: Cgroup, scores: Scores) -> int:
    """Give the processes that still have NEXT_SCORE what they had; for how many the kernel refused.

    Raises GoneError, KernelError.
    """
    refused = 0
    own = {each.pid: each for each in scores.others}
    for pid in _each_process(cgroup):
        with suppress(GoneError):
            if read_oom_score_adj(pid) != NEXT_SCORE:
                continue
            score = _read_before(pid, own, scores.common)
            try:
                if score != NEXT_SCORE:
                    write_oom_score_adj(pid, score)
            except NotPermittedError:
                refused += 1
    return refused


def _read_before(pid: int, own: dict[int, OwnScore], common: int) -> int:
    """What it had before it was raised; its pid may be another process by now. Raises GoneError, KernelError."""
    other = own.get(pid)
    return other.score if other is not None and read_stat(pid).starttime == other.starttime else common


def _each_process(cgroup: Cgroup) -> Iterator[int]:
    """The pid of each process, until a look finds no new one."""
    known: set[int] = set()
    for _ in range(_ROUNDS):
        found = set(cgroup.read_procs_recursive()) - known
        if not found:
            return
        known |= found
        yield from found

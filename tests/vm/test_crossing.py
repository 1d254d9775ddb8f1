"""From the moment at which memory crosses a threshold to the one at which user space knows, three ways to watch."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.support.hogs import hog
from tests.support.module import read_level
from tests.support.observe import KINDS, MODULE, Observers
from tests.support.sampler import Sampler, Seen
from tests.support.wait import wait_until
from tests.vm.cells import Cells, available_mib
from tests.vm.gate import read_own_kib
from tests.vm.original import KILL_SHARE, SLOW_MIB_PER_S, WARN_SHARE, first_at

pytestmark = pytest.mark.vm

WATCHERS = (MODULE, *KINDS)
SHARES = {1: WARN_SHARE, 2: KILL_SHARE}
# Milliseconds between two samples of the truth; each takes some 0.2 ms in an emulated guest.
INTERVAL_MS = 2
# Share of memory and swap by which the module's own reading may differ from a sample next to it; measured: pages that
# the per-CPU lists hold come and go between two readings.
NEAR_SHARE = 0.005
# MiB that are left when the slow one becomes slow: twice the threshold of a warning.
SLOW_PART_MIB = 200
# MiB that may be missing of what was there before a run; chosen: what the run itself leaves behind, many times over.
SLACK_MIB = 50
# Seconds; a guest with swap thrashes before both are short.
FULL_LIMIT = 120.0
# Seconds that the slower observers get once the first one has seen everything.
LATE_SEC = 10.0


@dataclass(frozen=True)
class Crossing:
    """One run: the truth, the last moment it was not near, and who knew when. Level -> microseconds; None: never."""

    truth: dict[int, int | None]
    far: dict[int, int | None]
    known: dict[str, dict[int, int | None]]


def read_room_mib() -> int:
    """What can be taken of memory and swap, about."""
    return available_mib() + read_own_kib("SwapFree") // 1024


def run_hog(cells: Cells, observers: Observers, directory: Path, rate_mib: int) -> Crossing:
    """Fill the machine once; the hog dies as soon as everybody knows, or by the kernel, as its first choice.

    A slow one begins where little is left.
    """
    begun_usec, room_mib = time.monotonic_ns() // 1000, read_room_mib()
    burst_mib = max(0, room_mib - SLOW_PART_MIB) if rate_mib else 0

    def seen_by(*kinds: str) -> bool:
        return all(observers.first_at(kind, 2, begun_usec) for kind in kinds)

    with Sampler(directory, interval_ms=INTERVAL_MS) as sampler:
        cell = cells.add("hog", hog(1 << 20, rate_mib=rate_mib, burst_mib=burst_mib), score=1000)
        wait_until(lambda: seen_by("event") or not cell.is_alive(), FULL_LIMIT, "level 2 to be told")
        with suppress(AssertionError):  # who has not seen it by now has missed it, which is a result
            wait_until(lambda: seen_by(*KINDS) or not cell.is_alive(), LATE_SEC, "everybody to know")
        cell.end()
    wait_until(lambda: read_level() == 0 and read_room_mib() >= room_mib - SLACK_MIB, 60, "room again")
    known = {kind: {level: observers.first_at(kind, level, begun_usec) for level in SHARES} for kind in WATCHERS}
    truth = {level: first_at(sampler.seen, share) for level, share in SHARES.items()}
    return Crossing(truth, {level: last_far(sampler.seen, share) for level, share in SHARES.items()}, known)


def last_far(seen: Seen, share: float) -> int | None:
    """The last sample before the first one that reached the threshold or missed it by no more than the margin."""
    near = first_at(seen, share + NEAR_SHARE)
    return max((sample.t_usec for sample in seen.samples if near is not None and sample.t_usec < near), default=None)


def spread(runs: list[Crossing], kind: str, level: int) -> dict[str, float]:
    """Milliseconds from the truth to knowing it: median and worst, and in how many runs it was known at all."""
    pairs = [(run.truth[level], run.known[kind][level]) for run in runs]
    lags = [(known - truth) / 1000 for truth, known in pairs if truth is not None and known is not None]
    return {"median": statistics.median(lags), "worst": max(lags), "seen": len(lags)} if lags else {"seen": 0}


@pytest.mark.long
@pytest.mark.usefixtures("module")
@pytest.mark.parametrize("rate_mib", [SLOW_MIB_PER_S, 0], ids=["slow", "fastest"])
def test_crossing_is_known(
    request: pytest.FixtureRequest,
    cells: Cells,
    tmp_path: Path,
    rate_mib: int,
    measured: Callable[[Mapping[str, object]], None],
) -> None:
    with Observers(tmp_path) as observers:
        count = request.config.getoption("--runs")
        runs = [run_hog(cells, observers, tmp_path, rate_mib) for _ in range(count)]
    measured(
        {
            "runs": len(runs),
            "crossing_ms": {
                kind: {("warn", "kill")[level - 1]: spread(runs, kind, level) for level in SHARES} for kind in WATCHERS
            },
        }
    )
    for run in runs:
        for level in SHARES:
            known, far = run.known["event"][level], run.far[level]
            assert known is not None, f"level {level} was not told"
            assert far is not None, f"level {level} was told and never reached"
            assert known >= far

"""The smallest acceptance test: the less important one dies first, though the other one eats more memory."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Mapping

import pytest

from tests.support.scene import Scene
from tests.vm.original import Run, run_original

pytestmark = pytest.mark.vm


def test_b05_the_less_important_one_dies_and_the_other_goes_on(
    request: pytest.FixtureRequest,
    measured: Callable[[Mapping[str, object]], None],
) -> None:
    runs = [run_once() for _ in range(request.config.getoption("--runs"))]
    measured(
        {
            "runs": len(runs),
            "slow_died_first": sum(run.slow_status == 137 for run in runs),
            "other_alive": sum(run.fast_alive for run in runs),
            "kernel_oom_kills": sum(run.kernel_oom_kills for run in runs),
            "lowest_available_kib": min(run.lowest_available_kib for run in runs),
            "steps_ms": {
                "crossing to kill written": spread([run.crossing_to_kill_ms for run in runs]),
                "kill written to populated 0": spread([run.kill_to_empty_ms for run in runs]),
                "crossing to MemAvailable recovered": spread([run.crossing_to_recovered_ms for run in runs]),
            },
        }
    )
    for run in runs:
        assert run.slow_status == 137
        assert run.fast_alive
        assert run.kernel_oom_kills == 0
        assert "slow: killed by cgoom: the host was short of memory (MemAvailable" in run.slow_said
        assert "(priority 100 over 10); history " in run.slow_said


def run_once() -> Run:
    """One run on an empty stage, with a daemon of its own."""
    with Scene() as scene:
        return run_original(scene, scene.daemon())


def spread(values: list[float | None]) -> dict[str, float]:
    """Minimum, median, 90th percentile and maximum of what was seen, and in how many runs."""
    ordered = sorted(value for value in values if value is not None)
    if not ordered:
        return {}
    nearest = ordered[min(len(ordered) - 1, int(0.9 * len(ordered)))]
    return {
        "min": ordered[0],
        "median": statistics.median(ordered),
        "p90": nearest,
        "max": ordered[-1],
        "seen": len(ordered),
    }

"""The daemon is stopped in the middle of its work: who dies first then, with the module and without it.

With the module the order holds. Without it only the first place was prepared, and a score is no strict order: what
comes out is measured, not promised.
"""

from __future__ import annotations

import signal
import statistics
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass

import pytest

from tests.support.daemon import Daemon
from tests.support.sampler import Sampler
from tests.support.scene import Scene
from tests.support.wait import wait_until
from tests.vm.gate import Gate
from tests.vm.original import ALIVE_SEC, FULL_LIMIT, launch_pair, milliseconds_between
from tests.vm.test_eleven import LIMIT, PRIORITIES, events_of_eleven, launch_eleven, read_deaths
from tests.vm.test_with_module import cgroup_id, read_scores, read_stats, wait_armed

pytestmark = pytest.mark.vm

Measured = Callable[[Mapping[str, object]], None]

# What a plain test asks for, and runs of the pair that it gets: half a minute each in an emulated guest. Who asks for
# more, as the acceptance table does, gets them.
PLAIN_RUNS, FEW_RUNS = 3, 1
# Runs and ladders without the module at most, to compare with; a plain test, which asks for fewer ladders, has none.
COMPARED_RUNS, COMPARED_LADDERS = 10, 2
# MiB that the pair leaves at first; chosen: three seconds of the two, which is what a run is about.
ROOM_MIB = 240
# Chosen: all eleven fill the guest in two seconds, and the last one alone in ten.
LADDER_RATE_MIB_PER_S = 60
RIGHT_ORDER = sorted(PRIORITIES, reverse=True)


@dataclass(frozen=True)
class Stopped:
    """One run of the pair. `steered_to_empty_ms`: from the module's kill to the empty cgroup; None without it."""

    slow_first: bool
    fast_alive: bool
    kernel_oom_kills: int
    steered_to_empty_ms: float | None


@contextmanager
def stopped(daemon: Daemon) -> Iterator[None]:
    """SIGSTOP; it goes on afterwards."""
    daemon.send(signal.SIGSTOP)
    try:
        yield
    finally:
        daemon.send(signal.SIGCONT)


def run_pair(with_module: bool) -> Stopped:
    """The original scenario beside a daemon that has prepared everything and was stopped then."""
    with Scene() as scene:
        daemon = scene.daemon("version: 1")
        pair = launch_pair(scene, ROOM_MIB)
        wait_prepared(scene, 2, "slow", with_module)
        victim_id = cgroup_id(scene, "slow")
        events = {name: str(scene.cgroup(name) / "cgroup.events") for name in ("slow", "fast")}
        with stopped(daemon):
            with Sampler(scene.directory, watch=events) as sampler:
                pair.gate.open()
                wait_until(
                    lambda: not scene.is_populated("slow") or not scene.is_populated("fast"), FULL_LIMIT, "a death"
                )
                died = time.monotonic()
                wait_until(lambda: time.monotonic() >= died + ALIVE_SEC, ALIVE_SEC + 5, "3 s to pass")
                alive = scene.is_populated("fast")
            steered = read_steered_usec(victim_id) if with_module else None
        slow_usec, fast_usec = sampler.seen.empty_usec["slow"], sampler.seen.empty_usec["fast"]
        assert slow_usec or fast_usec, "a death was not seen"
        first = slow_usec is not None and (fast_usec is None or slow_usec < fast_usec)
        return Stopped(first, alive, scene.oom_kills(), milliseconds_between(steered, slow_usec))


def wait_prepared(scene: Scene, count: int, first: str, with_module: bool) -> None:
    """Until the daemon has done what it does ahead: the module's order, or the score of the first."""
    if with_module:
        wait_armed(scene, count)
    else:
        wait_until(lambda: read_scores(scene, first) == {1000}, 30, f"oom_score_adj 1000 on {first}")


def read_steered_usec(victim_id: int) -> int | None:
    """When the module made this cgroup die."""
    return next((kill.time_ns // 1000 for kill in read_stats().kills if kill.cgroup_id == victim_id), None)


def measure_pairs(config: pytest.Config, measured: Measured, with_module: bool) -> list[Stopped]:
    """As many runs as are asked for."""
    asked: int = config.getoption("--runs")
    count = asked if asked > PLAIN_RUNS else min(asked, FEW_RUNS)
    runs = [run_pair(with_module) for _ in range(count if with_module else min(count, COMPARED_RUNS))]
    times = [run.steered_to_empty_ms for run in runs if run.steered_to_empty_ms is not None]
    measured(
        {
            "runs": len(runs),
            "right": sum(run.slow_first and run.fast_alive for run in runs),
            "slow_died_first": sum(run.slow_first for run in runs),
            "kernel_oom_kills": sum(run.kernel_oom_kills for run in runs),
            "steered_to_empty_ms": {"median": statistics.median(times), "worst": max(times)} if times else {},
        }
    )
    return runs


@pytest.mark.usefixtures("module")
def test_stopped_with_the_module_the_right_one_dies(request: pytest.FixtureRequest, measured: Measured) -> None:
    runs = measure_pairs(request.config, measured, with_module=True)
    assert all(run.slow_first and run.fast_alive for run in runs)
    assert all(run.steered_to_empty_ms is not None for run in runs)


@pytest.mark.long
@pytest.mark.usefixtures("no_module")
def test_stopped_without_the_module_somebody_dies(request: pytest.FixtureRequest, measured: Measured) -> None:
    runs = measure_pairs(request.config, measured, with_module=False)
    assert all(run.kernel_oom_kills >= 1 for run in runs)


def run_ladder(with_module: bool) -> tuple[list[int], int]:
    """Eleven beside a daemon that was stopped: the order of their deaths, and how many the kernel killed."""
    with Scene() as scene:
        daemon = scene.daemon("version: 1")
        gate = Gate(scene)
        launch_eleven(scene, gate, LADDER_RATE_MIB_PER_S)
        wait_prepared(scene, len(PRIORITIES), f"p{RIGHT_ORDER[0]}", with_module)
        with stopped(daemon), Sampler(scene.directory, watch=events_of_eleven(scene)) as sampler:
            gate.open()
            wait_until(
                lambda: not any(scene.is_populated(f"p{each}") for each in PRIORITIES), LIMIT, "all eleven to die"
            )
        empty, order = read_deaths(sampler)
        assert all(empty.values()), "a death was not seen"
        return order, scene.oom_kills()


def measure_ladders(config: pytest.Config, measured: Measured, with_module: bool) -> list[list[int]]:
    """As many ladders as are asked for."""
    asked: int = config.getoption("--ladders")
    count, least = (asked, 1) if with_module else (min(asked, COMPARED_LADDERS), COMPARED_LADDERS)
    if count < least:
        pytest.skip(f"--ladders is {asked}: give {least} or more")
    ladders = [run_ladder(with_module) for _ in range(count)]
    orders = [order for order, _ in ladders]
    measured(
        {
            "ladders": count,
            "right": sum(order == RIGHT_ORDER for order in orders),
            "orders": sorted({" ".join(map(str, order)) for order in orders}),
            "kernel_oom_kills": sum(kills for _, kills in ladders),
        }
    )
    return orders


@pytest.mark.long
@pytest.mark.usefixtures("module")
def test_stopped_with_the_module_eleven_die_in_strict_order(request: pytest.FixtureRequest, measured: Measured) -> None:
    orders = measure_ladders(request.config, measured, with_module=True)
    assert orders == [RIGHT_ORDER] * len(orders)


@pytest.mark.long
@pytest.mark.usefixtures("no_module")
def test_stopped_without_the_module_all_eleven_die(request: pytest.FixtureRequest, measured: Measured) -> None:
    orders = measure_ladders(request.config, measured, with_module=False)
    assert all(sorted(order, reverse=True) == RIGHT_ORDER for order in orders)

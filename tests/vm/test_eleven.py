"""Eleven workloads that all want the whole machine: they die one by one, the least important first."""

from __future__ import annotations

import functools
import os
import random
import re
import time
from collections.abc import Callable, Mapping

import pytest

from tests.support.daemon import Daemon
from tests.support.hogs import hog
from tests.support.sampler import Sampler
from tests.support.scene import Scene
from tests.support.wait import wait_until
from tests.vm.gate import Gate

pytestmark = pytest.mark.vm

PRIORITIES = range(0, 1001, 100)
RATE_MIB_PER_S = 12
# Seconds for one of them to fill an emulated guest alone.
LIMIT = 300.0


def launch_eleven(scene: Scene, gate: Gate, rate_mib: int = RATE_MIB_PER_S) -> dict[int, Callable[[], int | None]]:
    """All eleven, waiting at the gate. Priority -> exit status of its launcher, or None."""
    order = list(PRIORITIES)
    random.shuffle(order)
    command = gate.behind(hog(1 << 20, rate_mib=rate_mib, ignore_term=True))
    launchers = {priority: scene.launch(f"p{priority}", priority, *command) for priority in order}
    wait_until(lambda: all(scene.is_populated(f"p{priority}") for priority in order), 60, "all eleven to run")
    return {priority: launcher.poll for priority, launcher in launchers.items()}


def death_order(daemon: Daemon) -> list[int]:
    """Priorities in the order of the history."""
    return [record["victim"]["priority"] for record in daemon.records() if record["kind"] == "shortage"]


def test_b23_eleven_die_in_strict_order(scene: Scene, measured: Callable[[Mapping[str, object]], None]) -> None:
    daemon = scene.daemon()
    gate = Gate(scene)
    statuses = launch_eleven(scene, gate)
    gate.open()
    wait_until(lambda: all(poll() is not None for poll in statuses.values()), LIMIT, "all eleven to die")
    wait_until(lambda: len(death_order(daemon)) >= len(PRIORITIES), 30, "eleven records")
    measured({"order": death_order(daemon), "kernel_oom_kills": scene.oom_kills()})
    assert death_order(daemon) == sorted(PRIORITIES, reverse=True)
    assert [poll() for poll in statuses.values()] == [137] * len(PRIORITIES)
    assert scene.oom_kills() == 0


@pytest.mark.long
def test_b23_the_order_survives_daemons_that_are_killed_at_random(
    scene: Scene, measured: Callable[[Mapping[str, object]], None]
) -> None:
    seed = int(os.environ.get("CGOOM_SEED", time.time_ns() % 1_000_000))
    daemon = scene.daemon()
    gate = Gate(scene)
    statuses = launch_eleven(scene, gate)
    with Sampler(scene.directory, watch=events_of_eleven(scene)) as sampler:
        gate.open()
        over = functools.partial(all_ended, statuses)
        killed = kill_at_random(daemon, random.Random(seed), over)
    empty, order = read_deaths(sampler)
    promised = [read_promise(scene.stderr(f"p{priority}")) for priority in PRIORITIES]
    kept = wait_until(lambda: kept_promises(daemon, promised), 30, "every record that a verdict names")
    measured(
        {
            "seed": seed,
            "daemons_killed": killed,
            "order": order,
            "records": len(kept),
            "kernel_oom_kills": scene.oom_kills(),
        }
    )
    assert all(empty.values()), "a death was not seen"
    assert order == sorted(PRIORITIES, reverse=True)
    assert any(promised), "no daemon ever killed anybody"
    assert len(kept) == len(set(kept)), "a decision was recorded twice"
    assert killed >= 2


def events_of_eleven(scene: Scene) -> dict[str, str]:
    """What a sampler watches to see each of them die."""
    return {f"p{priority}": str(scene.cgroup(f"p{priority}") / "cgroup.events") for priority in PRIORITIES}


def read_deaths(sampler: Sampler) -> tuple[dict[int, int | None], list[int]]:
    """When each of them was empty; and all of them in that order, those that were not seen to die in front."""
    empty = {priority: sampler.seen.empty_usec[f"p{priority}"] for priority in PRIORITIES}
    return empty, sorted(PRIORITIES, key=lambda priority: empty[priority] or 0)


def all_ended(statuses: Mapping[int, Callable[[], int | None]]) -> bool:
    """Whether every launcher has ended."""
    return all(poll() is not None for poll in statuses.values())


def read_promise(said: str) -> str | None:
    """The id of the record that a launcher was promised; None where the kernel was quicker than a new daemon."""
    found = re.search(r"history ([0-9a-f]+)", said)
    return found.group(1) if found else None


def kept_promises(daemon: Daemon, promised: list[str | None]) -> list[str]:
    """The ids in the history, once every promised one is among them; before that nothing."""
    ids = [record["id"] for record in daemon.records()]
    return ids if {each for each in promised if each} <= set(ids) else []


def kill_at_random(daemon: Daemon, chance: random.Random, over: Callable[[], bool]) -> int:
    """`kill -9` and start again at random instants until it is over; how many daemons died."""
    killed, deadline = 0, time.monotonic() + LIMIT
    while not over():
        assert time.monotonic() < deadline, "the eleven did not die in time"
        wait_for_instant(time.monotonic() + chance.uniform(0.5, 4.0), over)
        daemon.restart()
        killed += 1
    return killed


def wait_for_instant(instant: float, over: Callable[[], bool]) -> None:
    """Until CLOCK_MONOTONIC has reached `instant`, or it is over."""
    wait_until(lambda: over() or time.monotonic() >= instant, 10, "the instant")

"""The original scenario: a slow hog of priority 100, one of priority 10 that eats three times as fast, a full host."""

from __future__ import annotations

import subprocess
import time
from dataclasses import dataclass
from typing import Any

from tests.support.daemon import Daemon
from tests.support.hogs import hog
from tests.support.sampler import Sample, Sampler, Seen
from tests.support.scene import Scene
from tests.support.wait import wait_until
from tests.vm.gate import Gate, read_own_kib

SLOW_MIB_PER_S = 20
FAST_MIB_PER_S = 60
# Share of memory and swap that the fast one takes at most; at the crossing it has three quarters of what is used.
FAST_SHARE = 0.8
KILL_SHARE = 0.05  # of the built-in policy
WARN_SHARE = 0.10
# Seconds: filling a guest and its swap at 80 MiB/s, thrash included, in an emulated guest.
FULL_LIMIT = 240.0
ALIVE_SEC = 3.0


@dataclass(frozen=True)
class Run:
    """What one run showed; times in milliseconds, None where there was no such moment.

    A host that thrashes may stay between the two thresholds for longer than SIGTERM's grace: then the grace ends the
    victim, and the kill threshold is never crossed.
    """

    slow_status: int | None
    fast_alive: bool
    kernel_oom_kills: int
    lowest_available_kib: int
    crossing_to_kill_ms: float | None
    kill_to_empty_ms: float | None
    crossing_to_recovered_ms: float | None
    slow_said: str


@dataclass(frozen=True)
class Pair:
    """The two, waiting at the gate; their launchers."""

    gate: Gate
    slow: subprocess.Popen[bytes]
    fast: subprocess.Popen[bytes]


def launch_pair(scene: Scene, room_mib: int | None = None) -> Pair:
    """Both of them, each in its cgroup. With `room_mib` they take all but so much of the memory at once: 1 to 3."""
    burst_mib = 0 if room_mib is None else max(0, read_own_kib("MemAvailable") // 1024 - room_mib)
    total_mib = (read_own_kib("MemAvailable") + read_own_kib("SwapFree")) // 1024
    gate = Gate(scene)
    slow_command = hog(1 << 20, rate_mib=SLOW_MIB_PER_S, burst_mib=burst_mib // 4, ignore_term=True)
    slow = scene.launch("slow", 100, *gate.behind(slow_command))
    fast_mib = int(total_mib * FAST_SHARE)
    fast_command = hog(fast_mib, rate_mib=FAST_MIB_PER_S, burst_mib=burst_mib * 3 // 4, ignore_term=True, hold=True)
    fast = scene.launch("fast", 10, *gate.behind(fast_command))
    wait_until(lambda: scene.is_populated("slow") and scene.is_populated("fast"), 30, "both to run")
    return Pair(gate, slow, fast)


def run_original(scene: Scene, daemon: Daemon) -> Run:
    """Fill the machine once, beside a daemon that runs already."""
    kills = scene.oom_kills()
    pair = launch_pair(scene)
    slow, fast = pair.slow, pair.fast
    with Sampler(scene.directory, watch={"slow": str(scene.cgroup("slow") / "cgroup.events")}) as sampler:
        pair.gate.open()
        wait_until(lambda: slow.poll() is not None or fast.poll() is not None, FULL_LIMIT, "somebody to die")
        died = time.monotonic()
        wait_until(
            lambda: fast.poll() is not None or time.monotonic() >= died + ALIVE_SEC, ALIVE_SEC + 5, "3 s to pass"
        )
        alive = fast.poll() is None and scene.is_populated("fast")
    killed_usec, empty_usec = read_kill_usec(daemon), sampler.seen.empty_usec["slow"]
    crossing_usec, recovered_usec = read_crossing(sampler.seen)
    return Run(
        slow_status=slow.poll(),
        fast_alive=alive,
        kernel_oom_kills=scene.oom_kills() - kills,
        lowest_available_kib=min(sample.available_kib for sample in sampler.seen.samples),
        crossing_to_kill_ms=milliseconds_between(crossing_usec, killed_usec),
        kill_to_empty_ms=milliseconds_between(killed_usec, empty_usec),
        crossing_to_recovered_ms=milliseconds_between(crossing_usec, recovered_usec),
        slow_said=scene.stderr("slow"),
    )


def read_kill_usec(daemon: Daemon) -> int:
    """CLOCK_MONOTONIC of the kill of the slow one, as the history tells it."""

    def find_records() -> list[dict[str, Any]]:
        return [record for record in daemon.records() if record["victim"]["name"] == "slow"]

    record = wait_until(find_records, 30, "the record of slow's end")[-1]
    offset_usec = (time.monotonic_ns() - time.time_ns()) // 1000
    at_usec = next(step["at_usec"] for step in record["steps"] if step["what"] == "kill")
    return int(record["time_usec"]) + int(at_usec) + offset_usec


def milliseconds_between(begun_usec: int | None, ended_usec: int | None) -> float | None:
    """The time between two moments that both were seen, the first one first."""
    if begun_usec is None or ended_usec is None or ended_usec < begun_usec:
        return None
    return (ended_usec - begun_usec) / 1000


def read_crossing(seen: Seen) -> tuple[int | None, int | None]:
    """When memory (and swap) first were at the kill threshold, and when MemAvailable was above the warning again."""
    crossing = first_at(seen, KILL_SHARE)
    if crossing is None:
        return None, None
    total_kib = read_own_kib("MemTotal")
    back = (s.t_usec for s in seen.samples if s.t_usec > crossing and s.available_kib > total_kib * WARN_SHARE)
    return crossing, next(back, None)


def first_at(seen: Seen, share: float) -> int | None:
    """When memory, and swap where there is some, first had no more than this share left."""
    total_kib, swap_kib = read_own_kib("MemTotal"), read_own_kib("SwapTotal")

    def is_short(sample: Sample) -> bool:
        swap_short = sample.swap_free_kib <= swap_kib * share
        return sample.available_kib <= total_kib * share and (swap_kib == 0 or swap_short)

    return next((sample.t_usec for sample in seen.samples if is_short(sample)), None)

"""One run: one contestant, one scenario, from an empty stage to the first death and three seconds beyond."""

from __future__ import annotations

import contextlib
import json
import os
import select
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from bench.contestant import Contestant
from bench.host import read_kib, read_pressure, wait_for_calm
from bench.measure import Line, measure, measure_stalls
from bench.scenario import Scenario, fit
from bench.stage import Turn
from bench.trace import Trace
from tests.support.hogs import build_program
from tests.support.sampler import Sampler
from tests.support.scene import read_oom_kills

HERE = Path(__file__).parent
# Milliseconds between two looks at the memory. Chosen: at 80 MiB/s they are 160 KiB apart, of a line at 96 MiB.
INTERVAL_MS = 2
# Seconds that a run goes on after the first death: who is killed without need is killed then.
AFTER_SEC = 3.0
PROBE_LIMIT = 60.0
# Seconds between two looks at whether somebody died. Chosen: nobody needs to know at once, and each look may keep the
# probe waiting for a tick, be it of SCHED_IDLE: twenty workloads asked ten times a second were measured to cost 7 ms.
LOOK_SEC = 0.5
# Lines of a daemon that somebody else was quicker than, to see why.
LOG_LINES = 8


def run_once(trace: Trace, contestant: Contestant, scenario: Scenario) -> dict[str, Any]:
    """What one run showed: the fields of `measure`, and what it cost. Raises AssertionError when it cannot be made."""
    probe = build_program("probe", HERE)  # as the sampler before anything is measured: a boot's first run compiles them
    with Turn(contestant) as turn:
        line = Line(read_kib("MemTotal"), read_kib("SwapTotal"), contestant.kill_share)
        line_kib = int(line.total_kib * line.share)
        if scenario.page_cache:
            _fill_page_cache()
        wait_for_calm()  # what the last run took may still be on its way back
        turn.place(fit(scenario, read_kib("MemAvailable"), read_kib("SwapFree"), line_kib))
        watch = {placed.name: str(placed.events) for placed in turn.placed}
        sampler = Sampler(turn.directory, watch=watch, interval_ms=INTERVAL_MS)
        wait_for_calm()
        before = _read_counts(turn)
        trace.clear()
        with sampler:
            turn.open_gate()
            # The probe ends first: what is read afterwards is our own work, and nobody's stall.
            with _probing(probe, turn.directory) as turns, _standing_back():
                died = _wait_for_death(turn, scenario.limit_sec)
        sent = trace.read()
        after = _read_counts(turn)
        alive = [placed.name for placed in turn.placed if placed.process.poll() is None]
        targets = {placed.process.pid: placed.name for placed in turn.placed}
        daemon = turn.service.pids() | {turn.service.pid} if turn.service is not None else frozenset[int]()
        shown = measure(sampler.seen, sent, targets, daemon, line)
        if turn.service is not None and shown["by"] != "daemon":
            shown["log"] = turn.service.log(LOG_LINES)
    stalls = measure_stalls(turns, sampler.seen.samples)
    worst_at_usec, crossed_usec = stalls.pop("worst_at_usec"), shown.pop("crossed_usec")
    if None not in (worst_at_usec, crossed_usec):
        stalls["worst_at_ms"] = round((worst_at_usec - crossed_usec) / 1000)
    shown |= {f"probe_{name}": value for name, value in stalls.items()} | _subtract(after, before)
    return shown | {"died": died, "alive": alive, "kill_share": contestant.kill_share}


def _fill_page_cache() -> None:
    """Read more of the guest's disk than it has memory."""
    size_mib = read_kib("MemTotal") // 1024
    command = ["dd", "if=/dev/vda", "of=/dev/null", "bs=1M", f"count={size_mib}", "status=none"]
    subprocess.run(command, check=True, timeout=120)


def _read_counts(turn: Turn) -> dict[str, int]:
    """What only ever grows, in the units of its names; and what the daemon holds at the moment."""
    pressure = read_pressure()
    counts = {
        "oom_kills": read_oom_kills(),
        "psi_some_usec": pressure["some"],
        "psi_full_usec": pressure["full"],
    }
    if turn.service is not None:
        cost = turn.service.read_cost()
        counts |= {"daemon_usec": cost.usage_usec, "daemon_wakeups": cost.wakeups}
        counts |= {"rss_kib": cost.rss_kib, "pss_kib": cost.pss_kib, "rss_anon_kib": cost.rss_anon_kib}
    return counts


def _subtract(after: dict[str, int], before: dict[str, int]) -> dict[str, int]:
    """What grew in between; memory as it was before the shortage."""
    return {name: before[name] if name.endswith("_kib") else after[name] - before[name] for name in before}


def _wait_for_death(turn: Turn, limit_sec: float) -> bool:
    """Wait for the first workload's end, and for what happens after it. False: nobody died in time."""
    deadline = time.monotonic() + limit_sec
    with contextlib.ExitStack() as stack:
        poll = select.poll()
        for placed in turn.placed:
            pidfd = os.pidfd_open(placed.process.pid)
            stack.callback(os.close, pidfd)
            poll.register(pidfd, select.POLLIN)
        while not poll.poll(0):
            if time.monotonic() >= deadline:
                return False
            time.sleep(LOOK_SEC)
    time.sleep(AFTER_SEC)  # nothing is waited for: what a daemon does too much is done in this time
    return True


@contextlib.contextmanager
def _standing_back() -> Iterator[None]:
    """Let everybody else run first: this process finds out that somebody died when the probe is watched most closely.

    It was measured to keep the probe waiting for 6 ms then, with a daemon and the journal beside it.
    """
    os.sched_setscheduler(0, os.SCHED_IDLE, os.sched_param(0))
    try:
        yield
    finally:
        os.sched_setscheduler(0, os.SCHED_OTHER, os.sched_param(0))


@contextlib.contextmanager
def _probing(program: str, directory: Path) -> Iterator[list[tuple[int, int]]]:
    """The latency probe (probe.c, compiled) beside the run; its turns are there afterwards."""
    turns: list[tuple[int, int]] = []
    out = directory / "probe.json"
    with subprocess.Popen([program, "--out", str(out)], stdout=subprocess.PIPE, text=True) as probe:
        try:
            assert probe.stdout is not None
            assert probe.stdout.readline() == "probing\n", "the probe did not start"
            yield turns
            probe.send_signal(signal.SIGTERM)
            probe.wait(PROBE_LIMIT)
            turns += map(tuple, json.loads(out.read_text(encoding="ascii")))
        finally:
            probe.kill()

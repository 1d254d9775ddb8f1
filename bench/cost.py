"""What is paid without a shortage: a launch, a start, idling beside a crowd; and what one decision takes.

Each measurement yields lines of the kind `cost`: `what`, `contestant`, `value` with its unit in `what`.
"""

from __future__ import annotations

import contextlib
import json
import statistics
import subprocess
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from bench.contestant import Contestant
from bench.contestants import CONTESTANTS
from bench.host import read_kib, runs_in
from bench.stage import CGOOM_SLICE, Turn, add_crowd, refuse
from tests.support.wait import wait_until

Fields = dict[str, Any]

# Seconds between a daemon's start and its idle window: what it still does because it has just begun is over. Measured:
# after 5 cgoom still renewed the order of ten thousand workloads, 10 s after it had followed the last of them.
SETTLE_SEC = 12.0
COUNTS = (10, 1_000, 10_000)
# Workloads that share the lowest priority when one decision is measured. cgoom says when all of more than that are
# followed.
EQUALS = 100
# Seconds in which the parent of a launch must not change to count as settled; chosen: an interpreter starts in 0.3 s.
PARENT_SETTLE_SEC = 2.0
# Launches of each kind, one after the other.
LAUNCHES = 11
# Decisions to wait for, and how long.
DECISIONS, DECISIONS_LIMIT = 40, 120.0
# Every workload of the crowd may die: the host counts as short from the first moment on. What a sleeper gives back is
# next to nothing, so that the shortage lasts and decision follows decision.
_HUNGRY_POLICY = """version: 1
host:
  warn: {mem_available: 99%}
  kill: {mem_available: 99%}
  recover: {mem_available: 99.5%}
ladder: {warn: [], kill: [kill]}
victim: {cooldown: 100ms}
"""
# What cgoom says when it knows more of each workload than its priority.
_FOLLOWED = r"all \d+ workloads are followed"
_HISTORY = Path("/var/lib/cgoom/history.jsonl")


def measure_crowd(names: list[str], seconds: float) -> Iterator[Fields]:
    """Beside a crowd that grows: every daemon idle, one at a time. Then what cgoom needs to start, and to decide."""
    contestants = [CONTESTANTS[name] for name in names if CONTESTANTS[name].unit and not refuse(CONTESTANTS[name])]
    ours = [contestant for contestant in contestants if contestant.launched_by_cgoom]
    there = 0
    for count in COUNTS:
        add_crowd(count, there, EQUALS)
        there = count
        for contestant in contestants:
            yield from _measure_idle(contestant, count, seconds)
        for contestant in ours:
            yield from _measure_start(contestant, count)
    for contestant in ours:
        yield _measure_decision(contestant, there)


def _measure_idle(contestant: Contestant, count: int, seconds: float) -> Iterator[Fields]:
    with Turn(contestant) as turn:
        assert turn.service is not None
        if contestant.launched_by_cgoom and count > EQUALS:
            turn.service.wait_for(_FOLLOWED)
        time.sleep(SETTLE_SEC)  # nothing else tells when a daemon has settled
        before, begun = turn.service.read_cost(), time.monotonic()
        time.sleep(seconds)  # the window itself
        after, took = turn.service.read_cost(), time.monotonic() - begun
    head = {"kind": "cost", "contestant": contestant.name}
    cpu_ms = (after.usage_usec - before.usage_usec) / 1000 * 60 / took
    yield head | {"what": f"idle with {count:,} workloads: CPU, ms per minute", "value": round(cpu_ms, 1)}
    wakeups = (after.wakeups - before.wakeups) / took
    yield head | {"what": f"idle with {count:,} workloads: wake-ups a second", "value": round(wakeups, 2)}
    memory = " / ".join(f"{kib / 1024:.1f}" for kib in (after.rss_kib, after.pss_kib, after.rss_anon_kib))
    yield head | {"what": f"idle with {count:,} workloads: RSS / PSS / RssAnon, MiB", "value": memory}


def _measure_start(contestant: Contestant, count: int) -> Iterator[Fields]:
    """From `systemctl start` to READY, and until every workload is followed, which it does beside its watching."""
    head = {"kind": "cost", "contestant": contestant.name}
    with Turn(contestant) as turn:
        assert turn.service is not None
        adopted = turn.service.wait_for(r"(\d+) workloads adopted")
        assert int(adopted[1]) == count, f"{adopted[1]} of {count} adopted"
        what = f"start with {count:,} workloads, s"
        yield head | {"what": what, "value": round(turn.service.start_sec, 2)}
        if count > EQUALS:
            turn.service.wait_for(_FOLLOWED)
            what = f"start with {count:,} workloads until all are followed, s"
            yield head | {"what": what, "value": round(time.monotonic() - turn.service.begun, 2)}


def measure_launch(_names: list[str], _seconds: float) -> Iterator[Fields]:
    """A launch that becomes its command against systemd's, in turn; and what the parent of one that stays holds."""
    commands: dict[str, Callable[[int], list[str]]] = {
        "systemd-run": lambda _: ["systemd-run", "--scope", "--quiet", "true"],
        "cgoom": lambda number: ["cgoom", "launch", "--exec", f"--name=bench-launch{number}", "--", "true"],
    }
    seconds: dict[str, list[float]] = {name: [] for name in commands}
    for number in range(LAUNCHES):
        for name, command in commands.items():
            begun = time.monotonic()
            subprocess.run(command(number), check=True, timeout=60)
            seconds[name].append(time.monotonic() - begun)
    medians = {name: statistics.median(values) for name, values in seconds.items()}
    for name, median in medians.items():
        yield {"kind": "cost", "contestant": name, "what": "launch of `true`, ms", "value": round(median * 1000)}
    ratio = round(medians["cgoom"] / medians["systemd-run"], 2)
    yield {"kind": "cost", "contestant": "cgoom", "what": "launch of `true`, times systemd-run", "value": ratio}
    yield {"kind": "cost", "contestant": "cgoom", "what": "launch: private memory of the parent, MiB"} | _read_parent()


def _read_parent() -> Fields:
    scope = CGOOM_SLICE / "cgoom-bench-parent.scope"
    command = ["cgoom", "launch", "--name=bench-parent", "--", "sleep", "3600"]
    with subprocess.Popen(command) as parent:
        try:
            wait_until(lambda: runs_in(scope, b"sleep"), 60, "the launch to be over")
            private_kib = wait_until(partial(_read_settled, parent.pid), 60, "the parent to settle")
        finally:
            with contextlib.suppress(OSError):
                (scope / "cgroup.kill").write_text("1", encoding="ascii")
            parent.wait(60)
    return {"value": round(private_kib / 1024, 2)}


def _read_settled(pid: int) -> int:
    """Private memory in KiB, once it has been the same for a while: the parent may still become something smaller."""
    smaps = f"/proc/{pid}/smaps_rollup"
    first = read_kib("Private_Clean", smaps) + read_kib("Private_Dirty", smaps)
    time.sleep(PARENT_SETTLE_SEC)  # nothing tells that it has settled
    second = read_kib("Private_Clean", smaps) + read_kib("Private_Dirty", smaps)
    return second if first == second else 0


def _measure_decision(contestant: Contestant, count: int) -> Fields:
    """From the signal read to cgroup.kill written, inside the daemon, as its own history tells it."""
    files = dict(contestant.files) | {"/etc/cgoom/policy.yaml": _HUNGRY_POLICY}
    known = len(_read_kills())
    with Turn(replace(contestant, files=files)):
        wait_until(lambda: len(_read_kills()) >= known + DECISIONS, DECISIONS_LIMIT, f"{DECISIONS} decisions")
    kills_usec = sorted(_read_kills()[known : known + DECISIONS])
    what = f"decision with {count:,} workloads, {EQUALS} of the lowest priority, ms: median (range)"
    value = f"{statistics.median(kills_usec) / 1000:.2f} ({kills_usec[0] / 1000:.2f}-{kills_usec[-1] / 1000:.2f})"
    return {"kind": "cost", "contestant": contestant.name, "what": what, "value": value}


def _read_kills() -> list[int]:
    """Of every record with a kill: microseconds from the signal to the write."""
    if not _HISTORY.exists():
        return []
    records = map(json.loads, _HISTORY.read_text(encoding="utf-8").splitlines())
    return [step["at_usec"] for record in records for step in record["steps"] if step["what"] == "kill"]


MEASURES: dict[str, Callable[[list[str], float], Iterator[Fields]]] = {"launch": measure_launch, "crowd": measure_crowd}
# MiB of their guest. Chosen: ten thousand processes with a cgroup each take some 1.5 GiB, and a quiet host has more
# than can be filled in a second. Measured: 2.8 GiB a second; of 4096 MiB 2.2 GiB were left, and looks 0.8 s apart.
COST_MEMORY_MIB = 8192

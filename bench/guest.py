"""What runs inside the guest: `python3 -m bench.guest PLAN.json`; see `Plan`. Needs root and the installed wheel.

Every run appends one line to the plan's file as soon as it is over, so that a guest that is lost loses one run.
"""

from __future__ import annotations

import json
import os
import platform
import random
import subprocess
import sys
import traceback
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bench.contestant import Contestant
from bench.contestants import CONTESTANTS
from bench.cost import MEASURES
from bench.host import run
from bench.race import run_once
from bench.scenario import SCENARIOS, Scenario
from bench.stage import add_crowd, prepare_guest, refuse, zram
from bench.trace import Trace
from cgoom.errors import CgoomError
from cgoom.kernel.mlock import lock_memory

# What a measurement raises that cannot be made.
BROKEN = (AssertionError, OSError, subprocess.SubprocessError)


@dataclass(frozen=True)
class Plan:
    """What to do in one boot. `costs`: names of bench.cost.MEASURES; `seconds`: of one idle window."""

    out: str
    runs: int
    scenarios: list[str]
    contestants: list[str]
    costs: list[str]
    seconds: float


def main(path: str) -> int:
    """Do what the plan says; 1 when a run could not be made."""
    plan = Plan(**json.loads(Path(path).read_text(encoding="utf-8")))
    try:
        lock_memory()
    except CgoomError as error:
        print(f"bench: {error.message}: a run may end late", file=sys.stderr)
    prepare_guest()
    append(plan.out, {"kind": "versions", **read_versions()})
    statuses = [race(plan, SCENARIOS[name]) for name in plan.scenarios]
    statuses += [pay(plan, name) for name in plan.costs]
    return int(any(statuses))


def race(plan: Plan, scenario: Scenario) -> bool:
    """All contestants in turn, as often as the plan says. True when a run could not be made.

    Each round has an order of its own, the same whenever the scenario is measured: who always ran behind the same one
    would have what that one leaves in the page cache, in swap and in the emulator counted as its own.
    """
    failed = False
    present = []
    for name in plan.contestants:
        if why := refuse(CONTESTANTS[name]):
            append(plan.out, {"kind": "skipped", "scenario": scenario.name, "contestant": name, "why": why})
        else:
            present.append(CONTESTANTS[name])
    if scenario.crowd:
        add_crowd(scenario.crowd)
    with Trace() as trace, zram(scenario.zram_mib):
        for contestant in present:
            _warm_up(trace, scenario, contestant)
        for number in range(plan.runs):
            for contestant in random.Random(f"{scenario.name} {number}").sample(present, len(present)):
                result: dict[str, Any] = {"scenario": scenario.name, "contestant": contestant.name, "run": number}
                try:
                    result = {"kind": "run", **result, **run_once(trace, contestant, scenario)}
                except BROKEN:  # this run says nothing; the others may
                    failed = True
                    result = {"kind": "broken", **result, "why": traceback.format_exc(limit=-3)}
                append(plan.out, result)
                print(render_progress(result), flush=True)
    return failed


def _warm_up(trace: Trace, scenario: Scenario, contestant: Contestant) -> None:
    """One run that nobody is told of: the emulator translates what is run for the first time.

    The probe's worst stall was measured to be 6 - 7 ms beside whoever ran first, and 2 - 4 in the median of ten.
    """
    with suppress(*BROKEN):  # the runs that count will say so
        run_once(trace, contestant, scenario)


def pay(plan: Plan, name: str) -> bool:
    """One measurement without a shortage. True when it could not be made."""
    try:
        for line in MEASURES[name](plan.contestants, plan.seconds):
            append(plan.out, line)
            print(f"{line['what']}: {line['contestant']} {line['value']}", flush=True)
    except BROKEN:  # the others may go well
        append(plan.out, {"kind": "broken", "scenario": name, "why": traceback.format_exc(limit=-3)})
        print(f"{name}: broken: {traceback.format_exc(limit=-3)}", flush=True)
        return True
    return False


def render_progress(result: dict[str, Any]) -> str:
    """One line about a run that is over."""
    head = f"{result['scenario']} {result['run']} {result['contestant']}:"
    if result["kind"] == "broken":
        return f"{head} broken: {result['why']}"
    return (
        f"{head} {result['first']} by {result['by']}, kill {result['kill_ms']} ms, probe {result['probe_worst_usec']}"
    )


def append(path: str, line: dict[str, Any]) -> None:
    """One more line, on the disk."""
    with open(path, "a", encoding="utf-8") as out:
        out.write(json.dumps(line) + "\n")
        out.flush()
        os.fsync(out.fileno())


def read_versions() -> dict[str, str]:
    """The kernel, and every package that takes part."""
    packages = run("dpkg-query", "-W", "-f", "${Package} ${Version}\\n", "earlyoom", "nohang", "oomd", "systemd-oomd")
    versions = dict(line.split(" ", 1) for line in packages.splitlines())
    return {"kernel": platform.release(), "cgoom": run("cgoom", "--version"), **versions}


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))

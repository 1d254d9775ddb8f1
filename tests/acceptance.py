"""`make acceptance`: everything that cgoom promises, measured in guests, as a page of tables for each part of it.

    acceptance.py [PART|KERNEL-SWAP...]    such as module 6.12-0 6.1-512; without arguments all of them

Results stay in build/acceptance, each with a hash of what it was measured from, so that a run that was interrupted
goes on where it stopped, and a page never mixes two versions.
"""

from __future__ import annotations

import hashlib
import itertools
import json
import os
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

TOP = Path(__file__).resolve().parents[1]
RESULTS = TOP / "build" / "acceptance"
DOCS = TOP / "docs"
RUNS = 20
CROSSINGS = 10
LOADS = 200
LADDERS = 5
FUZZ_EXAMPLES = 10_000
# Seconds; chosen: three times what the slowest combination takes in an emulated guest.
LIMIT_SEC = 5400
SOURCES = ("cgoom", "kmod", "policies", "packaging", "tests/policy", "tests/support", "tests/vm")
BLACK_BOX_CASES = 26
# Column -> test -> (outcome, what it measured).
Results = dict[str, dict[str, tuple[str, dict[str, Any]]]]
# What of a case does not apply to this form of cgoom, and why.
REMARKS = {
    11: "on a hybrid host, which has no pids controller on cgroup2",
    13: "pressure has no threshold of its own here: it wakes, and never kills alone",
    18: "only the identity: cgoom keeps no rates",
    24: "measured as `kill written to populated 0` of the original scenario",
}
# Kernel and MiB of swap.
COMBINATIONS = {"6.12-0": ("6.12", 0), "6.1-0": ("6.1", 0), "6.12-512": ("6.12", 512), "6.1-512": ("6.1", 512)}


@dataclass(frozen=True)
class Part:
    """What stands on one page. `tests`: as `pytest -k` takes them; `with_swap`: those that swap changes."""

    name: str
    page: Path
    tests: str
    with_swap: str
    render: Callable[[list[str], Results], list[str]]
    runs: int = RUNS


def read_key() -> str:
    """A hash of everything that is measured."""
    digest = hashlib.sha256()
    for source in SOURCES:
        for path in sorted((TOP / source).rglob("*")):
            if path.is_file() and "__pycache__" not in path.parts:
                digest.update(str(path.relative_to(TOP)).encode() + b"\0" + path.read_bytes() + b"\0")
    return digest.hexdigest()[:16]


def run_combination(part: Part, name: str, key: str) -> int:
    """Run one combination in a fresh guest, unless its result is there already; the exit status of its tests."""
    kernel, swap_mib = COMBINATIONS[name]
    name = f"{part.name}-{name}"
    xml, stamp = RESULTS / f"{name}.xml", RESULTS / f"{name}.key"
    if is_current(name, key):
        print(f"acceptance: {name}: there already")
        return int(any(outcome == "failed" for _, outcome, _ in read_cases(name)))
    command = [sys.executable, str(TOP / "vagrant" / "lab"), "test", "--kernel", kernel, "--swap", str(swap_mib)]
    command += ["--out", str(RESULTS), "--timeout", str(LIMIT_SEC), "--", "-o", "junit_family=xunit1"]
    command += [f"--junit-xml=/out/{xml.name}", "--runs", str(part.runs), "--loads", str(LOADS)]
    command += ["--ladders", str(LADDERS), "-k", part.with_swap if swap_mib else part.tests]
    xml.unlink(missing_ok=True)
    stamp.unlink(missing_ok=True)
    status = subprocess.run(command, check=False, cwd=TOP).returncode
    if xml.exists():  # with a failed test too: it belongs into the table
        stamp.write_text(key, encoding="ascii")
    return status


def run_host(key: str) -> int:
    """Every test that needs no guest, on this host, with the policy fuzz at its full size."""
    stamp = RESULTS / "host.key"
    if is_current("host", key):
        return 0
    env = os.environ | {"CGOOM_FUZZ_EXAMPLES": str(FUZZ_EXAMPLES)}
    command = [sys.executable, "-m", "pytest", "-q", "-o", "junit_family=xunit1", f"--junit-xml={RESULTS / 'host.xml'}"]
    stamp.unlink(missing_ok=True)
    command += ["-m", "not vm", "--ignore=tests/house", "tests"]
    status = subprocess.run(command, check=False, cwd=TOP, env=env).returncode
    if status == 0:
        stamp.write_text(key, encoding="ascii")
    return status


def read_cases(name: str) -> Iterator[tuple[str, str, dict[str, Any]]]:
    """(test, outcome, what it measured) of one result."""
    for case in ElementTree.parse(RESULTS / f"{name}.xml").getroot().iter("testcase"):
        bad = case.find("failure") is not None or case.find("error") is not None
        outcome = "failed" if bad else "skipped" if case.find("skipped") is not None else "passed"
        found = [each.get("value", "{}") for each in case.iter("property") if each.get("name") == "measured"]
        yield case.get("name", ""), outcome, json.loads(found[0]) if found else {}


def render_page(part: Part, done: list[str], key: str) -> str:
    """The whole page."""
    results = {name: read_results(f"{part.name}-{name}") for name in done}
    lines = [
        f"# Acceptance: {part.name}",
        "",
        f"Written by `make acceptance` (sources {key}). Guests of 1 GiB and 2 processors, emulated (QEMU TCG): ratios",
        "hold, absolute times are longer than on a real machine. A column is KERNEL-SWAP, swap in MiB.",
        "",
        *part.render(done, results),
    ]
    return "\n".join(lines) + "\n"


def read_results(name: str) -> dict[str, tuple[str, dict[str, Any]]]:
    """Test -> (outcome, what it measured)."""
    return {test: (outcome, seen) for test, outcome, seen in read_cases(name)}


def render_promises(columns: list[str], results: Results) -> list[str]:
    """Who died first, what it took, and every black-box case."""
    lines = [*render_original(columns, results), "", *render_eleven(columns, results), ""]
    lines += render_outcomes(columns, results)
    if is_current("host", read_key()):
        results = results | {"host": read_results("host")}
        passed = sum(outcome == "passed" for outcome, _ in results["host"].values())
        text = f"Without a guest, with {FUZZ_EXAMPLES} fuzzed policies: {passed} of {len(results['host'])} passed."
        lines += ["", text]
    return [*lines, "", *render_black_box(results)]


def is_current(name: str, key: str) -> bool:
    """Whether there is a result of these sources."""
    stamp = RESULTS / f"{name}.key"
    return stamp.exists() and stamp.read_text(encoding="ascii") == key


def render_original(columns: list[str], results: Results) -> list[str]:
    """The original scenario: counts, and the distribution of its times."""
    seen = {name: find_measured(results[name], "test_b05") for name in columns}
    rows = [["original scenario", *columns]]
    for title, field in (
        ("runs", "runs"),
        ("priority 100 died first", "slow_died_first"),
        ("the other alive 3 s later", "other_alive"),
        ("kernel oom_kill", "kernel_oom_kills"),
        ("lowest MemAvailable, KiB", "lowest_available_kib"),
    ):
        rows.append([title, *(str(seen[name].get(field, "-")) for name in columns)])
    steps: dict[str, Any] = next((each["steps_ms"] for each in seen.values() if each), {})
    for step in steps:
        spreads = (seen[name].get("steps_ms", {}).get(step, {}) for name in columns)
        rows.append([f"{step}, ms: min / median / p90 / max (runs)", *(render_spread(each) for each in spreads)])
    return render_rows(rows)


def render_eleven(columns: list[str], results: Results) -> list[str]:
    """Eleven workloads, with a daemon that lives and with daemons that are killed; and what an idle one costs."""
    rows = [["eleven workloads, and idle", *columns]]
    for title, test, field in (
        ("order of deaths", "test_b23_eleven", "order"),
        ("kernel oom_kill", "test_b23_eleven", "kernel_oom_kills"),
        ("order, daemon killed at random", "test_b23_the_order_survives", "order"),
        ("daemons killed", "test_b23_the_order_survives", "daemons_killed"),
        ("records", "test_b23_the_order_survives", "records"),
        ("kernel oom_kill then", "test_b23_the_order_survives", "kernel_oom_kills"),
        ("idle, 5 workloads: CPU, % of a core", "test_an_idle_daemon_costs", "cpu_pct"),
        ("idle: RssAnon, KiB", "test_an_idle_daemon_costs", "rss_anon_kib"),
    ):
        cells = (find_measured(results[name], test).get(field, "-") for name in columns)
        rows.append([title, *(" ".join(map(str, each)) if isinstance(each, list) else str(each) for each in cells)])
    return render_rows(rows)


# The beginning of a test's name -> title and name of what it measured.
MODULE_ROWS = {
    "test_stopped_with_the_module_the": {
        "daemon stopped, with the module: right of runs": "right",
        "with the module: kernel oom_kill": "kernel_oom_kills",
        "the module's kill to populated 0": "steered_to_empty_ms",
    },
    "test_stopped_without_the_module_some": {
        "daemon stopped, without it: right of runs": "right",
        "without it: kernel oom_kill": "kernel_oom_kills",
    },
    "test_stopped_with_the_module_eleven": {
        "eleven, with the module: right of ladders": "right",
        "eleven, with the module: orders": "orders",
        "eleven, with the module: kernel oom_kill": "kernel_oom_kills",
    },
    "test_stopped_without_the_module_all": {
        "eleven, without it: right of ladders": "right",
        "eleven, without it: orders": "orders",
        "eleven, without it: kernel oom_kill": "kernel_oom_kills",
    },
    "test_a_small_victim_dies_before": {
        "small armed victim before a large bystander: right of runs": "right",
        "small armed victim: kernel oom_kill": "kernel_oom_kills",
    },
    "test_a_victim_that_cannot_die": {"victim in D state: kill to reaped, ms": "kill_to_reaped_ms"},
    "test_an_idle_daemon_is_never": {
        "idle daemon: wake-ups in 20 s": "wake_ups",
        "idle: the module's looks per minute": "looks_per_minute",
        "idle: their CPU per minute, us": "look_usec_per_minute",
    },
}
OBSERVERS = ("module", "event", "sampling", "polling")


def render_crossing(columns: list[str], results: Results) -> list[str]:
    """How soon a crossing is known."""
    rows = [["crossed to known", *columns]]
    for hog in ("slow", "fastest"):
        seen = {name: find_measured(results[name], f"test_crossing_is_known[{hog}]") for name in columns}
        for observer, level in itertools.product(OBSERVERS, ("warn", "kill")):
            spreads = (seen[name].get("crossing_ms", {}).get(observer, {}).get(level, {}) for name in columns)
            rows.append([f"{hog} hog: {level}, {observer}", *map(render_times, spreads)])
    lines = [
        "Median / worst in ms (runs in which it was seen), from the first sample at or below the threshold, 2 ms after",
        "the one before: who looks between the two is ahead. `module` is the look that an event tells of, `event` when",
        "a process has read it, `sampling` what cgoom does without the module, `polling` a look at /proc/oom_notifier",
        "every 100 ms.",
        "",
    ]
    return [*lines, *render_rows(rows), "", *render_outcomes(columns, results)]


def render_module(columns: list[str], results: Results) -> list[str]:
    """Who dies when the daemon is stopped, and what the module costs."""
    rows = [["the kernel module", *columns]]
    for test, titles in MODULE_ROWS.items():
        found = [find_measured(results[name], test) for name in columns]
        rows += [[title, *(render_cell(each, field) for each in found)] for title, field in titles.items()]
    lines = ["A daemon that is stopped has prepared what it prepares ahead. Times are median / worst in ms.", ""]
    return [*lines, *render_rows(rows), "", *render_outcomes(columns, results)]


def render_times(times: dict[str, float]) -> str:
    """`1.2 / 3.4 (20)`; without a count where every run has one."""
    if "median" not in times:
        return f"- ({times['seen']})" if times else "-"
    return f"{times['median']:.1f} / {times['worst']:.1f}" + (f" ({times['seen']})" if "seen" in times else "")


def render_cell(seen: dict[str, Any], field: str) -> str:
    """One value of what a test measured, as it stands in the table."""
    value = seen.get(field, "-")
    if isinstance(value, dict):
        return render_times(value)
    if field == "right" and seen:
        return f"{value} of {seen.get('runs', seen.get('ladders'))}"
    return "; ".join(value) if isinstance(value, list) else str(value)


def render_outcomes(columns: list[str], results: Results) -> list[str]:
    """Every test and its outcome."""
    tests = list(dict.fromkeys(test for name in columns for test in results[name]))
    rows = [["test", *columns]]
    rows += [[test, *(results[name].get(test, ("-",))[0] for name in columns)] for test in tests]
    return render_rows(rows)


def render_black_box(results: Results) -> list[str]:
    """The black-box cases of other daemons' tests: how many tests carry the number of each, and where they ran."""
    rows = [["black-box case", "tests", "passed", "remark"]]
    for number in range(1, BLACK_BOX_CASES + 1):
        named = re.compile(rf"(^|_)b0?{number}_")
        outcomes = [outcome for tests in results.values() for test, (outcome, _) in tests.items() if named.search(test)]
        passed = sum(outcome == "passed" for outcome in outcomes)
        rows.append([f"B{number}", str(len(outcomes)), str(passed), REMARKS.get(number, "")])
    return render_rows(rows)


def find_measured(tests: dict[str, tuple[str, dict[str, Any]]], prefix: str) -> dict[str, Any]:
    """What the test of this prefix measured."""
    return next((seen for test, (_, seen) in tests.items() if test.startswith(prefix)), {})


def render_spread(spread: dict[str, float]) -> str:
    """`21.6 / 22.9 / 27.8 / 27.8 (20)`."""
    if not spread:
        return "-"
    return " / ".join(f"{spread[each]:.1f}" for each in ("min", "median", "p90", "max")) + f" ({spread['seen']:.0f})"


def render_rows(rows: list[list[str]]) -> list[str]:
    """A Markdown table."""
    head, *body = ["| " + " | ".join(re.sub(r"\|", r"\\|", cell) for cell in row) + " |" for row in rows]
    return [head, "|" + " --- |" * len(rows[0]), *body]


OTHERS = "not (crossing or stopped or module)"
PARTS = {
    part.name: part
    for part in (
        Part("promises", DOCS / "acceptance.md", OTHERS, "b05 or b23", render_promises),
        Part("crossing", DOCS / "crossing.md", "crossing", "crossing", render_crossing, CROSSINGS),
        Part("module", DOCS / "module.md", "(stopped or module) and not crossing", "stopped", render_module),
    )
}


def main(names: list[str]) -> int:
    """Run what is asked for, write the pages of what is there; 1 when anything failed."""
    unknown = [name for name in names if name not in COMBINATIONS and name not in PARTS]
    if unknown:
        print(f"acceptance: no such thing: {' '.join(unknown)}; there are {' '.join([*PARTS, *COMBINATIONS])}")
        return 2
    RESULTS.mkdir(parents=True, exist_ok=True)
    key, statuses = read_key(), [0]
    for part in [PARTS[name] for name in names if name in PARTS] or list(PARTS.values()):
        asked = [name for name in names if name in COMBINATIONS] or list(COMBINATIONS)
        statuses += [run_combination(part, name, key) for name in asked]
        if part.name == "promises":
            statuses.append(run_host(key))
        done = [name for name in COMBINATIONS if is_current(f"{part.name}-{name}", key)]
        if done:
            part.page.write_text(render_page(part, done, key), encoding="utf-8")
            print(part.page.read_text(encoding="utf-8"))
    return int(any(statuses))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

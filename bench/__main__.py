"""`python -m bench`: every contestant in every scenario, and what it costs, in guests of the lab; see --help.

What was measured is kept in bench/results, one file for each part, with a hash of what it was measured from: a
benchmark that was interrupted goes on where it stopped, on another host too. A part of other sources stays until it is
measured again; the page says which revision each part is of.
"""

from __future__ import annotations

import argparse
import datetime
import hashlib
import json
import shlex
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

TOP = Path(__file__).resolve().parents[1]
VAGRANT = TOP / "vagrant"
sys.path.insert(0, str(VAGRANT))

from labkit.wheel import build_wheel  # noqa: E402 - the path above makes it importable

from bench.contestants import CONTESTANTS  # noqa: E402
from bench.cost import COST_MEMORY_MIB, MEASURES  # noqa: E402
from bench.plot import write_plot  # noqa: E402
from bench.render import render_page  # noqa: E402
from bench.scenario import SCENARIOS  # noqa: E402
from bench.summary import Fields, parse_lines, summarise  # noqa: E402

RAW = TOP / "build" / "bench"
RESULTS = TOP / "bench" / "results"
# What a result depends on.
SOURCES = ("cgoom", "kmod", "policies", "packaging", "bench", "tests/support", "tests/vm/gate.py", "vagrant")
# Of those, what only shows it: a nicer table needs no new measurement.
SHOWING = {"results", "__pycache__", "render.py", "plot.py", "summary.py"}
# What `make bench` runs: the scenarios and contestants that tell most, in 15 minutes of an emulated guest.
QUICK_PARTS = ("original", "fast", "launch")
QUICK_CONTESTANTS = ("cgoom-best", "cgoom-module", "earlyoom-best", "nohang-best", "oomd-best", "kernel-adj")
QUICK_RUNS = 3
FULL_RUNS = 10
# Seconds of one idle window.
QUICK_IDLE_SEC, FULL_IDLE_SEC = 30.0, 60.0
PARTS = (*SCENARIOS, *MEASURES)
# Seconds of one run at most, placing and cleaning up included; chosen: three times the slowest that was seen.
RUN_SEC = 150
BOOT_SEC = 300
# The same for a measurement without a shortage: three idle windows for each, and ten thousand cgroups to make.
COST_SEC = 400


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure what is not measured yet, write table and plot of what is; 1 when a run could not be made."""
    options = parse_options(arguments)
    RAW.mkdir(parents=True, exist_ok=True)
    key, revision = read_key(options), options.wheel.name if options.wheel else describe_revision()
    statuses = [ensure_part(name, key, revision, options) for name in options.parts]
    write_results()
    return int(any(statuses))


def parse_options(arguments: Sequence[str] | None) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(prog="python -m bench", description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--full", action="store_true", help="everything; takes hours")
    parser.add_argument("--runs", type=int, metavar="N", help="runs of each contestant in each scenario")
    parser.add_argument("--idle", type=float, metavar="SEC", help="length of an idle window")
    parser.add_argument("--contestants", nargs="+", choices=CONTESTANTS, metavar="NAME", help=" ".join(CONTESTANTS))
    parser.add_argument("--wheel", type=Path, metavar="PATH", help="measure this wheel and not the checkout's")
    parser.add_argument("--kernel", default="6.1", help="of the guest (6.1)")
    parser.add_argument("parts", nargs="*", metavar="PART", help=" ".join(PARTS))
    options = parser.parse_args(arguments)
    if unknown := set(options.parts) - set(PARTS):
        parser.error(f"no such part: {' '.join(sorted(unknown))}; there are {' '.join(PARTS)}")
    options.parts = options.parts or list(PARTS if options.full else QUICK_PARTS)
    options.idle = options.idle or (FULL_IDLE_SEC if options.full else QUICK_IDLE_SEC)
    options.contestants = options.contestants or list(CONTESTANTS if options.full else QUICK_CONTESTANTS)
    options.runs = options.runs or (FULL_RUNS if options.full else QUICK_RUNS)
    return options


def read_key(options: argparse.Namespace) -> str:
    """What a result was measured from: a hash of the sources, and what was asked for."""
    digest = hashlib.sha256()
    for source in SOURCES:
        top = TOP / source
        for path in [top] if top.is_file() else sorted(top.rglob("*")):
            if path.is_file() and not SHOWING & set(path.parts):
                digest.update(str(path.relative_to(TOP)).encode() + b"\0" + path.read_bytes() + b"\0")
    if options.wheel:
        digest.update(options.wheel.read_bytes())
    asked = ["--kernel", options.kernel, "--runs", str(options.runs), "--idle", f"{options.idle:g}"]
    asked += ["--contestants", *options.contestants]
    return f"{digest.hexdigest()[:16]} {shlex.join(asked)}"


def list_commands(parts: dict[str, list[Fields]]) -> list[str]:
    """The commands that measure these parts as they were measured, and the revision that they were run at."""
    asked: dict[tuple[str, str], list[str]] = {}
    for name, (head, *_) in parts.items():
        asked.setdefault((head["key"].partition(" ")[2], head["of"]), []).append(name)
    return [f"python -m bench {words} -- {' '.join(names)}  # {of}" for (words, of), names in asked.items()]


def read_part(name: str) -> list[Fields]:
    """The lines of a result, the one about the measurement itself first; none when it was not measured."""
    path = RESULTS / f"{name}.jsonl"
    return parse_lines(path.read_text(encoding="utf-8")) if path.exists() else []


def ensure_part(name: str, key: str, revision: str, options: argparse.Namespace) -> int:
    """Measure one part in a fresh guest, unless its result is there already; the exit status of the lab.

    The result of sources that were changed meanwhile is not kept.
    """
    raw, known = RAW / f"{name}.jsonl", read_part(name)
    if known and known[0]["key"] == key:
        print(f"bench: {name}: there already", flush=True)
        return int(any(line["kind"] == "broken" for line in known))
    raw.unlink(missing_ok=True)
    write_plan(name, options)
    scenario = SCENARIOS.get(name)
    limit = BOOT_SEC + len(options.contestants) * (RUN_SEC * options.runs if scenario else COST_SEC)
    memory_mib, swap_mib = (scenario.memory_mib, scenario.swap_mib) if scenario else (COST_MEMORY_MIB, 0)
    command = [sys.executable, str(VAGRANT / "lab"), "run", "--kernel", options.kernel, "--out", str(RAW)]
    command += ["--steady", "--module=present"]  # the contestant with it inserts it
    command += ["--memory", str(memory_mib), "--swap", str(swap_mib), "--timeout", str(limit)]
    with tempfile.TemporaryDirectory(prefix="cgoom-bench-wheel-") as scratch:
        command += ["--wheel", str(options.wheel or build_wheel(Path(scratch)))]
        command += ["--", "python3", "-m", "bench.guest", f"/out/{name}.plan"]
        status = subprocess.run(command, check=False, cwd=TOP).returncode
    if read_key(options) != key:
        print(f"bench: {name}: the sources were changed meanwhile, the result is dropped", file=sys.stderr)
        return 1
    if raw.exists() and status in (0, 1):  # with a broken run too: it is told in the table
        keep_part(name, key, revision)
    else:
        print(f"bench: {name}: the guest ended with status {status}, the result is dropped", file=sys.stderr)
    return status


def keep_part(name: str, key: str, revision: str) -> None:
    """Put what a guest measured where it lasts, under a line that says of what and when."""
    date = datetime.datetime.now(datetime.UTC).strftime("%Y-%m-%d %H:%M UTC")
    head = {"kind": "measured", "key": key, "date": date, "of": revision}
    RESULTS.mkdir(exist_ok=True)
    lines = (RAW / f"{name}.jsonl").read_text(encoding="utf-8")
    (RESULTS / f"{name}.jsonl").write_text(json.dumps(head) + "\n" + lines, encoding="utf-8")


def write_plan(name: str, options: argparse.Namespace) -> None:
    """What the guest has to do for this part; see bench.guest.Plan."""
    plan = {
        "out": f"/out/{name}.jsonl",
        "runs": options.runs,
        "scenarios": [name] if name in SCENARIOS else [],
        "contestants": options.contestants,
        "costs": [name] if name in MEASURES else [],
        "seconds": options.idle,
    }
    (RAW / f"{name}.plan").write_text(json.dumps(plan), encoding="utf-8")


def write_results() -> None:
    """The table and the plot of every part that was measured."""
    parts = {name: lines for name in PARTS if (lines := read_part(name))}
    lines = [line for each in parts.values() for line in each]
    rows = summarise(lines)
    if not lines:
        return
    versions = {name: value for line in lines if line["kind"] == "versions" for name, value in line.items()}
    versions.pop("kind")
    date = max(line["date"] for line in lines if line["kind"] == "measured")
    versions |= {"commands": list_commands(parts), "date": date}
    skipped = [line for line in lines if line["kind"] in ("skipped", "broken")]
    costs = [line for line in lines if line["kind"] == "cost"]
    page = render_page(rows, costs, versions, skipped)
    (RESULTS / "results.md").write_text(page, encoding="utf-8")
    if rows:
        try:
            write_plot(rows, RESULTS / "results.svg")
        except ImportError as error:
            print(f"bench: no plot: {error}; pip install -e '.[bench]'", file=sys.stderr)
    print(page)


def describe_revision() -> str:
    """The revision of the checkout, with `-dirty` when it was changed; results do not count."""
    revision = _run_git("rev-parse", "--short", "HEAD") or "no revision"
    changed = _run_git("status", "--porcelain", "--", ".", f":!{RESULTS.relative_to(TOP)}")
    return revision + ("-dirty" if changed else "")


def _run_git(*words: str) -> str:
    done = subprocess.run(["git", "-C", str(TOP), *words], capture_output=True, text=True, check=False)
    return done.stdout.strip()


if __name__ == "__main__":
    sys.exit(main())

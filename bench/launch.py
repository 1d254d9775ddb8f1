"""What a launch costs: `python3 bench/launch.py [RUNS]`, as root where systemd is PID 1, such as in the lab:

    vagrant/lab run --wheel dist/cgoom-*.whl -- python3 bench/launch.py 20

Wall time of `cgoom launch --exec -- true` beside `systemd-run --scope true` and what bounds it from below, alternating
in one boot: medians in ms, and the ratio. Then the memory of the parent that waits for CMD.
"""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import time
from pathlib import Path

SYSTEMD_RUN = "systemd-run --scope"
EXEC = "cgoom launch --exec"
CASES = {
    SYSTEMD_RUN: ["systemd-run", "--scope", "--quiet", "true"],
    EXEC: ["cgoom", "launch", "--exec", "--", "true"],
    "cgoom launch": ["cgoom", "launch", "--", "true"],
    "python3": [sys.executable, "-c", "pass"],
    "python3, import re": [sys.executable, "-c", "import re"],
    "true": ["true"],
}
# Chosen: the first runs write __pycache__, which pip does and the lab does not, and fill the page cache.
WARM_UPS = 2
ENVIRONMENT = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
RUNS = 12
WAIT_SEC = 60.0  # for the parent to become the waiter; a slow guest needs 2 s
POLL_SEC = 0.05


def measure_msec(command: list[str]) -> float:
    """Wall time of one run. Raises CalledProcessError."""
    begin = time.perf_counter()
    subprocess.run(command, check=True, capture_output=True, env=ENVIRONMENT)
    return (time.perf_counter() - begin) * 1000


def read_waiter() -> list[str]:
    """The lines of smaps_rollup that tell private memory, of a parent that waits."""
    launcher = subprocess.Popen(["cgoom", "launch", "--", "sleep", "3600"], env=ENVIRONMENT)
    try:
        deadline = time.monotonic() + WAIT_SEC
        stat = Path(f"/proc/{launcher.pid}/stat")
        while not (b"-I\0" in stat.with_name("cmdline").read_bytes() and "(cgoom) S" in stat.read_text()):
            if time.monotonic() > deadline:
                raise TimeoutError("the parent does not become the waiter")
            time.sleep(POLL_SEC)
        lines = stat.with_name("smaps_rollup").read_text().splitlines()
        return [line for line in lines if line.startswith(("Rss:", "Pss:", "Private_", "Anonymous:"))]
    finally:
        launcher.terminate()
        launcher.wait()


def main() -> int:
    """Measure and print."""
    runs = int(sys.argv[1]) if len(sys.argv) > 1 else RUNS
    taken: dict[str, list[float]] = {name: [] for name in CASES}
    for turn in range(WARM_UPS + runs):
        for name, command in CASES.items():
            msec = measure_msec(command)
            if turn >= WARM_UPS:
                taken[name].append(msec)
    for name, msecs in taken.items():
        print(f"{name:22} median {statistics.median(msecs):7.1f}  min {min(msecs):7.1f}  max {max(msecs):7.1f}  ms")
    ratios = [mine / theirs for mine, theirs in zip(taken[EXEC], taken[SYSTEMD_RUN], strict=True)]
    of_medians = statistics.median(taken[EXEC]) / statistics.median(taken[SYSTEMD_RUN])
    print(f"{EXEC} / {SYSTEMD_RUN}: {of_medians:.2f} (of medians), {statistics.median(ratios):.2f} (median of pairs)")
    print("the waiting parent:", *read_waiter(), sep="\n  ")
    return 0


if __name__ == "__main__":
    sys.exit(main())

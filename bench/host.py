"""The guest as the benchmark sees it: its files, its services, its memory. Needs root."""

from __future__ import annotations

import contextlib
import os
import re
import subprocess
import time
from dataclasses import dataclass
from pathlib import Path

from tests.support.process import read_switches
from tests.support.wait import wait_until

CGROUP = Path("/sys/fs/cgroup")
# Seconds; a Python daemon starts in 4 s in an emulated guest, in 20 s beside ten thousand workloads.
COMMAND_LIMIT = 120.0
# Seconds a daemon may need to say what is waited for; chosen: ten thousand workloads are followed in a minute.
SAY_LIMIT = 300
# Seconds the memory of what was killed may need to come back.
QUIET_LIMIT = 60.0
# Seconds of one look at the processors, and of all looks; share of their time that has to be idle. Chosen.
CALM_SEC, CALM_LIMIT, CALM_SHARE = 0.3, 15.0, 0.75


def run(*command: str) -> str:
    """What the command prints. Raises AssertionError with what it complained about."""
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=COMMAND_LIMIT)
    assert done.returncode == 0, f"{' '.join(command)}: status {done.returncode}: {done.stderr.strip()}"
    return done.stdout.strip()


def read_kib(name: str, path: str = "/proc/meminfo") -> int:
    """One `NAME:  N kB` line of a file of /proc."""
    found = re.search(rf"^{name}:\s+(\d+) kB$", Path(path).read_text(encoding="ascii", errors="replace"), re.MULTILINE)
    assert found is not None, f"{path} has no {name}"
    return int(found[1])


def parse_pressure(text: str) -> dict[str, int]:
    """`some` and `full` of a pressure file: microseconds of stall since the boot."""
    return {line.split()[0]: int(line.rsplit("total=", 1)[1]) for line in text.splitlines() if "total=" in line}


def read_pressure() -> dict[str, int]:
    """The host's own memory pressure."""
    return parse_pressure(Path("/proc/pressure/memory").read_text(encoding="ascii"))


def wait_for_quiet(available_kib: int) -> None:
    """Wait until nearly as much memory is available as once was. Raises AssertionError."""
    enough = available_kib * 9 // 10
    wait_until(lambda: read_kib("MemAvailable") >= enough, QUIET_LIMIT, f"{enough} KiB to be available again")


def wait_for_calm() -> None:
    """Wait until the processors have little to do: what was just started is not part of what is measured.

    A daemon that never rests is measured as busy as it is.
    """
    with contextlib.suppress(AssertionError):
        wait_until(_is_calm, CALM_LIMIT, "a quarter of the processors' time at most to be used")


def _is_calm() -> bool:
    begun = _read_processor_ticks()
    time.sleep(CALM_SEC)  # a rate needs two looks
    idle, total = (now - then for now, then in zip(_read_processor_ticks(), begun, strict=True))
    return total > 0 and idle / total >= CALM_SHARE


def _read_processor_ticks() -> tuple[int, int]:
    """(idle, all) of /proc/stat."""
    ticks = [int(field) for field in Path("/proc/stat").read_text(encoding="ascii").splitlines()[0].split()[1:9]]
    return ticks[3] + ticks[4], sum(ticks)


@dataclass(frozen=True)
class Cost:
    """What a service has used and holds. `usage_usec`: all of its processes; the memory: its main process, KiB."""

    usage_usec: int
    wakeups: int  # voluntary context switches of its threads
    rss_kib: int
    pss_kib: int
    rss_anon_kib: int


class Service:
    """A running service of systemd."""

    def __init__(self, unit: str) -> None:
        """Start it; returns when systemd says that it runs."""
        self._unit = f"{unit}.service"
        self.begun = time.monotonic()
        run("systemctl", "start", self._unit)
        self.start_sec = time.monotonic() - self.begun
        self.pid = int(run("systemctl", "show", "--property=MainPID", "--value", self._unit))
        assert self.pid > 0, f"{unit} did not stay: {run('journalctl', '-u', self._unit, '-n', '5', '-o', 'cat')}"
        self._cgroup = CGROUP / run("systemctl", "show", "--property=ControlGroup", "--value", self._unit).lstrip("/")

    def pids(self) -> frozenset[int]:
        """Every process of it."""
        text = (self._cgroup / "cgroup.procs").read_text(encoding="ascii")
        return frozenset(map(int, text.split()))

    def read_cost(self) -> Cost:
        """What it has cost so far. Raises AssertionError, OSError when it has died."""
        usage = (self._cgroup / "cpu.stat").read_text(encoding="ascii").split()
        status, smaps = f"/proc/{self.pid}/status", f"/proc/{self.pid}/smaps_rollup"
        return Cost(
            usage_usec=int(usage[usage.index("usage_usec") + 1]),
            wakeups=sum(read_switches(int(thread)) for thread in os.listdir(f"/proc/{self.pid}/task")),
            rss_kib=read_kib("VmRSS", status),
            pss_kib=read_kib("Pss", smaps),
            rss_anon_kib=read_kib("RssAnon", status),
        )

    def log(self, lines: int) -> str:
        """The last lines that it wrote."""
        return run("journalctl", "-u", self._unit, "-n", str(lines), "-o", "cat")

    def wait_for(self, pattern: str) -> re.Match[str]:
        """Its first line since this start that has the pattern in it, as soon as it is written.

        Raises AssertionError after SAY_LIMIT seconds.
        """
        invocation = run("systemctl", "show", "--property=InvocationID", "--value", self._unit).strip()
        command = [
            "timeout",
            str(SAY_LIMIT),
            "journalctl",
            "--follow",
            "--lines=all",
            "--output=cat",
            f"_SYSTEMD_INVOCATION_ID={invocation}",
        ]
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as journal:
            assert journal.stdout is not None
            found = next((found for line in journal.stdout if (found := re.search(pattern, line))), None)
            journal.terminate()  # and `timeout` the other one
        assert found is not None, f"{self._unit} did not say {pattern}"
        return found

    def stop(self) -> None:
        """End it."""
        run("systemctl", "stop", self._unit)


def runs_in(scope: Path, comm: bytes) -> bool:
    """Whether a program of this name runs in the scope."""
    with contextlib.suppress(OSError):
        pids = (scope / "cgroup.procs").read_text(encoding="ascii").split()
        return any(Path(f"/proc/{pid}/comm").read_bytes().strip() == comm for pid in pids)
    return False

"""The stage of the demo: a daemon, two workloads, and nothing left afterwards."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from contextlib import suppress
from dataclasses import dataclass
from types import TracebackType

from cgoom.cli.demo_view import Curve
from cgoom.errors import CgoomError, ConflictError, GoneError, HostError, InputError
from cgoom.kernel.cgroup import Cgroup, Mount, open_cgroup
from cgoom.model import Amount, HostMemory, HostPolicy, Policy, Record, Threshold
from cgoom.observe.usage import read_usage
from cgoom.place.placement import find_systemd
from cgoom.policy.render import render_policy
from cgoom.record.history import History
from cgoom.units import render_size

SLICE = "cgoomdemo.slice"
SLOW_MIB_PER_S = 20
FAST_FACTOR = 3
# Seconds; chosen: as long as anybody watches a large host fill. Small ones are filled at SLOW_MIB_PER_S.
FILL_SEC = 60
# Share of the memory that fast takes at most; chosen: just below what it has when both together reach the threshold,
# so that it lives on beside what else happens on the host.
FAST_SHARE = 0.72
# Seconds; chosen: a slow emulated guest needs 4 s for the imports alone.
START_LIMIT_SEC = 60.0
END_LIMIT_SEC = 30.0
PAUSE_SEC = 0.01
_MIB = 1 << 20


@dataclass(frozen=True, slots=True)
class Budget:
    """How much is filled and where the lines are; bytes of MemAvailable."""

    policy: Policy
    full_bytes: int
    warn_bytes: int
    kill_bytes: int
    swap_kill_bytes: int
    slow_mib_per_s: int
    fast_mib_per_s: int

    def is_short(self, memory: HostMemory) -> bool:
        """Whether the kill threshold is reached."""
        return memory.available_bytes <= self.kill_bytes and memory.swap_free_bytes <= self.swap_kill_bytes


def plan_budget(memory: HostMemory, budget_bytes: int | None) -> Budget:
    """The whole machine under the built-in policy, or `budget_bytes` below what is available now."""
    policy = Policy()
    if budget_bytes is not None:
        if budget_bytes >= memory.available_bytes:
            raise InputError(f"{render_size(budget_bytes)} is more than is available", "choose a smaller --budget")
        kill_bytes = memory.available_bytes - budget_bytes
        warn_bytes = memory.available_bytes - budget_bytes * 3 // 4
        recover_bytes = memory.available_bytes - budget_bytes // 2
        host = HostPolicy(*(_below(each) for each in (warn_bytes, kill_bytes, recover_bytes)))
        policy = Policy(host=host)
    host, total, swap = policy.host, memory.total_bytes, memory.swap_total_bytes
    full_bytes = budget_bytes if budget_bytes is not None else memory.available_bytes + memory.swap_free_bytes
    slow_mib_per_s = max(SLOW_MIB_PER_S, full_bytes // _MIB // (1 + FAST_FACTOR) // FILL_SEC)
    return Budget(
        policy=policy,
        full_bytes=full_bytes,
        warn_bytes=host.warn.mem_available.of(total),
        kill_bytes=host.kill.mem_available.of(total),
        swap_kill_bytes=host.kill.swap_free.of(swap),
        slow_mib_per_s=slow_mib_per_s,
        fast_mib_per_s=slow_mib_per_s * FAST_FACTOR,
    )


def _below(available_bytes: int) -> Threshold:
    """Only memory counts: a budget says nothing of the host's swap."""
    return Threshold(Amount(available_bytes, False), Amount(100, True))


class Stage:
    """A context manager. Its daemon has a slice and directories of its own and never sees other workloads."""

    def __init__(self, mount: Mount, plan: Budget) -> None:
        self._mount, self._plan = mount, plan
        self._directory = tempfile.mkdtemp(prefix="cgoom-demo-", dir="/run")
        self._env = os.environ | {
            "CGOOM_SLICE": SLICE,
            "CGOOM_RUN_DIR": f"{self._directory}/run",
            "CGOOM_STATE_DIR": f"{self._directory}/state",
        }
        self._running: dict[str, subprocess.Popen[bytes]] = {}
        self._cgroups: dict[str, Cgroup] = {}

    def __enter__(self) -> Stage:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for signo in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            signal.signal(signo, signal.SIG_IGN)  # impatience must not leave the hogs behind
        workloads = [name for name in self._running if name != "daemon"]
        for name in workloads:
            self._end_workload(name)
        if "daemon" in self._running:
            self._running["daemon"].kill()
            self._running["daemon"].wait()
        # systemd removes its own slice when it likes.
        with suppress(CgoomError), open_cgroup(self._mount.path, "") as root:
            if not find_systemd(self._mount):
                root.remove_child(SLICE)
        shutil.rmtree(self._directory, ignore_errors=True)

    def _end_workload(self, name: str) -> None:
        """Kill the whole workload and wait for its launcher; one that never got so far is killed alone."""
        launcher = self._running[name]
        with suppress(CgoomError):
            cgroup = self._cgroups.get(name) or self._await_cgroup(name)
            with cgroup:
                cgroup.write_kill()
        try:
            launcher.wait(END_LIMIT_SEC)
        except subprocess.TimeoutExpired:
            launcher.kill()
            launcher.wait()

    def start(self) -> None:
        """The daemon, then both workloads. Raises ConflictError, HostError."""
        with suppress(GoneError), open_cgroup(self._mount.path, SLICE) as slice_:
            if slice_.read_populated():
                raise ConflictError(f"something runs in {SLICE}", "end the other demo first")
        self._start_daemon()
        fast_limit, slow_limit = int(self._plan.full_bytes * FAST_SHARE) // _MIB, self._plan.full_bytes // _MIB
        hog = [sys.executable, "-P", "-m", "cgoom.cli.hog"]
        slow, fast = str(self._plan.slow_mib_per_s), str(self._plan.fast_mib_per_s)
        self._launch("slow", 100, [*hog, slow, str(slow_limit)])
        self._launch("fast", 10, [*hog, fast, str(fast_limit)])

    def read_curves(self) -> list[Curve]:
        """What both hold now."""
        curves = []
        for name, priority in (("slow", 100), ("fast", 10)):
            gone = self._running[name].poll() is not None
            usage = None if gone else read_usage(self._cgroups[name], by_share=self._mount.hybrid)
            curves.append(Curve(name, priority, usage.freeable_bytes if usage else None))
        return curves

    def require_daemon(self) -> None:
        """Raises HostError when the daemon has ended: nobody would stop the two."""
        if self._running["daemon"].poll() is not None:
            raise HostError("the daemon has ended", "run `cgoom doctor`")

    def slow_ended(self) -> bool:
        """Whether the less important one is gone."""
        return self._running["slow"].poll() is not None

    def fast_ended(self) -> bool:
        """Whether the more important one is gone, which must not happen."""
        return self._running["fast"].poll() is not None

    def read_outcome(self) -> tuple[Record, int, int]:
        """The first record, and CLOCK_MONOTONIC of its kill and of the empty cgroup. Raises HostError."""
        records, _ = History(f"{self._directory}/state").read_records()
        if not records:
            raise HostError("somebody died without a record: it was not cgoom", "the kernel's log may tell: dmesg")
        record = records[0]
        begun_usec = record.time_usec + (time.monotonic_ns() - time.time_ns()) // 1000
        steps = {step.what: begun_usec + step.at_usec for step in record.steps}
        return record, steps.get("kill", begun_usec), steps.get("depopulated", begun_usec)

    def _start_daemon(self) -> None:
        path = f"{self._directory}/policy.yaml"
        with open(path, "w", encoding="utf-8") as file:
            file.write(render_policy(self._plan.policy))
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as ready:
            ready.bind(f"{self._directory}/notify")
            ready.settimeout(PAUSE_SEC)
            env = self._env | {"NOTIFY_SOCKET": f"{self._directory}/notify"}
            command = [sys.executable, "-P", "-m", "cgoom", "daemon", "--policy", path]
            self._running["daemon"] = subprocess.Popen(command, env=env)
            deadline = time.monotonic() + START_LIMIT_SEC
            while time.monotonic() < deadline:
                self.require_daemon()
                with suppress(TimeoutError):
                    ready.recv(4096)
                    return
        raise HostError("the daemon does not start", "run `cgoom doctor`")

    def _launch(self, name: str, priority: int, command: list[str]) -> None:
        launch = [sys.executable, "-P", "-m", "cgoom", "launch", f"--priority={priority}", f"--name={name}", "--"]
        self._running[name] = subprocess.Popen([*launch, *command], env=self._env)
        self._cgroups[name] = self._await_cgroup(name)

    def _await_cgroup(self, name: str) -> Cgroup:
        """The workload's cgroup, as soon as it is there. Raises HostError when its launcher ends before."""
        deadline = time.monotonic() + START_LIMIT_SEC
        while time.monotonic() < deadline and self._running[name].poll() is None:
            for scope in (f"cgoom-{name}.scope", f"{name}.scope"):
                with suppress(GoneError), open_cgroup(self._mount.path, "") as root:
                    return open_cgroup(root.fd, f"{SLICE}/{scope}")
            time.sleep(PAUSE_SEC)
        raise HostError(f"{name} did not start", "what `cgoom launch` said stands above")

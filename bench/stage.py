"""A contestant's turn: its files written, its daemon running, its workloads placed; then nothing is left of it."""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from functools import partial
from pathlib import Path

from bench.contestant import BEST_SHARE, Contestant, complete
from bench.host import CGROUP, Service, read_kib, run, runs_in, wait_for_quiet
from bench.scenario import LOW, Grower
from tests.support.cli import environment
from tests.support.hogs import build_program, hog
from tests.support.scene import is_populated
from tests.support.wait import wait_until
from tests.vm.gate import Gate

BENCH_SLICE = CGROUP / "bench.slice"
CGOOM_SLICE = CGROUP / "cgoom.slice"
# Where the module for the guest's kernel may be: what the lab built, or what somebody put beside the results.
MODULES = (Path("/wheel/memory_info.ko"), Path("/out/memory_info.ko"))
# Every daemon that the image masks, and systemd-oomd's socket.
UNITS = ("earlyoom.service", "nohang.service", "oomd.service", "systemd-oomd.service", "systemd-oomd.socket")
# Seconds until one of them runs, started by an emulated Python.
PLACE_LIMIT = 60.0
# Starts at the same time. Measured: twenty made an emulated systemd exceed the 10 s that a launch waits for it.
AT_ONCE = 3
KILL_LIMIT = 60.0
# For each cgroup of a crowd. Measured: 12 ms in an emulated guest whose host is busy with others.
CROWD_SEC = 0.1


class Placed:
    """One workload, waiting at the gate or growing."""

    def __init__(self, name: str, cgroup: Path, process: subprocess.Popen[bytes]) -> None:
        self.name, self.cgroup, self.process = name, cgroup, process

    @property
    def events(self) -> Path:
        """Its cgroup.events."""
        return self.cgroup / "cgroup.events"


class Turn:
    """A context manager: everything of one contestant for one run."""

    def __init__(self, contestant: Contestant) -> None:
        self.contestant = contestant
        self.service: Service | None = None
        self.placed: list[Placed] = []
        self._stack = contextlib.ExitStack()
        self.directory = Path(self._stack.enter_context(tempfile.TemporaryDirectory(prefix="cgoom-bench-")))
        self._gate = Gate(self)

    def __enter__(self) -> Turn:
        with contextlib.ExitStack() as stack:  # a turn that fails half-way leaves nothing either
            stack.push(self._stack.pop_all())
            stack.callback(wait_for_quiet, read_kib("MemAvailable"))
            self._write_files(stack)
            run("systemctl", "daemon-reload")
            run("systemctl", "start", "bench.slice", "cgoom.slice")
            if self.contestant.slice_properties:
                stack.callback(run, "systemctl", "revert", "bench.slice")
                run("systemctl", "set-property", "--runtime", "bench.slice", *self.contestant.slice_properties)
            if self.contestant.module:
                run("insmod", str(find_module()))
                stack.callback(run, "rmmod", "memory_info")
            if self.contestant.unit:
                self.service = Service(self.contestant.unit)
                stack.callback(self.service.stop)
            stack.callback(self._end_workloads)
            self._stack = stack.pop_all()
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def _write_files(self, stack: contextlib.ExitStack) -> None:
        room_kib = read_kib("MemAvailable") - int(read_kib("MemTotal") * BEST_SHARE)
        for name, text in self.contestant.files.items():
            path = Path(name)
            path.parent.mkdir(parents=True, exist_ok=True)
            fitted = text.replace("@ROOM_MIB@", str(room_kib // 1024))
            if based := re.match(r"@BASE (.*?)@", fitted):
                fitted = complete(fitted[based.end() :], Path(based[1]).read_text(encoding="utf-8"))
            path.write_text(fitted, encoding="utf-8")
            stack.callback(path.unlink)

    def place(self, growers: tuple[Grower, ...]) -> None:
        """Start the workloads; they wait at the gate. Raises AssertionError when one does not start."""
        for number, grower in enumerate(growers):
            if number >= AT_ONCE:
                self._wait_for(self.placed[number - AT_ONCE])
            self.placed.append(self._start(grower))
        for placed in self.placed:
            self._wait_for(placed)
            xattrs = self.contestant.low_xattrs if placed.name == LOW else self.contestant.high_xattrs
            for name, value in xattrs.items():
                os.setxattr(placed.cgroup, name, value.encode())

    def _wait_for(self, placed: Placed) -> None:
        wait_until(
            lambda: is_populated(placed.cgroup) or placed.process.poll() is not None,
            PLACE_LIMIT,
            f"{placed.name} to run",
        )
        assert placed.process.poll() is None, f"{placed.name} did not start: status {placed.process.poll()}"

    def _start(self, grower: Grower) -> Placed:
        name = f"bench-{grower.name}"
        program = self.directory / name  # its comm is what earlyoom and nohang know of it
        command = hog(grower.limit_mib, rate_mib=grower.rate_mib, burst_mib=grower.burst_mib, ignore_term=True)
        shutil.copy(command[0], program)
        waiting = self._gate.behind([str(program), *command[1:], "--hold"])
        if self.contestant.launched_by_cgoom:
            cgroup = CGOOM_SLICE / f"cgoom-{name}.scope"
            placing = ["cgoom", "launch", "--exec", f"--priority={grower.priority}", f"--name={name}", "--"]
        else:
            cgroup = BENCH_SLICE / f"{name}.scope"
            is_low = grower.name == LOW
            properties = self.contestant.low_properties if is_low else self.contestant.high_properties
            # From the benchmark's own score back to an ordinary one.
            score = self.contestant.low_score if is_low else 0
            placing = ["systemd-run", "--scope", "--quiet", "--collect", f"--unit={name}", "--slice=bench.slice"]
            placing += [*(f"--property={each}" for each in properties), "choom", "-n", str(score), "--"]
        process = subprocess.Popen([*placing, *waiting], env=environment(), stdin=subprocess.DEVNULL)
        return Placed(grower.name, cgroup, process)

    def open_gate(self) -> None:
        """Let them grow, and wait until all of them do. Raises AssertionError when one does not begin.

        That twenty shells execute their programs at once is no part of what is to be shown.
        """
        self._gate.open()
        wait_until(lambda: all(map(has_begun, self.placed)), PLACE_LIMIT, "everybody to grow")

    def _end_workloads(self) -> None:
        for placed in self.placed:
            with contextlib.suppress(OSError):
                (placed.cgroup / "cgroup.kill").write_text("1", encoding="ascii")
        for placed in self.placed:
            placed.process.kill()
            placed.process.wait(KILL_LIMIT)
        # A scope that never had a process is not ended by the end of one.
        scopes = [placed.cgroup.name for placed in self.placed if placed.cgroup.exists()]
        if scopes:
            subprocess.run(["systemctl", "stop", *scopes], capture_output=True, check=False, timeout=KILL_LIMIT)
        for placed in self.placed:
            wait_until(partial(_is_gone, placed.cgroup), KILL_LIMIT, f"{placed.cgroup} to be removed")


def has_begun(placed: Placed) -> bool:
    """Whether its program has taken the place of the shell at the gate, or is over."""
    return runs_in(placed.cgroup, f"bench-{placed.name}".encode()) or placed.process.poll() is not None


def _is_gone(cgroup: Path) -> bool:
    return not cgroup.exists()


def prepare_guest() -> None:
    """Once in a boot: let systemd start what the image has masked, and compile what the wheel brought.

    A package is compiled when it is installed; the lab leaves that out, and the daemon's sandbox cannot write it.
    """
    run("python3", "-P", "-c", "import cgoom, compileall; compileall.compile_dir(cgoom.__path__[0], quiet=1)")
    run("systemctl", "unmask", "--quiet", *UNITS)
    run("systemctl", "daemon-reload")


def find_module() -> Path | None:
    """The module's file; None where nobody built it."""
    return next(filter(Path.exists, MODULES), None)


def refuse(contestant: Contestant) -> str:
    """Why the contestant cannot take part here, or an empty string."""
    if contestant.module and find_module() is None:
        return f"no module for this kernel: {' and '.join(map(str, MODULES))} are not there"
    return ""


@contextlib.contextmanager
def zram(size_mib: int) -> Iterator[None]:
    """Swap to compressed memory while the block runs; 0: none."""
    if not size_mib:
        yield
        return
    run("modprobe", "zram")
    device = Path("/dev") / next(Path("/sys/block").glob("zram*")).name
    (Path("/sys/block") / device.name / "disksize").write_text(f"{size_mib}M", encoding="ascii")
    run("mkswap", str(device))
    run("swapon", str(device))
    try:
        yield
    finally:
        run("swapoff", str(device))
        run("modprobe", "--remove", "zram")


def add_crowd(count: int, first: int = 0, lowest: int = 0) -> None:
    """Idle workloads with one small sleeping process each, see crowd.c; they stay until the guest ends.

    To remove ten thousand takes as long as to make them.
    """
    run("systemctl", "start", CGOOM_SLICE.name)
    program = build_program("crowd", Path(__file__).parent, "-static")
    command = [program, "--parent", str(CGOOM_SLICE), "--count", str(count)]
    command += ["--first", str(first), "--lowest", str(lowest)]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL, timeout=CROWD_SEC * max(1, count - first))

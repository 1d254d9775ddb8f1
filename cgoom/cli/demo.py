"""`cgoom demo`: the scenario that cgoom is about, with a daemon, a slice and directories of its own."""

from __future__ import annotations

import os
import signal
import sys
import time
from collections.abc import Iterator
from contextlib import suppress

import click

from cgoom.cli.demo_stage import Budget, Stage, plan_budget
from cgoom.cli.demo_view import Curve, Timeline, render_account, render_module_log, render_screen
from cgoom.cli.errors import write_out
from cgoom.cli.params import SIZE
from cgoom.errors import CgoomError, HostError, NotPermittedError
from cgoom.kernel.cgroup import find_mount
from cgoom.kernel.clock import read_usec
from cgoom.kernel.kmsg import KernelLog, LogLine
from cgoom.kernel.meminfo import MemInfo
from cgoom.kernel.memory_info import LEVEL_PATH
from cgoom.kernel.vmstat import read_oom_kills
from cgoom.model import HostMemory
from cgoom.units import render_size

# Bytes; chosen: seen at once, and no host that runs Python misses it.
BUDGET_BYTES = 256 << 20
# Seconds between two looks at memory, and between two updates of the picture.
SAMPLE_SEC = 0.005
PICTURE_SEC = 0.1
PLAIN_PICTURE_SEC = 1.0  # where no terminal can take a line back
ALIVE_SEC = 3.0
# Seconds; chosen: an emulated guest with swap fills in two minutes.
LIMIT_SEC = 400.0


@click.command()
@click.option("--here", is_flag=True, help="Within a budget instead of all memory; works on hybrid hosts too.")
@click.option("--budget", type=SIZE, default=BUDGET_BYTES, metavar="SIZE", help="Memory for --here [default: 256M].")
@click.pass_context
def demo(ctx: click.Context, here: bool, budget: int) -> None:
    """Two workloads that ignore SIGTERM fill the memory; the less important one dies, the other goes on.

    Without --here the whole machine is filled: for a virtual machine. Exit status 1 when anything went otherwise.
    """
    if os.geteuid() != 0:
        raise NotPermittedError("the demo makes cgroups and fills memory", "run it with sudo")
    mount = find_mount()
    if mount.hybrid and not here:
        raise HostError(
            "this host counts no memory on cgroup2: the demo cannot fill it safely", "try `cgoom demo --here`"
        )
    meminfo = MemInfo()
    plan = plan_budget(meminfo.read(), budget if here else None)
    click.echo(
        f"slow (priority 100) takes {plan.slow_mib_per_s} MiB/s, fast (priority 10) {plan.fast_mib_per_s} MiB/s, both "
        f"ignore SIGTERM; the kill threshold is MemAvailable <= {render_size(plan.kill_bytes)}"
    )
    # As for any exception: whoever ends us must not leave the two hogs behind.
    for signo in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(signo, lambda received, _frame: sys.exit(128 + received))
    log = _open_module_log()
    with Stage(mount, plan) as stage:
        status = _play(stage, plan, meminfo)
    _show_module_log(log)
    ctx.exit(status)


def _open_module_log() -> KernelLog | None:
    """The kernel's log where the module speaks there; None without the module, or where the log is not for us."""
    if os.path.exists(LEVEL_PATH):
        with suppress(CgoomError):
            return KernelLog()
    return None


def _show_module_log(log: KernelLog | None) -> None:
    lines: list[LogLine] = []
    if log is not None:
        with suppress(CgoomError):
            lines = log.read_lines()
    if shown := render_module_log(lines):
        write_out(shown)


def _play(stage: Stage, plan: Budget, meminfo: MemInfo) -> int:
    kernel_kills = read_oom_kills()
    stage.start()
    picture = _Picture(plan.full_bytes)
    samples: list[tuple[int, HostMemory]] = []
    died_at: float | None = None
    for now in _ticks():
        stage.require_daemon()
        memory = meminfo.read()
        samples.append((read_usec(), memory))
        picture.show(now, stage.read_curves(), memory)
        if stage.slow_ended() or stage.fast_ended():
            died_at = died_at or now
        if died_at is not None and now >= died_at + ALIVE_SEC:
            break
    picture.end()
    alive = not stage.fast_ended()
    record, killed_usec, empty_usec = stage.read_outcome()
    crossed = next((usec for usec, memory in samples if plan.is_short(memory)), None)
    recovered = next(
        (usec for usec, memory in samples if killed_usec < usec and memory.available_bytes > plan.warn_bytes), None
    )
    kernel_kills = read_oom_kills() - kernel_kills
    write_out(render_account(record, alive, kernel_kills, Timeline(crossed, killed_usec, empty_usec, recovered)))
    return 0 if alive and kernel_kills == 0 and record.victim.name == "slow" else 1


def _ticks() -> Iterator[float]:
    """CLOCK_MONOTONIC, every SAMPLE_SEC. Raises HostError after LIMIT_SEC."""
    begun = time.monotonic()
    while (now := time.monotonic()) < begun + LIMIT_SEC:
        yield now
        time.sleep(SAMPLE_SEC)
    raise HostError(f"nobody died in {LIMIT_SEC:.0f} s", "is another OOM daemon running? `cgoom doctor` tells")


class _Picture:
    """One updating line per workload on a terminal; elsewhere a line for each now and then."""

    def __init__(self, full_bytes: int) -> None:
        self._full_bytes = full_bytes
        self._live = sys.stdout.isatty()
        self._due = 0.0
        self._height = 0

    def show(self, now: float, curves: list[Curve], memory: HostMemory) -> None:
        """Draw, if it is time to."""
        if now < self._due:
            return
        self._due = now + (PICTURE_SEC if self._live else PLAIN_PICTURE_SEC)
        lines = render_screen(curves, memory, self._full_bytes)
        if self._live and self._height:
            write_out(f"\x1b[{self._height}A", newline=False)
        self._height = len(lines)
        write_out("\n".join(f"{line}\x1b[K" if self._live else line for line in lines))

    def end(self) -> None:
        """Leave the last picture where it is."""
        self._height = 0

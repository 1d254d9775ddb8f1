"""What the demo shows: one line per workload that grows, and the account at the end. Pure: values in, text out."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from cgoom.kernel.kmsg import LogLine
from cgoom.kernel.memory_info import FAMILY
from cgoom.model import HostMemory, Record
from cgoom.record.text import escape_text
from cgoom.units import USEC_PER_SEC, render_size, render_time

BAR_WIDTH = 40  # characters; chosen: with the text beside it a line fits in 80


class Curve(NamedTuple):
    """One workload at one moment. `used_bytes`: None when it is gone."""

    name: str
    priority: int
    used_bytes: int | None


class Timeline(NamedTuple):
    """What the demo measured; microseconds of CLOCK_MONOTONIC. None: not seen."""

    crossed_usec: int | None
    killed_usec: int | None
    empty_usec: int | None
    recovered_usec: int | None


def render_curve(curve: Curve, full_bytes: int) -> str:
    """`slow  100  ########           212M`."""
    if curve.used_bytes is None:
        return f"{curve.name:<6} {curve.priority:>4}  {'':<{BAR_WIDTH}}  gone"
    filled = min(BAR_WIDTH, BAR_WIDTH * curve.used_bytes // max(1, full_bytes))
    return f"{curve.name:<6} {curve.priority:>4}  {'#' * filled:<{BAR_WIDTH}}  {render_size(curve.used_bytes)}"


def render_host(memory: HostMemory) -> str:
    """The host's own line."""
    share = 100 * memory.available_bytes / max(1, memory.total_bytes)
    swap = f", SwapFree {render_size(memory.swap_free_bytes)}" if memory.swap_total_bytes else ""
    return f"host        MemAvailable {render_size(memory.available_bytes)} ({share:.1f}%){swap}"


def render_screen(curves: Sequence[Curve], memory: HostMemory, full_bytes: int) -> list[str]:
    """The lines that are updated."""
    return [render_host(memory), *(render_curve(curve, full_bytes) for curve in curves)]


def render_account(record: Record, survivor_alive: bool, kernel_kills: int, timeline: Timeline) -> str:
    """Who was killed and why, who lives, what the kernel did, how long it took."""
    alive = "is alive" if survivor_alive else "IS DEAD"
    kills = "did not move" if kernel_kills == 0 else f"MOVED BY {kernel_kills}"
    return "\n".join(
        [
            "",
            f"killed      {escape_text(record.victim.name)} (priority {record.victim.priority})",
            f"because     {record.why.shortage}; {record.why.choice}",
            f"survivor    fast (priority 10) {alive}",
            f"kernel      its own oom_kill count {kills}",
            f"threshold crossed -> kill written  {_between(timeline.crossed_usec, timeline.killed_usec)}",
            f"kill written -> workload empty     {_between(timeline.killed_usec, timeline.empty_usec)}",
            f"threshold crossed -> recovered     {_between(timeline.crossed_usec, timeline.recovered_usec)}",
        ]
    )


def render_module_log(lines: Sequence[LogLine]) -> str:
    """What the kernel module said, as dmesg has it; nothing when it said nothing."""
    said = [line for line in lines if line.text.startswith(f"{FAMILY}:")]
    if not said:
        return ""
    shown = (f"  [{line.t_usec / USEC_PER_SEC:12.6f}] {escape_text(line.text)}" for line in said)
    return "\n".join(["", "dmesg", *shown])


def _between(begun_usec: int | None, ended_usec: int | None) -> str:
    if begun_usec is None or ended_usec is None:
        return "not seen"
    # Two processes took the two times: a sample of ours may come after the daemon's.
    return render_time(max(0, ended_usec - begun_usec))

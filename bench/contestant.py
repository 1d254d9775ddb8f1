"""What a contestant is: how it is started, how its workloads are placed, and when it means to kill."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

UNIT_DIR = "/run/systemd/system"
# Share of memory (and of swap, where there is some) at which every `best` contestant is told to kill, so that the times
# from the crossing to the kill compare. Chosen: earlyoom's and systemd-oomd's own number for memory and swap.
BEST_SHARE = 0.10


@dataclass(frozen=True)
class Contestant:
    """One definition. Everything that it writes is removed when its turn is over."""

    name: str
    about: str
    unit: str = ""  # the service to start; without one the kernel is alone
    kill_share: float = BEST_SHARE  # where its own kill threshold is, or what it is measured from
    # Path -> text, written before the start. In it `@ROOM_MIB@` is what workloads may take until BEST_SHARE is left,
    # and `@BASE PATH@` at its beginning stands for the lines of another file whose keys this one does not set.
    files: Mapping[str, str] = field(default_factory=dict)
    slice_properties: tuple[str, ...] = ()  # of the slice that holds the workloads, as systemd spells them
    low_properties: tuple[str, ...] = ()  # of the least important workload's scope
    high_properties: tuple[str, ...] = ()  # of every other one's
    low_xattrs: Mapping[str, str] = field(default_factory=dict)
    high_xattrs: Mapping[str, str] = field(default_factory=dict)
    low_score: int = 0  # oom_score_adj
    launched_by_cgoom: bool = False
    module: bool = False  # memory_info.ko is inserted for its turn


def unit_change(unit: str, command: str) -> dict[str, str]:
    """The file that makes a service of a package run another command."""
    return {f"{UNIT_DIR}/{unit}.service.d/bench.conf": f"[Service]\nExecStart=\nExecStart={command}\n"}


def complete(text: str, base: str) -> str:
    """`base` with the lines `KEY = VALUE` of `text` instead of its own, and everything else of `text` behind it."""
    keys = {line.partition("=")[0].strip() for line in text.splitlines() if "=" in line}
    kept = [line for line in base.splitlines() if line.partition("=")[0].strip() not in keys]
    return "\n".join([*kept, text])

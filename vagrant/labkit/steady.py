"""The host's scheduler and a guest whose times count."""

from __future__ import annotations

import contextlib
import os
import re
from pathlib import Path

from labkit.base import LabError

# What QEMU calls the thread of an emulated processor, given `debug-threads=on`.
_PROCESSOR = re.compile(r"CPU (\d+)/")
# The lowest real-time priority: ahead of every ordinary thread, and behind what the host runs for itself.
_PRIORITY = 1


def hold_steady(pid: int) -> None:
    """Let no two processors of a guest share one of the host's, and its timers be on time; `pid`: its QEMU.

    Left to itself a host with no more processors than the guest lets one of them, or QEMU's main thread, which has the
    timers of all, wait behind another for a slice of 4 ms or two. Measured with two of each, in turn within one boot: a
    real-time process of the guest that wakes up every 2 ms was 8 ms late or later 1.3 times a second, and 0.1 times
    with this. Where it is refused, and where the guest has more processors than the host, times are as they were.
    """
    threads = _find_processors(pid)
    processors = sorted(os.sched_getaffinity(0))
    if len(threads) <= len(processors):
        for thread, processor in zip(threads, processors, strict=False):
            os.sched_setaffinity(thread, {processor})
    with contextlib.suppress(PermissionError):
        os.sched_setscheduler(pid, os.SCHED_FIFO | os.SCHED_RESET_ON_FORK, os.sched_param(_PRIORITY))


def _find_processors(pid: int) -> list[int]:
    threads = {}
    for thread in Path(f"/proc/{pid}/task").iterdir():
        with contextlib.suppress(FileNotFoundError, ProcessLookupError):  # one of QEMU's workers, which come and go
            if named := _PROCESSOR.match((thread / "comm").read_text(encoding="ascii", errors="replace")):
                threads[int(named[1])] = int(thread.name)
    if not threads:
        raise LabError("no thread of QEMU is named after a processor", "is it older than 1.6?")
    return [threads[number] for number in sorted(threads)]

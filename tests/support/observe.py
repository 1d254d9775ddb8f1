"""Somebody who watches the host's level, as a process of their own: `python3 -m tests.support.observe KIND`.

`event` sleeps until the module says something, `sampling` looks as often as cgoom without the module does, `polling`
reads /proc/oom_notifier every 100 ms as the original project's daemon did. Each prints `{"watching": KIND}` once it
runs and `{"level": N, "t_usec": T, "looked_usec": T0}` at each level it enters: T is the CLOCK_MONOTONIC at which it
knew, T0 the one of the look that an event tells of, null where there is none.
"""

from __future__ import annotations

import gc
import json
import os
import select
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import TracebackType

from cgoom.core.detect import raw_level
from cgoom.core.pace import next_sample_usec
from cgoom.kernel.meminfo import MemInfo
from cgoom.kernel.memory_info import LEVEL_PATH, LevelEvent, Lost, Module
from cgoom.kernel.mlock import lock_memory
from cgoom.model import HostPolicy
from cgoom.observe.host import measure_fill_rate
from cgoom.units import USEC_PER_SEC
from tests.support.wait import wait_until

KINDS = ("event", "sampling", "polling")
# Not a process: the looks that the events tell of.
MODULE = "module"
# Seconds; the interval of the original daemon.
POLL_SEC = 0.1
NSEC_PER_USEC = 1000
# Seconds; chosen: three interpreters that import at once in an emulated guest.
START_LIMIT = 60.0


# A level, and the CLOCK_MONOTONIC in microseconds of the module's look at it.
Look = tuple[int, int | None]


def observe_events() -> Iterator[Look]:
    """The level at every word of the module, which is set up as the daemon sets it up."""
    module, poll = Module(), select.poll()
    poll.register(module.fd, select.POLLIN)
    module.write_thresholds(HostPolicy(), measure_fill_rate())
    yield int(module.read_stats().stats.level), None
    while poll.poll():
        for event in module.drain():
            if isinstance(event, LevelEvent):
                yield int(event.stats.level), event.stats.time_ns // NSEC_PER_USEC
            elif isinstance(event, Lost):
                yield int(module.read_stats().stats.level), None


def observe_samples() -> Iterator[Look]:
    """The level at every sample; the interval is that of the daemon."""
    host, meminfo, fill = HostPolicy(), MemInfo(), measure_fill_rate()
    while True:
        memory = meminfo.read()
        yield int(raw_level(host, memory)), None
        time.sleep(next_sample_usec(host, memory, fill) / USEC_PER_SEC)


def observe_polls() -> Iterator[Look]:
    """The level every 100 ms."""
    fd = os.open(LEVEL_PATH, os.O_RDONLY | os.O_CLOEXEC)
    while True:
        yield int(os.pread(fd, 16, 0)), None
        time.sleep(POLL_SEC)


OBSERVERS: dict[str, Callable[[], Iterator[Look]]] = dict(
    zip(KINDS, (observe_events, observe_samples, observe_polls), strict=True)
)


def main(kind: str) -> None:
    """Observe until somebody ends us."""
    levels = OBSERVERS[kind]()
    last, _ = next(levels)
    gc.freeze()
    gc.disable()
    lock_memory()
    print(json.dumps({"watching": kind}), flush=True)
    for level, looked_usec in levels:
        t_usec = time.monotonic_ns() // NSEC_PER_USEC
        if level != last:
            print(json.dumps({"level": level, "t_usec": t_usec, "looked_usec": looked_usec}), flush=True)
        last = level


class Observers:
    """A context manager: all of them, watching from its start to its end."""

    def __init__(self, directory: Path) -> None:
        self._said = {kind: directory / f"{kind}.jsonl" for kind in KINDS}
        self._running: list[subprocess.Popen[bytes]] = []

    def __enter__(self) -> Observers:
        for kind, path in self._said.items():
            with path.open("wb") as out:
                command = [sys.executable, "-m", "tests.support.observe", kind]
                self._running.append(subprocess.Popen(command, stdout=out))
        try:
            wait_until(lambda: all(path.stat().st_size for path in self._said.values()), START_LIMIT, "all to watch")
        except AssertionError:
            self.close()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """End them."""
        for observer in self._running:
            observer.kill()
            observer.wait()

    def levels(self, kind: str, since_usec: int) -> list[tuple[int, int]]:
        """(level, CLOCK_MONOTONIC in microseconds) of everything it said since then, or MODULE saw."""
        path, name = (self._said["event"], "looked_usec") if kind == MODULE else (self._said[kind], "t_usec")
        lines = path.read_text(encoding="ascii").splitlines(keepends=True)[1:]
        # The last line may be half written.
        said = [json.loads(line) for line in lines if line.endswith("\n")]
        return [(each["level"], each[name]) for each in said if (each[name] or 0) >= since_usec]

    def first_at(self, kind: str, level: int, since_usec: int) -> int | None:
        """When it first knew of this level or a worse one."""
        return next((usec for seen, usec in self.levels(kind, since_usec) if seen >= level), None)


if __name__ == "__main__":
    main(sys.argv[1])

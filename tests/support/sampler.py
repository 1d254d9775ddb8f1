"""The sampler (sampler.c) around a piece of a test, and what it saw."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType

from tests.support.hogs import build_program

# Seconds the sampler gets to write some ten thousand lines, in a guest that is still short of memory.
LIMIT = 60.0


@dataclass(frozen=True)
class Sample:
    """One look. `t_usec` is CLOCK_MONOTONIC."""

    t_usec: int
    available_kib: int
    swap_free_kib: int


@dataclass
class Seen:
    """Everything the sampler saw: its looks, when each watched cgroup became empty, when memory crossed the line."""

    samples: list[Sample] = field(default_factory=list)
    empty_usec: dict[str, int | None] = field(default_factory=dict)
    crossed_usec: int | None = None


def read_seen(text: str) -> Seen:
    """The lines of the sampler's file."""
    seen = Seen()
    for line in text.splitlines():
        fields = json.loads(line)
        if "t_usec" in fields:
            seen.samples.append(Sample(**fields))
        elif "watch" in fields:
            seen.empty_usec[fields["watch"]] = fields["empty_usec"]
        else:
            seen.crossed_usec = fields["crossed_usec"]
    return seen


class Sampler:
    """A context manager: samples from its start to its end; then `seen` holds the result.

    `watch` maps a name to the path of a `cgroup.events`.
    """

    def __init__(
        self, directory: Path, *, below_kib: int = 0, watch: Mapping[str, str] | None = None, interval_ms: int = 5
    ) -> None:
        self._out = directory / "samples.jsonl"
        self._command = [build_program("sampler"), "--out", str(self._out), "--interval-ms", str(interval_ms)]
        self._command += ["--below-kib", str(below_kib)] if below_kib else []
        for name, path in (watch or {}).items():
            self._command += ["--watch-events", f"{name}={path}"]
        self.seen = Seen()

    def __enter__(self) -> Sampler:
        self._sampler = subprocess.Popen(self._command, stdout=subprocess.PIPE, text=True)
        assert self._sampler.stdout is not None
        first = self._sampler.stdout.readline()
        assert first == "sampling\n", f"the sampler did not start: {first!r}"
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._sampler.terminate()
        try:
            status = self._sampler.wait(LIMIT)
        finally:
            self._sampler.kill()
            self._sampler.communicate()
        assert status == 0, f"the sampler ended with status {status}"
        self.seen = read_seen(self._out.read_text(encoding="utf-8"))

"""Who signalled whom, from the kernel's tracepoints: nobody is asked about itself.

The kernel stamps and keeps the events in a buffer of its own while the host is short of memory; they are read when
all is over, so that nobody has to be awake for them.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from signal import SIGKILL

# An instance of our own: others may trace too, and the main buffer stays as it is.
INSTANCE = Path("/sys/kernel/tracing/instances/cgoom-bench")
# KiB for each processor; chosen: some 5,000 events, and a run has dozens.
_BUFFER_KIB = 512
_EVENTS = {
    "signal/signal_generate": "sig == 9 || sig == 15",
    "oom/mark_victim": "",
}

_LINE = re.compile(
    r"\s*(?P<comm>.*)-(?P<pid>\d+)\s+\[\d+\]\s+\S+\s+(?P<sec>\d+)\.(?P<usec>\d{6}): (?P<event>\w+): (?P<rest>.*)"
)
_SIGNAL = re.compile(r"sig=(?P<signo>\d+) errno=-?\d+ code=-?\d+ comm=.* pid=(?P<pid>\d+) grp=\d+ res=\d+")
_VICTIM = re.compile(r"pid=(?P<pid>\d+)\b")


@dataclass(frozen=True)
class Sent:
    """A SIGTERM or SIGKILL. `t_usec` is CLOCK_MONOTONIC; `by_kernel`: its out-of-memory killer chose the target."""

    t_usec: int
    sender_pid: int
    sender_comm: str
    signo: int
    target_pid: int
    by_kernel: bool


def parse_trace(text: str) -> list[Sent]:
    """The signals of a `trace` file, oldest first; comments and other events are passed over."""
    events = [event for line in text.splitlines() if (event := _LINE.fullmatch(line))]
    # The kernel marks its victim in the same breath as it signals it, before or after, depending on its version. It may
    # also mark one that a daemon has killed already: that one was signalled by somebody else.
    marked = {
        (int(victim["pid"]), event["pid"])
        for event in events
        if event["event"] == "mark_victim" and (victim := _VICTIM.match(event["rest"]))
    }
    found = []
    for event in events:
        signal = _SIGNAL.fullmatch(event["rest"]) if event["event"] == "signal_generate" else None
        if signal is not None:
            signo, target = int(signal["signo"]), int(signal["pid"])
            by_kernel = signo == SIGKILL and (target, event["pid"]) in marked
            t_usec = int(event["sec"]) * 1_000_000 + int(event["usec"])
            found.append(Sent(t_usec, int(event["pid"]), event["comm"].strip(), signo, target, by_kernel))
    return found


class Trace:
    """A context manager: an instance of ftrace that records from `clear()` on. Needs root."""

    def __enter__(self) -> Trace:
        INSTANCE.mkdir(exist_ok=True)
        self._write("trace_clock", "mono")
        self._write("buffer_size_kb", str(_BUFFER_KIB))
        for event, condition in _EVENTS.items():
            if condition:
                self._write(f"events/{event}/filter", condition)
            self._write(f"events/{event}/enable", "1")
        return self

    def __exit__(self, *_: object) -> None:
        INSTANCE.rmdir()

    def clear(self) -> None:
        """Forget what was recorded."""
        (INSTANCE / "trace").write_bytes(b"")

    def read(self) -> list[Sent]:
        """What was recorded since `clear()`, oldest first."""
        return parse_trace((INSTANCE / "trace").read_text(encoding="utf-8", errors="replace"))

    def _write(self, name: str, text: str) -> None:
        (INSTANCE / name).write_text(text, encoding="ascii")

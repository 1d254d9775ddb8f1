"""From looks at the memory and signals to the numbers of one run. Pure."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from signal import SIGKILL
from typing import Any

from bench.trace import Sent
from tests.support.sampler import Sample, Seen

# Share of the total that has to be there beyond the kill threshold before the host counts as recovered. Chosen: cgoom's
# own distance between a warning and its end.
RECOVER_SHARE = 0.02
# Milliseconds that the measuring program, which is ahead of everybody and looks every 2, was held up. Chosen: three
# looks that did not come. Measured: the emulator stops every processor of the guest for 20 - 80 ms, several times a
# minute, when its buffer for translations is full (its own `info jit` counts them), and for 5 - 9 where much is new.
STANDSTILL_MS = 8


@dataclass(frozen=True)
class Line:
    """A kill threshold: `share` of memory and, where there is swap, of swap; both have to be at or below."""

    total_kib: int
    swap_kib: int
    share: float

    def is_short(self, sample: Sample) -> bool:
        """Whether the host is at or below the line."""
        swap_short = self.swap_kib == 0 or sample.swap_free_kib <= self.swap_kib * self.share
        return sample.available_kib <= self.total_kib * self.share and swap_short

    def has_recovered(self, sample: Sample) -> bool:
        """Whether memory is well above the line."""
        return sample.available_kib > self.total_kib * (self.share + RECOVER_SHARE)


def measure(
    seen: Seen, sent: Sequence[Sent], targets: Mapping[int, str], daemon: Collection[int], line: Line
) -> dict[str, Any]:
    """The run in numbers: times in milliseconds from the crossing, None where there was no such moment.

    `targets`: process id -> workload. `daemon`: the contestant's processes. A kill that came before the crossing (or in
    a run that never crossed) has a time below zero (or none). `below_line_kib`: what was taken beyond the line until
    the kill; a time that the emulator's host took from the whole guest is not in it. `crossed_usec` is a moment of
    CLOCK_MONOTONIC.
    """
    kills = [one for one in sent if one.signo == SIGKILL and one.target_pid in targets]
    first = kills[0] if kills else None
    crossing = next((sample.t_usec for sample in seen.samples if line.is_short(sample)), None)
    killed = first.t_usec if first else None
    victim = targets[first.target_pid] if first else None
    empty = seen.empty_usec.get(victim) if victim else None
    recovered = _find_recovery(seen.samples, killed, line)
    asked = next((one for one in sent if one.signo != SIGKILL and one.target_pid in targets), None)
    available_kib = _available_at(seen.samples, killed)
    order = list(dict.fromkeys(targets[one.target_pid] for one in kills))
    return {
        "crossed_usec": crossing,
        "first": victim,
        "by": name_sender(first, daemon) if first else None,
        "order": order,
        "asked_ms": _between(crossing, asked.t_usec if asked else None),
        "kill_ms": _between(crossing, killed),
        "empty_ms": _between(crossing, empty),
        "recovered_ms": _between(crossing, recovered),
        "available_at_kill_kib": available_kib,
        "below_line_kib": None if available_kib is None else line.total_kib * line.share - available_kib,
        "lowest_available_kib": min(sample.available_kib for sample in seen.samples),
        "samples": len(seen.samples),
        "longest_gap_ms": _longest_gap_ms(seen.samples),
    }


def measure_stalls(turns: Sequence[tuple[int, int]], samples: Sequence[Sample]) -> dict[str, Any]:
    """What the probe suffered, in microseconds; `turns`: when each was due (CLOCK_MONOTONIC), and its stall.

    That the whole guest stood still is nobody's doing: a turn during which it did, if only for a part of it, is counted
    and left out. `worst_at_usec` is when the worst was due. Where no turn is left there is no time.
    """
    stills = [(one.t_usec, other.t_usec) for one, other in pairwise(samples) if _is_standstill(one, other)]
    felt = [
        (stall_usec, due_usec)
        for due_usec, stall_usec in turns
        if not any(due_usec < ended and begun < due_usec + stall_usec for begun, ended in stills)
    ]
    felt.sort()
    worst_usec, worst_at_usec = felt[-1] if felt else (None, None)
    return {
        "turns": len(felt),
        "left_out": len(turns) - len(felt),
        "median_usec": felt[len(felt) // 2][0] if felt else None,
        "p99_usec": felt[len(felt) * 99 // 100][0] if felt else None,
        "worst_usec": worst_usec,
        "worst_at_usec": worst_at_usec,
    }


def _is_standstill(one: Sample, other: Sample) -> bool:
    return other.t_usec - one.t_usec >= STANDSTILL_MS * 1000


def name_sender(sent: Sent, daemon: Collection[int]) -> str:
    """Who it was: `daemon`, `kernel`, or the name of another process."""
    if sent.by_kernel:
        return "kernel"
    return "daemon" if sent.sender_pid in daemon else sent.sender_comm


def _find_recovery(samples: Sequence[Sample], killed_usec: int | None, line: Line) -> int | None:
    if killed_usec is None:
        return None
    later = (sample for sample in samples if sample.t_usec > killed_usec)
    return next((sample.t_usec for sample in later if line.has_recovered(sample)), None)


def _available_at(samples: Sequence[Sample], t_usec: int | None) -> int | None:
    if t_usec is None:
        return None
    earlier = [sample.available_kib for sample in samples if sample.t_usec <= t_usec]
    return earlier[-1] if earlier else None


def _between(begun_usec: int | None, ended_usec: int | None) -> float | None:
    return None if begun_usec is None or ended_usec is None else (ended_usec - begun_usec) / 1000


def _longest_gap_ms(samples: Sequence[Sample]) -> float:
    """How long the measuring program itself was kept from looking."""
    times = [sample.t_usec for sample in samples]
    return max((later - earlier for earlier, later in pairwise(times)), default=0) / 1000

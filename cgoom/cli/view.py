"""What `ls`, `status` and `explain` show, as text and as JSON documents. Pure: one `View` in, text or a dict out."""

from __future__ import annotations

import json
from dataclasses import dataclass

from cgoom.cli.render import (
    Row,
    Style,
    pct,
    render_pairs,
    render_size_or_dash,
    render_table,
    render_when,
)
from cgoom.core.detect import raw_level, shortage
from cgoom.core.rank import place_reason
from cgoom.kernel.psi import Pressure
from cgoom.model import Amount, Candidate, HostMemory, Policy, Record, Rung, Term, Threshold, Workload
from cgoom.record.codec import encode_record
from cgoom.units import render_size, render_time

# What wakes the daemon, by the word that it leaves in its run directory; which is not for everybody.
SOURCES = {
    "module": "the kernel module memory_info",
    "sampling": "/proc/meminfo, sampled",
    "unknown": "not known",
}
HYBRID_NOTE = "no memory controller on cgroup2: a workload's memory is the sum of its processes' PSS"


@dataclass(frozen=True, slots=True)
class InForce:
    """The policy that decides now, where it came from, and the daemon that uses it.

    `daemon_pid` None: no daemon runs, or with a `refusal` nobody can tell from here.
    """

    policy: Policy
    source: str
    daemon_pid: int | None
    refusal: str = ""


@dataclass(frozen=True, slots=True)
class Seen:
    """A workload and the number of its processes, those of the cgroups below it included."""

    candidate: Candidate
    process_count: int


@dataclass(frozen=True, slots=True)
class View:
    """One look at the host. `seen` is in the order of death; `pressure` is None where the kernel has no PSI.

    `source`: a key of SOURCES; `armed`: cgroups in the module's order, None without the module.
    """

    in_force: InForce
    hybrid: bool
    memory: HostMemory
    pressure: Pressure | None
    seen: tuple[Seen, ...]
    last: Record | None
    notes: tuple[str, ...] = ()
    source: str = "sampling"
    armed: int | None = None

    @property
    def candidates(self) -> list[Candidate]:
        """The candidates alone, in the order of death."""
        return [each.candidate for each in self.seen]

    def place(self, index: int) -> int | None:
        """1 for the first to die; None for one that cannot be chosen."""
        return None if self.seen[index].candidate.skip else index + 1


def render_ls(view: View) -> str:
    """The table of workloads; the first line dies first."""
    header = ("NAME", "PRIORITY", "CURRENT", "FREEABLE", "PROCS", "STATE", "ORIGIN")
    rows = (_ls_row(view, index) for index in range(len(view.seen)))
    return render_table(header, rows, frozenset({"PRIORITY", "CURRENT", "FREEABLE", "PROCS"}))


def _ls_row(view: View, index: int) -> Row:
    seen = view.seen[index]
    workload, usage, skip = seen.candidate.workload, seen.candidate.usage, seen.candidate.skip
    first = index == 0 and not skip
    cells = (
        workload.name,
        str(workload.priority),
        render_size_or_dash(usage.current_bytes if usage else None),
        render_size_or_dash(usage.freeable_bytes if usage else None),
        str(seen.process_count),
        "dies first" if first else skip or "-",
        workload.origin.value,
    )
    return Row(cells, Style.BOLD if first else Style.DIM if skip else Style.PLAIN)


def document_ls(view: View) -> dict[str, object]:
    """The JSON of `cgoom ls`."""
    return {"workloads": [_workload_document(view, index) for index in range(len(view.seen))], "notes": view.notes}


def _workload_document(view: View, index: int) -> dict[str, object]:
    seen = view.seen[index]
    workload, usage = seen.candidate.workload, seen.candidate.usage
    return {
        "name": workload.name,
        "cgroup": workload.ref.path,
        "cgroup_id": workload.ref.cgroup_id,
        "priority": workload.priority,
        "protect": workload.protect,
        "origin": workload.origin.value,
        "grace_usec": workload.grace_usec,
        "current_bytes": usage.current_bytes if usage else None,
        "freeable_bytes": usage.freeable_bytes if usage else None,
        "process_count": seen.process_count,
        "place": view.place(index),
        "skip": seen.candidate.skip,
        "why": place_reason(view.candidates, index, view.in_force.policy.victim),
    }


def render_status(view: View) -> str:
    """The host in a handful of lines."""
    memory, in_force = view.memory, view.in_force
    swap = f"{_part(memory.swap_free_bytes, memory.swap_total_bytes)} free" if memory.swap_total_bytes else "none"
    pairs = [
        ("memory", f"{_part(memory.available_bytes, memory.total_bytes)} available"),
        ("swap", swap),
        ("pressure", _pressure_text(view.pressure)),
        ("level", raw_level(in_force.policy.host, memory).name.lower()),
        ("warn at", _threshold_text(in_force.policy.host.warn, memory)),
        ("kill at", _threshold_text(in_force.policy.host.kill, memory)),
        ("recovers at", _threshold_text(in_force.policy.host.recover, memory, " > ", " or ")),
        ("source", SOURCES[view.source]),
        (
            "armed",
            "without the kernel module nobody"
            if view.armed is None
            else f"{view.armed} workload{'s' * (view.armed != 1)}",
        ),
        ("daemon", _daemon_text(in_force)),
        ("policy", in_force.source),
        ("workloads", _count_text(view)),
        ("last", "no decision yet" if view.last is None else _last_text(view.last)),
    ]
    return render_pairs([*pairs, *(("note", note) for note in view.notes)])


def document_status(view: View) -> dict[str, object]:
    """The JSON of `cgoom status`."""
    memory, host, first = view.memory, view.in_force.policy.host, _first(view)
    return {
        "memory": {
            "total_bytes": memory.total_bytes,
            "available_bytes": memory.available_bytes,
            "available_pct": pct(memory.available_bytes, memory.total_bytes),
            "swap_total_bytes": memory.swap_total_bytes,
            "swap_free_bytes": memory.swap_free_bytes,
            "swap_free_pct": pct(memory.swap_free_bytes, memory.swap_total_bytes),
        },
        "pressure": _pressure_document(view.pressure),
        "level": raw_level(host, memory).name.lower(),
        "thresholds": {
            name: {
                "mem_available_bytes": threshold.mem_available.of(memory.total_bytes),
                "swap_free_bytes": threshold.swap_free.of(memory.swap_total_bytes),
            }
            for name, threshold in (("warn", host.warn), ("kill", host.kill), ("recover", host.recover))
        },
        "source": SOURCES[view.source],
        "armed_count": view.armed,
        "daemon": _daemon_state(view.in_force),
        "daemon_pid": view.in_force.daemon_pid,
        "policy_source": view.in_force.source,
        "hybrid": view.hybrid,
        "workload_count": len(view.seen),
        "dies_first": first.workload.name if first else None,
        "last_decision": None if view.last is None else json.loads(encode_record(view.last)),
        "notes": view.notes,
    }


def render_explain(view: View) -> str:
    """Who would die now, in order, and why; then what would make it happen."""
    victim = view.in_force.policy.victim
    rows = [
        Row(
            (
                str(view.place(index) or "-"),
                candidate.workload.name,
                str(candidate.workload.priority),
                render_size_or_dash(candidate.usage.freeable_bytes if candidate.usage else None),
                place_reason(view.candidates, index, victim),
            ),
            Style.DIM if candidate.skip else Style.PLAIN,
        )
        for index, candidate in enumerate(view.candidates)
    ]
    table = render_table(
        ("PLACE", "NAME", "PRIORITY", "FREEABLE", "WHY"), rows, frozenset({"PLACE", "PRIORITY", "FREEABLE"})
    )
    return f"{table}\n\n{render_pairs(_condition_pairs(view, None))}"


def document_explain(view: View) -> dict[str, object]:
    """The JSON of `cgoom explain` without a name."""
    return {
        "level": raw_level(view.in_force.policy.host, view.memory).name.lower(),
        "conditions": dict(_condition_pairs(view, None)),
        "order": [_workload_document(view, index) for index in range(len(view.seen))],
        "notes": view.notes,
    }


def render_explain_one(view: View, index: int) -> str:
    """One workload's place, why it has it, and what must happen for it to be killed."""
    candidate = view.candidates[index]
    workload, place = candidate.workload, view.place(index)
    eligible = sum(not each.skip for each in view.candidates)
    before = ", ".join(each.workload.name for each in view.candidates[:index]) or "nobody"
    reason = place_reason(view.candidates, index, view.in_force.policy.victim)
    pairs = [("name", workload.name), ("cgroup", workload.ref.path), ("priority", str(workload.priority))]
    if place is None:
        return render_pairs([*pairs, ("place", f"none: it is never chosen while this holds: {reason}")])
    pairs += [("place", f"{place} of {eligible}"), ("why", reason), ("before it", before)]
    return render_pairs([*pairs, *_condition_pairs(view, workload)])


def document_explain_one(view: View, index: int) -> dict[str, object]:
    """The JSON of `cgoom explain NAME`."""
    return {
        **_workload_document(view, index),
        "before": [each.workload.name for each in view.candidates[:index] if not each.skip],
        "conditions": dict(_condition_pairs(view, view.candidates[index].workload)),
    }


def _condition_pairs(view: View, workload: Workload | None) -> list[tuple[str, str]]:
    """What must hold for a kill, and what is done then. `workload`: the one whose own grace counts."""
    memory, policy = view.memory, view.in_force.policy
    level = raw_level(policy.host, memory)
    pairs = [("now", f"level {level.name.lower()}: {shortage(policy.host, level, memory)}")]
    for name, threshold, rungs in (
        ("at warn", policy.host.warn, policy.ladder.warn),
        ("at kill", policy.host.kill, policy.ladder.kill),
    ):
        pairs.append((name, f"{_threshold_text(threshold, memory)}: {_rungs_text(rungs, workload)}"))
    if view.in_force.daemon_pid is None:
        pairs.append(("daemon", _daemon_text(view.in_force)))
    return pairs


def _rungs_text(rungs: tuple[Rung, ...], workload: Workload | None) -> str:
    if not rungs:
        return "nothing is done"
    if not isinstance(rungs[0], Term):
        return "killed as a whole"
    own_usec = workload.grace_usec if workload is not None else None
    return f"SIGTERM, and killed as a whole {render_time(rungs[0].grace_usec if own_usec is None else own_usec)} later"


def _threshold_text(threshold: Threshold, memory: HostMemory, relation: str = " <= ", joint: str = " and ") -> str:
    parts = [f"MemAvailable{relation}{_amount_text(threshold.mem_available, memory.total_bytes)}"]
    if memory.swap_total_bytes:
        parts.append(f"SwapFree{relation}{_amount_text(threshold.swap_free, memory.swap_total_bytes)}")
    return joint.join(parts)


def _amount_text(amount: Amount, total_bytes: int) -> str:
    size = render_size(amount.of(total_bytes))
    return f"{amount} ({size})" if amount.is_pct else size


def _part(part_bytes: int, total_bytes: int) -> str:
    return f"{render_size(part_bytes)} of {render_size(total_bytes)} ({pct(part_bytes, total_bytes):.1f}%)"


def _pressure_text(pressure: Pressure | None) -> str:
    if pressure is None:
        return "not available"
    full = f", full {pressure.full.avg10_pct:.2f}%" if pressure.full else ""
    return f"some {pressure.some.avg10_pct:.2f}%{full} (avg10)"


def _pressure_document(pressure: Pressure | None) -> dict[str, object] | None:
    if pressure is None:
        return None
    full = pressure.full.avg10_pct if pressure.full else None
    return {"some_avg10_pct": pressure.some.avg10_pct, "full_avg10_pct": full}


def _daemon_state(in_force: InForce) -> str:
    if in_force.daemon_pid is not None:
        return "running"
    return "unknown" if in_force.refusal else "stopped"


def _daemon_text(in_force: InForce) -> str:
    return {
        "running": f"running, pid {in_force.daemon_pid}",
        "unknown": f"cannot be seen: {in_force.refusal}",
        "stopped": "not running: nobody is killed; start it with `cgoom daemon`",
    }[_daemon_state(in_force)]


def _first(view: View) -> Candidate | None:
    """Who dies next."""
    return next((each for each in view.candidates if not each.skip), None)


def _count_text(view: View) -> str:
    first = _first(view)
    if first is None:
        return f"{len(view.seen)}, none of which can be chosen" if view.seen else "none"
    reason = place_reason(view.candidates, 0, view.in_force.policy.victim)
    return f"{len(view.seen)}; {first.workload.name} dies first: {reason}"


def _last_text(record: Record) -> str:
    return (
        f"{render_when(record.time_usec)} {record.victim.name}: {record.outcome.value}, "
        f"{record.why.shortage or record.why.choice}; `cgoom history {record.record_id}`"
    )

"""Hosts, policies and workloads to test the core with, and the naive answers that it is compared to."""

from __future__ import annotations

from collections.abc import Iterable
from fractions import Fraction

from hypothesis import settings
from hypothesis import strategies as st

from cgoom.core.eligible import skip_reason
from cgoom.model import (
    Amount,
    Candidate,
    CgroupRef,
    HostMemory,
    HostPolicy,
    Kill,
    Ladder,
    Level,
    Origin,
    Policy,
    Rung,
    Snapshot,
    Term,
    Threshold,
    TieBreak,
    Usage,
    VictimPolicy,
    Workload,
)

# Enough to find each of the faults that were planted to try the tests; no deadline, since other tests share the CPU.
FEW = settings(max_examples=60, deadline=None)
MIB = 1 << 20
TOTAL_BYTES = 1000 * MIB
SWAP_BYTES = 500 * MIB
OWN_PATH = "cg/daemon"  # where cgoom runs; "cg" is its ancestor
SOME_FILL = 4000 * MIB  # bytes per second
GRACES_USEC = (0, 1, 200_000, 10_000_000)
COOLDOWNS_USEC = (0, 1, 500_000, 3_000_000)


def make_workload(
    cgroup_id: int,
    priority: int = 500,
    *,
    path: str | None = None,
    protect: bool = False,
    grace_usec: int | None = None,
) -> Workload:
    """A launched workload; two with the same id are the same cgroup."""
    place = f"cgoom.slice/w{cgroup_id}.scope" if path is None else path
    return Workload(CgroupRef(place, cgroup_id), f"w{cgroup_id}", priority, protect, Origin.LAUNCHED, grace_usec)


def make_candidate(cgroup_id: int, priority: int = 500, size_bytes: int | None = 0, skip: str = "") -> Candidate:
    """A candidate that holds `size_bytes` of freeable memory; None: it was not read."""
    usage = None if size_bytes is None else Usage(size_bytes + MIB, size_bytes)
    return Candidate(make_workload(cgroup_id, priority), usage, skip)


def make_memory(mem_pct: float, swap_pct: float | None = None) -> HostMemory:
    """A host of 1000 MiB, and 500 MiB of swap where `swap_pct` says how much of it is free."""
    swap = (0, 0) if swap_pct is None else (SWAP_BYTES, int(SWAP_BYTES * swap_pct / 100))
    return HostMemory(TOTAL_BYTES, int(TOTAL_BYTES * mem_pct / 100), *swap)


def make_snapshot(
    now_usec: int, memory: HostMemory, candidates: Iterable[Candidate] = (), populated: bool | None = None
) -> Snapshot:
    """A snapshot of a host that is filled at a common rate."""
    return Snapshot(now_usec, memory, SOME_FILL, tuple(candidates), populated)


KILL_AT_ONCE = Policy(ladder=Ladder(warn=(), kill=(Kill(),)))
SHORT = make_memory(3, 3)
AMPLE = make_memory(60, 60)


def naive_raw(host: HostPolicy, memory: HostMemory) -> Level:
    """The level of one sample in exact arithmetic."""
    if _both_below(host.kill, memory):
        return Level.KILL
    return Level.WARN if _both_below(host.warn, memory) else Level.OK


def naive_level(host: HostPolicy, previous: Level, memory: HostMemory) -> Level:
    """The documented hysteresis: a level is left where memory or swap has risen above its threshold by the gap."""
    raw = naive_raw(host, memory)
    raised = Threshold(
        _raise(host.kill.mem_available, host.warn.mem_available, host.recover.mem_available, memory.total_bytes),
        _raise(host.kill.swap_free, host.warn.swap_free, host.recover.swap_free, memory.swap_total_bytes),
    )
    if Level.KILL in (raw, previous) and (raw == Level.KILL or _both_below(raised, memory)):
        return Level.KILL
    if raw == Level.WARN or (previous > Level.OK and _both_below(host.recover, memory)):
        return Level.WARN
    return Level.OK


def naive_first(candidates: Iterable[Candidate], tie_break: tuple[TieBreak, ...]) -> Candidate | None:
    """The one that dies first: by sieving, where the core sorts."""
    left = [each for each in candidates if not each.skip]
    if not left:
        return None
    worst = max(each.workload.priority for each in left)
    left = [each for each in left if each.workload.priority == worst]
    for rule in tie_break:
        values = [_measure(each, rule) for each in left]
        extreme = max(values) if rule in (TieBreak.LARGEST, TieBreak.NEWEST) else min(values)
        left = [each for each in left if _measure(each, rule) == extreme]
    return max(left, key=lambda each: each.workload.ref.cgroup_id)


def _both_below(threshold: Threshold, memory: HostMemory) -> bool:
    mem = memory.available_bytes <= _exact(threshold.mem_available, memory.total_bytes)
    swap = memory.swap_free_bytes <= _exact(threshold.swap_free, memory.swap_total_bytes)
    return mem and (swap or memory.swap_total_bytes == 0)


def _exact(amount: Amount, total_bytes: int) -> int:
    value = Fraction(amount.value)
    return int(value * total_bytes / 100 if amount.is_pct else value)


def _raise(low: Amount, warn: Amount, recover: Amount, total_bytes: int) -> Amount:
    gap = max(0, _exact(recover, total_bytes) - _exact(warn, total_bytes))
    return Amount(_exact(low, total_bytes) + gap, False)


def _measure(candidate: Candidate, rule: TieBreak) -> int:
    if rule in (TieBreak.NEWEST, TieBreak.OLDEST):
        return candidate.workload.ref.cgroup_id
    return candidate.usage.freeable_bytes if candidate.usage else 0


@st.composite
def amounts(draw: st.DrawFn, total_bytes: int) -> tuple[Amount, Amount, Amount]:
    """Kill, warn and recover, rising, each as a percentage or as bytes."""
    found = sorted(draw(st.lists(st.integers(0, 25), min_size=3, max_size=3)))
    if draw(st.booleans()):
        return Amount(found[0], True), Amount(found[1], True), Amount(found[2], True)
    low, mid, high = (total_bytes * each // 100 for each in found)
    return Amount(low, False), Amount(mid, False), Amount(high, False)


@st.composite
def hosts(draw: st.DrawFn) -> HostPolicy:
    """Thresholds as a policy file may give them."""
    mem, swap = draw(amounts(TOTAL_BYTES)), draw(amounts(SWAP_BYTES))
    kill, warn, recover = (Threshold(*pair) for pair in zip(mem, swap, strict=True))
    return HostPolicy(warn, kill, recover)


def _near(total_bytes: int) -> st.SearchStrategy[int]:
    """Whole percentages, where the thresholds are, and a byte to each side."""
    return st.builds(
        lambda pct, off: min(total_bytes, max(0, total_bytes * pct // 100 + off)),
        st.one_of(st.integers(0, 30), st.integers(0, 100)),
        st.sampled_from([0, 0, -1, 1]),
    )


@st.composite
def memories(draw: st.DrawFn) -> HostMemory:
    """The memory of one host, with or without swap, mostly near the thresholds."""
    swap = (SWAP_BYTES, draw(_near(SWAP_BYTES))) if draw(st.booleans()) else (0, 0)
    return HostMemory(TOTAL_BYTES, draw(_near(TOTAL_BYTES)), *swap)


PRIORITIES = st.one_of(st.sampled_from([0, 100, 500, 1000]), st.integers(0, 1000))
SIZES = st.one_of(st.none(), st.sampled_from([0, MIB, 2 * MIB]), st.integers(0, TOTAL_BYTES))
PLACES = st.sampled_from([None, None, None, None, None, None, "", "cg", OWN_PATH, "c", OWN_PATH + "/below"])
OWN_GRACES = st.sampled_from([None, None, 0, 300_000])


@st.composite
def candidates_lists(draw: st.DrawFn, max_size: int = 8) -> list[Candidate]:
    """Distinct cgroups with what the core itself says of who may be chosen."""
    found = []
    for cgroup_id in draw(st.lists(st.integers(1, 40), max_size=max_size, unique=True)):
        workload = make_workload(
            cgroup_id,
            draw(PRIORITIES),
            path=draw(PLACES),
            protect=draw(st.sampled_from([False, False, False, True])),
            grace_usec=draw(OWN_GRACES),
        )
        size_bytes = draw(SIZES)
        usage = None if size_bytes is None else Usage(size_bytes, size_bytes)
        populated = draw(st.sampled_from([True, True, True, False]))
        found.append(Candidate(workload, usage, skip_reason(workload, OWN_PATH, populated)))
    return found


RUNGS: st.SearchStrategy[Rung] = st.one_of(st.just(Kill()), st.builds(Term, st.sampled_from(GRACES_USEC)))
TIE_BREAKS = st.lists(st.sampled_from(TieBreak), max_size=4, unique=True).map(tuple)
VICTIMS = st.builds(VictimPolicy, TIE_BREAKS, st.sampled_from(COOLDOWNS_USEC))
_FEW_RUNGS = st.one_of(RUNGS.map(lambda rung: (rung,)), RUNGS.map(lambda rung: (rung,)), st.just(()))
LADDERS = st.builds(Ladder, _FEW_RUNGS, _FEW_RUNGS)
POLICIES = st.builds(Policy, st.one_of(st.just(HostPolicy()), hosts()), LADDERS, VICTIMS)

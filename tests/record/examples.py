"""Records for these tests: a usual one, and hypothesis strategies for every possible one."""

from __future__ import annotations

import os
from dataclasses import replace

from hypothesis import strategies as st

from cgoom.model import (
    CgroupRef,
    Considered,
    HostMemory,
    Level,
    Origin,
    Outcome,
    Record,
    Step,
    Why,
    Workload,
)
from cgoom.record.ids import make_record_id

USUAL = Record(
    record_id="1a20aba5cc2",
    boot_id="0b7c5f2e-3a44-4d0c-9a6e-0c6a4f1f2b11",
    time_usec=1_790_000_000_000_000,
    kind="shortage",
    by="daemon",
    level=Level.KILL,
    victim=Workload(CgroupRef("cgoom.slice/cgoom-batch.scope", 4711), "batch", 100, False, Origin.LAUNCHED, None),
    usage_bytes=3 << 30,
    memory=HostMemory(16 << 30, 700 << 20, 0, 0),
    why=Why("MemAvailable 4.8% (762M) <= 5%", "priority 100 over 10"),
    considered=(Considered("batch", 100, 3 << 30, "priority 100"), Considered("db", 10, None, "priority 10")),
    candidates=3,
    steps=(Step("kill", 210, Outcome.DONE), Step("depopulated", 9_100, Outcome.DONE, "12 processes")),
    outcome=Outcome.DONE,
    note="",
    available_after_bytes=4 << 30,
)


def make_record(number: int) -> Record:
    """The usual record with an id and a time of its own."""
    return replace(USUAL, record_id=make_record_id(number, 1), time_usec=number)


# What the kernel can hand us: any bytes, decoded with surrogateescape.
kernel_text = st.binary(max_size=24).map(os.fsdecode) | st.text(
    st.characters(exclude_categories=["Cs"]),
    max_size=24,
)
counts = st.integers(0, 2**64 - 1)
maybe_counts = st.none() | counts
priorities = st.integers(0, 1000)

workloads = st.builds(
    Workload,
    ref=st.builds(CgroupRef, kernel_text, counts),
    name=kernel_text,
    priority=priorities,
    protect=st.booleans(),
    origin=st.sampled_from(Origin),
    grace_usec=maybe_counts,
)
steps = st.builds(Step, kernel_text, counts, st.sampled_from(Outcome), kernel_text)
records = st.builds(
    Record,
    record_id=kernel_text,
    boot_id=kernel_text,
    time_usec=counts,
    kind=kernel_text,
    by=kernel_text,
    level=st.sampled_from(Level),
    victim=workloads,
    usage_bytes=maybe_counts,
    memory=st.builds(HostMemory, counts, counts, counts, counts),
    why=st.builds(Why, kernel_text, kernel_text),
    considered=st.lists(st.builds(Considered, kernel_text, priorities, maybe_counts, kernel_text), max_size=4).map(
        tuple
    ),
    candidates=counts,
    steps=st.lists(steps, max_size=4).map(tuple),
    outcome=st.sampled_from(Outcome),
    note=kernel_text,
    available_after_bytes=maybe_counts,
)

"""The lab takes a kernel that is broken for broken, and one that is short of memory, or tainted, for what it is."""

from __future__ import annotations

import runpy
from typing import Any

import pytest

from tests.house.sources import ROOT

COMPLAINTS: dict[str, Any] = runpy.run_path(str(ROOT / "vagrant/labkit/complaints.py"))

BROKEN = (
    "WARNING: CPU: 1 PID: 7 at kernel/workqueue.c:1635 __queue_work+0x2f/0x3d0",
    "WARNING: possible circular locking dependency detected",
    "WARNING: suspicious RCU usage",
    "INFO: task insmod:812 blocked for more than 120 seconds.",
    "rcu: INFO: rcu_preempt self-detected stall on CPU",
    "rcu: INFO: rcu_preempt detected expedited stalls on CPUs/tasks: { 1-... }",
    "rcu: INFO: rcu_preempt detected stalls on CPUs/tasks:",
    "BUG: sleeping function called from invalid context at mm/slab.h:494",
    "BUG: scheduling while atomic: hog/811/0x00000002",
    "BUG: kernel NULL pointer dereference, address: 0000000000000008",
    "BUG: workqueue lockup - pool cpus=1 node=0 flags=0x0 nice=0 stuck for 41s!",
    "watchdog: BUG: soft lockup - CPU#0 stuck for 26s! [rmmod:900]",
    "Oops: 0000 [#1] PREEMPT SMP NOPTI",
    "Call Trace:",
)
SOUND = (
    "memory_info: loading out-of-tree module taints kernel.",
    "memory_info: module verification failed: signature and/or required key missing - tainting kernel",
    "memory_info: level 2: memory 4.7% available, no swap",
    "memory_info: out of memory: killed the armed cgroup 1219, 1 processes",
    "Out of memory: Killed process 811 (hog) total-vm:1050624kB, anon-rss:802304kB",
    "sysrq: Manual OOM execution",
)


def complaints_of(*lines: str) -> list[str]:
    """What of a kernel log the lab complains about."""
    reader = COMPLAINTS["Complaints"]()
    for line in lines:
        reader.feed(line)
    found: list[str] = reader.lines
    return found


@pytest.mark.parametrize("line", BROKEN)
def test_a_broken_kernel_is_seen(line: str) -> None:
    assert complaints_of(line) == [line]


def test_a_tainted_kernel_without_memory_is_sound() -> None:
    assert complaints_of(*SOUND) == []


def test_each_report_of_the_killer_has_one_trace() -> None:
    report = ("hog invoked oom-killer: gfp_mask=0x140dca, order=0", "Call Trace:")
    assert complaints_of(*report, *report) == []
    assert complaints_of(*report, "Call Trace:") == ["Call Trace:"]

"""The lab takes a kernel that is broken for broken, and one that is short of memory, or tainted, for what it is."""

from __future__ import annotations

import importlib
import os
import runpy
import subprocess
import sys
from typing import Any

import pytest

from tests.house.sources import ROOT

COMPLAINTS: dict[str, Any] = runpy.run_path(str(ROOT / "vagrant/labkit/complaints.py"))
# A process with threads that are called as QEMU calls its own; prints name and id of each, and ends with its input.
THREADS = """
import os, sys, threading
def rest(name):
    with open(f"/proc/self/task/{threading.get_native_id()}/comm", "w") as comm:
        comm.write(name)
    os.write(1, f"{name.replace(' ', '-')} {threading.get_native_id()}\\n".encode())  # at once, whoever else writes
    sys.stdin.read()
for name in ("CPU 0/TCG", "worker", "CPU 1/TCG"):
    threading.Thread(target=rest, args=(name,)).start()
"""

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


def test_each_processor_of_a_steady_guest_has_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(ROOT / "vagrant"))
    hold_steady = runpy.run_path(str(ROOT / "vagrant/labkit/steady.py"))["hold_steady"]
    allowed = os.sched_getaffinity(0)
    with subprocess.Popen(
        [sys.executable, "-c", THREADS], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as program:
        assert program.stdout is not None
        threads = dict(program.stdout.readline().split() for _ in range(3))
        hold_steady(program.pid)
        held = {name: os.sched_getaffinity(int(thread)) for name, thread in threads.items()}
        assert program.stdin is not None
        program.stdin.close()
    own = [{number} for number in sorted(allowed)[:2]] if len(allowed) > 1 else [allowed, allowed]
    assert [held[name] for name in ("CPU-0/TCG", "CPU-1/TCG", "worker")] == [*own, allowed]


@pytest.mark.parametrize("log_waits", [False, True])
def test_the_kernel_log_of_a_job_that_measures_waits_for_what_it_writes(
    monkeypatch: pytest.MonkeyPatch, log_waits: bool
) -> None:
    monkeypatch.syspath_prepend(str(ROOT / "vagrant"))
    agent = importlib.import_module("labkit.agent")
    monkeypatch.setattr(agent, "_prepare_child", lambda: None)  # its score takes root
    monkeypatch.setattr(os, "sync", lambda: None)  # that is for a guest's disk
    noisy, end = os.pipe()
    os.write(end, b"more than anybody reads")
    sent: list[str] = []

    class Log:
        fd = noisy

        def forward(self, port: Port, limit: int = 0) -> None:
            sent.append("log")

    class Port:
        fd = end  # nothing is to be read from it

        def send(self, kind: bytes, payload: bytes) -> None:
            sent.append(payload.decode())

        def send_json(self, kind: bytes, **fields: int) -> None:
            sent.append(f"ended {fields['status']}")

    command = ["sh", "-c", "echo one; sleep 0.1; echo two; sleep 0.1"]
    agent.Agent(Port(), Log())._run(agent.wire.Job(command, "/", dict(os.environ), log_waits=log_waits))
    os.close(noisy)
    os.close(end)
    if log_waits:
        assert sent[0].startswith("one")
        assert sent[1] == "log"
        assert sent.count("log") <= 5, "once for each of two lines, two ends of output, and the job's end"
    else:
        assert sent.count("log") > 5
    assert sent[-2:] == ["log", "ended 0"]

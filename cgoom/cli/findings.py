"""What the facts mean for cgoom: one finding each, with its remedy. Pure, so that every one is tested both ways.

FAIL: a promise cannot be kept at all. WARN: it is kept with less. OK: said so that one sees that it was looked at.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from enum import Enum

from cgoom.cli.facts import Facts
from cgoom.cli.module_facts import explain_module
from cgoom.kernel.memory_info import LEVEL_PATH
from cgoom.units import render_size


class Grade(Enum):
    """How bad a finding is."""

    OK = "ok"
    WARN = "warn"
    FAIL = "fail"


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing about this host. `topic` is a stable key; `remedy` is empty where there is nothing to do."""

    grade: Grade
    topic: str
    what: str
    remedy: str = ""


@dataclass(frozen=True, slots=True)
class _Need:
    """A capability: how bad its absence is, and what is lost then."""

    grade: Grade
    loss: str


_CAPABILITIES = {
    "CAP_SYS_ADMIN": _Need(
        Grade.FAIL, "names and priorities of workloads (trusted.* xattrs) cannot be read or written"
    ),
    "CAP_KILL": _Need(Grade.FAIL, "SIGTERM cannot be sent to the processes of other users"),
    "CAP_SYS_RESOURCE": _Need(Grade.WARN, "no PSI window below 2 s, and oom_score_adj cannot be lowered"),
    "CAP_NET_ADMIN": _Need(Grade.WARN, "the kernel module takes neither the policy's thresholds nor an order"),
    "CAP_IPC_LOCK": _Need(Grade.WARN, "the daemon cannot lock its memory, and may be swapped out when it is needed"),
}
_UNIFIED = "boot with systemd.unified_cgroup_hierarchy=1 cgroup_no_v1=all"


def judge(facts: Facts) -> tuple[Finding, ...]:
    """Every finding, in a fixed order."""
    return (
        *_judge_cgroup(facts),
        _judge_pressure(facts),
        *_judge_capabilities(facts),
        _judge_module(facts),
        _judge_swap(facts),
        *_judge_competitors(facts),
        *_judge_kernel_oom(facts),
        _judge_state_dir(facts),
        _judge_daemon(facts),
    )


def _judge_cgroup(facts: Facts) -> Iterator[Finding]:
    if facts.mount is None:
        yield Finding(Grade.FAIL, "cgroup2", facts.mount_error, "mount -t cgroup2 none /sys/fs/cgroup")
        return
    yield Finding(Grade.OK, "cgroup2", f"mounted at {facts.mount.path}")
    if "memory" in facts.controllers:
        yield Finding(Grade.OK, "memory-controller", "on cgroup2")
    else:
        loss = "no memory controller on cgroup2: sizes are the sum of PSS, no memory.max, no memory.oom.group"
        yield Finding(Grade.WARN, "memory-controller", loss, f"{_UNIFIED}, and without cgroup_disable=memory")
    if facts.mount.hybrid:
        yield Finding(Grade.WARN, "hybrid", f"cgroup2 is only at {facts.mount.path}, beside cgroup v1", _UNIFIED)
    else:
        yield Finding(Grade.OK, "hybrid", "no: cgroup2 is the only hierarchy")
    if facts.cgroup_writable:
        yield Finding(Grade.OK, "cgroup-writable", "workloads can be placed and killed")
    else:
        yield Finding(Grade.FAIL, "cgroup-writable", "the cgroup tree cannot be written", "run as root, mounted rw")


def _judge_pressure(facts: Facts) -> Finding:
    if not facts.pressure_error:
        return Finding(Grade.OK, "psi", "memory pressure is available")
    return Finding(
        Grade.WARN,
        "psi",
        f"no memory pressure ({facts.pressure_error}): the daemon relies on sampling alone",
        "boot with psi=1, on a kernel built with CONFIG_PSI",
    )


def _judge_capabilities(facts: Facts) -> Iterator[Finding]:
    for name, need in _CAPABILITIES.items():
        if name in facts.capabilities:
            yield Finding(Grade.OK, name, "present")
        else:
            yield Finding(need.grade, name, f"missing: {need.loss}", "run as root, or grant it to the service")


def _judge_module(facts: Facts) -> Finding:
    what, remedy = explain_module(facts.module)
    if what:
        return Finding(Grade.WARN, "module", what, remedy)
    return Finding(Grade.OK, "module", f"memory_info is loaded ({LEVEL_PATH})")


def _judge_swap(facts: Facts) -> Finding:
    if facts.swap_total_bytes is None:
        return Finding(Grade.FAIL, "swap", "/proc/meminfo cannot be read", "mount -t proc proc /proc")
    if facts.swap_total_bytes == 0:
        loss = "no swap: memory runs out without a slope, and thresholds count memory alone"
        return Finding(Grade.WARN, "swap", loss, "add a swap file or zram of some percent of the memory")
    return Finding(Grade.OK, "swap", render_size(facts.swap_total_bytes))


def _judge_competitors(facts: Facts) -> Iterator[Finding]:
    if not facts.competitors:
        yield Finding(Grade.OK, "competitors", "no other OOM daemon runs")
    for competitor in facts.competitors:
        what = f"{competitor.name} runs (pid {competitor.pid}) and kills by its own order"
        yield Finding(Grade.FAIL, "competitors", what, f"systemctl disable --now {competitor.name}")


def _judge_kernel_oom(facts: Facts) -> Iterator[Finding]:
    for name, value, loss in (
        ("panic_on_oom", facts.panic_on_oom, "the kernel panics instead of killing when the daemon is late"),
        ("oom_kill_allocating_task", facts.oom_kill_allocating_task, "the kernel kills who allocates, not by order"),
    ):
        if value in (None, "0"):
            yield Finding(Grade.OK, name, "off" if value else "not known to this kernel")
        else:
            yield Finding(Grade.WARN, name, f"vm.{name} = {value}: {loss}", f"sysctl vm.{name}=0")


def _judge_state_dir(facts: Facts) -> Finding:
    if facts.state_dir_writable:
        return Finding(Grade.OK, "state-dir", f"{facts.state_dir} takes the history")
    what = f"{facts.state_dir} cannot be written: no history is kept"
    return Finding(Grade.FAIL, "state-dir", what, "run as root, or set CGOOM_STATE_DIR")


def _judge_daemon(facts: Facts) -> Finding:
    if facts.daemon_pid is not None:
        return Finding(Grade.OK, "daemon", f"runs, pid {facts.daemon_pid}")
    if facts.daemon_refusal:
        return Finding(Grade.WARN, "daemon", f"cannot be seen: {facts.daemon_refusal}", "run it as root")
    return Finding(Grade.WARN, "daemon", "not running: nobody is killed when memory runs short", "cgoom daemon")

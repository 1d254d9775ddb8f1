"""Made-up values that the tests of the face share."""

from __future__ import annotations

from cgoom.cli.facts import Facts
from cgoom.cli.module_facts import ModuleFacts
from cgoom.cli.view import InForce, Seen, View
from cgoom.core.rank import rank
from cgoom.kernel.cgroup import Mount
from cgoom.kernel.psi import Pressure, PressureLine
from cgoom.model import Candidate, CgroupRef, HostMemory, Origin, Policy, Record, Usage, Workload

GIB = 1 << 30
PLENTY = HostMemory(16 * GIB, 12 * GIB, 2 * GIB, GIB)
CALM = Pressure(PressureLine(0.5, 0.0, 0.0, 0), PressureLine(0.25, 0.0, 0.0, 0))

# A host where nothing is amiss: every test spoils one fact.
GOOD = Facts(
    mount=Mount("/sys/fs/cgroup", hybrid=False),
    mount_error="",
    controllers=frozenset({"memory", "pids"}),
    cgroup_writable=True,
    pressure_error="",
    capabilities=frozenset({"CAP_KILL", "CAP_SYS_ADMIN", "CAP_SYS_RESOURCE", "CAP_NET_ADMIN", "CAP_IPC_LOCK"}),
    module=ModuleFacts(loaded=True),
    swap_total_bytes=2 * GIB,
    competitors=(),
    panic_on_oom="0",
    oom_kill_allocating_task="0",
    state_dir="/var/lib/cgoom",
    state_dir_writable=True,
    daemon_pid=1234,
    daemon_refusal="",
)


def make_candidate(name: str, priority: int, size_bytes: int | None = GIB, skip: str = "") -> Candidate:
    """A launched workload; its cgroup id follows from its name."""
    ref = CgroupRef(f"cgoom.slice/{name}.scope", sum(map(ord, name)))
    workload = Workload(ref, name, priority, skip == "protected", Origin.LAUNCHED)
    return Candidate(workload, None if size_bytes is None else Usage(size_bytes, size_bytes), skip)


def make_view(
    *candidates: Candidate,
    memory: HostMemory = PLENTY,
    in_force: InForce | None = None,
    last: Record | None = None,
    pressure: Pressure | None = CALM,
    notes: tuple[str, ...] = (),
) -> View:
    """A view with the candidates in their order of death."""
    in_force = in_force or InForce(Policy(), "built in", 1234)
    ranked = rank(candidates, in_force.policy.victim)
    return View(in_force, False, memory, pressure, tuple(Seen(each, 1) for each in ranked), last, notes)

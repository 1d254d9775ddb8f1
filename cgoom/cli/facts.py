"""What `cgoom doctor` looks at. Only gathers; `findings.py` judges. A fact that cannot be read is None."""

from __future__ import annotations

import os
from dataclasses import dataclass

from cgoom.cli.module_facts import ModuleFacts, read_module_facts
from cgoom.cli.policy import read_daemon
from cgoom.errors import CgoomError
from cgoom.kernel.capability import read_effective
from cgoom.kernel.cgroup import Mount, find_mount, open_cgroup
from cgoom.kernel.meminfo import MemInfo
from cgoom.kernel.proc import read_cgroup_path
from cgoom.kernel.psi import read_pressure
from cgoom.kernel.sysctl import read_sysctl
from cgoom.model import Layout

PRESSURE_FILE = "/proc/pressure/memory"
# The daemons that kill by their own order. nohang is a Python script, so that its exe is the interpreter.
COMPETITORS = frozenset({"earlyoom", "nohang", "oomd", "systemd-oomd"})


@dataclass(frozen=True, slots=True)
class Competitor:
    """Another OOM daemon that runs."""

    name: str
    pid: int


@dataclass(frozen=True, slots=True)
class Facts:
    """One look at the host. `mount` None: no cgroup2, and `mount_error` says why; `panic_on_oom` etc.: the sysctl."""

    mount: Mount | None
    mount_error: str
    controllers: frozenset[str]
    cgroup_writable: bool
    pressure_error: str
    capabilities: frozenset[str]
    module: ModuleFacts
    swap_total_bytes: int | None
    competitors: tuple[Competitor, ...]
    panic_on_oom: str | None
    oom_kill_allocating_task: str | None
    state_dir: str
    state_dir_writable: bool
    daemon_pid: int | None
    daemon_refusal: str


def read_facts(layout: Layout) -> Facts:
    """Look at everything; no failure of one fact hides another."""
    mount, mount_error = _read_mount()
    daemon_pid, daemon_refusal = read_daemon(layout.run_dir)
    return Facts(
        mount=mount,
        mount_error=mount_error,
        controllers=_read_controllers(mount),
        cgroup_writable=mount is not None and is_writable(os.path.join(mount.path, layout.slice_name)),
        pressure_error=_read_pressure_error(),
        capabilities=read_effective(),
        module=read_module_facts(),
        swap_total_bytes=_read_swap_total(),
        competitors=tuple(find_competitors()),
        panic_on_oom=_read_setting("vm.panic_on_oom"),
        oom_kill_allocating_task=_read_setting("vm.oom_kill_allocating_task"),
        state_dir=layout.state_dir,
        state_dir_writable=is_writable(layout.state_dir),
        daemon_pid=daemon_pid,
        daemon_refusal=daemon_refusal,
    )


def is_writable(path: str) -> bool:
    """Whether the directory, or the nearest one above that exists, can be written by the effective user."""
    while not os.path.isdir(path) and path != "/":
        path = os.path.dirname(path)
    return os.access(path, os.W_OK | os.X_OK, effective_ids=True)


def is_competitor(comm: str, exe: str | None, cmdline: list[str] | None, cgroup_unit: str) -> bool:
    """Whether a process is one of COMPETITORS: its comm and a second witness, as anybody may choose a comm.

    The witness is the executable, for a script its path, and where neither may be read the systemd unit.
    """
    if comm not in COMPETITORS:
        return False
    if exe and os.path.basename(exe) == comm:
        return True
    if exe and cmdline:
        return os.path.basename(exe).startswith("python") and comm in map(os.path.basename, cmdline[1:3])
    return not exe and cgroup_unit.removesuffix(".service") == comm


def find_competitors() -> list[Competitor]:
    """Every running one, by pid."""
    import psutil  # noqa: PLC0415 - 30 ms that only this command pays

    found = []
    for process in psutil.process_iter(["name", "exe", "cmdline"]):
        seen = process.info
        if seen["name"] in COMPETITORS and is_competitor(
            seen["name"], seen["exe"], seen["cmdline"], _read_unit(process.pid)
        ):
            found.append(Competitor(seen["name"], process.pid))
    return sorted(found, key=lambda competitor: competitor.pid)


def _read_unit(pid: int) -> str:
    """The last part of the process's cgroup path; nothing when it is gone."""
    try:
        return os.path.basename(read_cgroup_path(pid))
    except CgoomError:
        return ""


def _read_mount() -> tuple[Mount | None, str]:
    try:
        return find_mount(), ""
    except CgoomError as error:
        return None, error.message


def _read_controllers(mount: Mount | None) -> frozenset[str]:
    if mount is None:
        return frozenset()
    try:
        with open_cgroup(mount.path) as root:
            return root.read_controllers()
    except CgoomError:
        return frozenset()


def _read_setting(name: str) -> str | None:
    try:
        return read_sysctl(name)
    except CgoomError:
        return None


def _read_pressure_error() -> str:
    """Empty when PSI works; a kernel booted with psi=0 has the file and refuses to read it."""
    try:
        read_pressure(PRESSURE_FILE)
    except CgoomError as error:
        return error.message
    return ""


def _read_swap_total() -> int | None:
    try:
        reader = MemInfo()
    except CgoomError:
        return None
    try:
        return reader.read().swap_total_bytes
    except CgoomError:
        return None
    finally:
        reader.close()

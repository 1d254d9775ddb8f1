"""Placement by cgoom itself: `SLICE/NAME.scope`, where no systemd owns the tree."""

from __future__ import annotations

import fcntl
import os
import select
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import NoReturn

from cgoom.errors import CgoomError, ConflictError, GoneError, HostError, KernelError
from cgoom.frozen import Frozen
from cgoom.kernel.cgroup import Cgroup, Mount, open_cgroup
from cgoom.kernel.clone import spawn_into
from cgoom.kernel.fault import kernel_errors
from cgoom.kernel.identity import write_identity
from cgoom.names import Layout
from cgoom.place.child import execute_command, make_exec_error, put_back_score, run_child, write_score
from cgoom.place.request import LaunchRequest, Limits, Placed
from cgoom.place.signals import CallerSignals, read_caller_signals
from cgoom.units import USEC_PER_SEC

# What a workload is measured and held by; each is enabled where the host has it.
_CONTROLLERS = ("memory", "cpu", "pids", "io")
# Seconds; chosen: a launch holds the lock for a few milliseconds, so past this its holder is stopped or stuck.
_LOCK_WAIT_SEC = 5.0
_LOCK_POLL_SEC = 0.01
# Levels below a scope; chosen: each costs a descriptor, and a workload that nests deeper is left as it is.
_DEPTH_LIMIT = 64


class _Limit(Frozen):
    control: str
    controller: str
    option: str
    value: int


@contextmanager
def hold_scope(request: LaunchRequest, layout: Layout, mount: Mount) -> Iterator[Cgroup]:
    """A new, empty `SLICE/NAME.scope` with its limits and identity; nobody else makes or removes a scope meanwhile.

    What the body raises removes the scope again. Raises ConflictError when the name is in use, HostError when a limit
    needs a controller that cannot be had, NotPermittedError, KernelError.
    """
    with _hold_lock(layout.run_dir), _open_slice(layout, mount) as parent:
        limits = _list_limits(request.limits)
        refusals = _enable_controllers(parent, mount)
        _require_controllers(parent, mount, limits, refusals)
        scope = _make_scope(parent, request.name)
        # For as long as we live: the daemon removes an empty scope that nobody locks, as a crashed launch leaves it.
        fcntl.flock(scope.fd, fcntl.LOCK_SH)
        try:
            for limit in limits:
                scope.write_control(limit.control, str(limit.value))
            if "memory" in scope.read_controllers():
                scope.write_control("memory.oom.group", "1")
            write_identity(scope.fd, request.identity())
            yield scope
        except BaseException:
            scope.close()
            with suppress(CgoomError):
                parent.remove_child(f"{request.name}.scope")
            raise


def start_direct(request: LaunchRequest, layout: Layout, mount: Mount, caller: CallerSignals) -> Placed:
    """CMD, started inside its scope by clone3(CLONE_INTO_CGROUP). Raises as `hold_scope` does."""
    report_fd, child_report_fd = os.pipe()
    try:
        with hold_scope(request, layout, mount) as scope:
            score = write_score(request)
            try:
                pid, pidfd = spawn_into(scope.fd, lambda: run_child(request, caller, child_report_fd))
            finally:
                put_back_score(score)
            return Placed(request, pid, pidfd, scope, report_fd, is_direct=True)
    except BaseException:
        os.close(report_fd)
        raise
    finally:
        os.close(child_report_fd)


def become_direct(request: LaunchRequest, layout: Layout, mount: Mount) -> NoReturn:
    """Move ourselves into a new scope and execute CMD. Raises ExecError, and as `hold_scope` does."""
    with hold_scope(request, layout, mount) as scope:
        write_score(request)
        scope.write_control("cgroup.procs", str(os.getpid()))
    try:
        execute_command(request.argv, read_caller_signals())
    except OSError as error:
        raise make_exec_error(error.errno or 0, request.argv) from error


def remove_scope(placed: Placed, layout: Layout, mount: Mount, wait_usec: int) -> bool:
    """Remove the scope once it is empty, waiting at most `wait_usec`; False when something still lives in it.

    A scope of the same name that is not ours is left alone. Raises KernelError.
    """
    if not wait_unpopulated(placed.cgroup, wait_usec):
        return False
    name = f"{placed.request.name}.scope"
    with suppress(GoneError), _hold_lock(layout.run_dir), _open_slice(layout, mount) as parent:
        with parent.open_child(name) as scope:
            if scope.cgroup_id != placed.cgroup.cgroup_id:
                return True
            _remove_below(scope)
        parent.remove_child(name)
    return True


def wait_unpopulated(cgroup: Cgroup, wait_usec: int) -> bool:
    """Whether the cgroup is empty or gone, as an event, before `wait_usec` have passed. Raises KernelError."""
    deadline = time.monotonic() + wait_usec / USEC_PER_SEC
    try:
        events_fd = cgroup.open_control("cgroup.events", os.O_RDONLY)
    except GoneError:
        return True
    poll = select.poll()
    poll.register(events_fd, select.POLLPRI)
    try:
        while True:
            os.pread(events_fd, 1, 0)  # poll reports what changes after this look, so it comes before the next line
            if not cgroup.read_populated():
                return True
            left_sec = deadline - time.monotonic()
            if left_sec <= 0:
                return False
            poll.poll(left_sec * 1000)
    except (GoneError, OSError):
        return True
    finally:
        os.close(events_fd)


@contextmanager
def _hold_lock(run_dir: str) -> Iterator[None]:
    """Two launches of one name would take each other's still empty scope for a leftover.

    The file is not below the slice: there, any user could open and lock what he can read.
    """
    path = f"{run_dir}/launch.lock"
    with kernel_errors(path):
        os.makedirs(run_dir, 0o750, exist_ok=True)
        fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o600)
    try:
        deadline = time.monotonic() + _LOCK_WAIT_SEC
        while not _try_lock(fd):
            if time.monotonic() > deadline:
                raise ConflictError(f"{path}: another launch holds it", f"see who: fuser {path}")
            time.sleep(_LOCK_POLL_SEC)
        yield
    finally:
        # Closing alone would not do: a child that was started meanwhile has the descriptor until it executes CMD.
        fcntl.flock(fd, fcntl.LOCK_UN)
        os.close(fd)


def _try_lock(fd: int) -> bool:
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


@contextmanager
def _open_slice(layout: Layout, mount: Mount) -> Iterator[Cgroup]:
    """The slice, made where it is missing. It never gets a process of its own (no internal process rule)."""
    with open_cgroup(mount.path, "") as root:
        with suppress(ConflictError):
            root.make_child(layout.slice_name).close()
        with root.open_child(layout.slice_name) as parent:
            yield parent


def _enable_controllers(parent: Cgroup, mount: Mount) -> dict[str, str]:
    """Enable what there is, from the mount down to the scopes; what was refused, and why, by controller."""
    refusals: dict[str, str] = {}
    with open_cgroup(mount.path, "") as root:
        for cgroup in (root, parent):
            for controller in _CONTROLLERS:
                if controller not in cgroup.read_controllers():
                    continue
                try:
                    cgroup.write_control("cgroup.subtree_control", f"+{controller}")
                except CgoomError as error:
                    refusals[controller] = error.message
    return refusals


def _require_controllers(parent: Cgroup, mount: Mount, limits: list[_Limit], refusals: dict[str, str]) -> None:
    enabled = parent.read_control("cgroup.subtree_control").split()
    for limit in limits:
        if limit.controller in enabled:
            continue
        refusal = refusals.get(limit.controller)
        if refusal is not None:
            raise HostError(
                f"{limit.control} cannot be set: the {limit.controller} controller cannot be enabled: {refusal}",
                f"a cgroup above it must be free of processes of its own; or leave out {limit.option}",
            )
        raise HostError(
            f"{limit.control} cannot be set: cgroup2 at {mount.path} has no {limit.controller} controller",
            f"it may be bound to cgroup v1: boot with cgroup_no_v1=all, or leave out {limit.option}",
        )


def _list_limits(limits: Limits) -> list[_Limit]:
    asked = (
        ("memory.max", "memory", "--memory-max", limits.memory_max_bytes),
        ("memory.low", "memory", "--memory-low", limits.memory_low_bytes),
        ("cpu.weight", "cpu", "--cpu-weight", limits.cpu_weight),
        ("pids.max", "pids", "--pids-max", limits.pids_max),
    )
    return [_Limit(control, owner, option, value) for control, owner, option, value in asked if value is not None]


def _make_scope(parent: Cgroup, name: str) -> Cgroup:
    """Make the scope; an empty one of that name is what a launch left that did not live to remove it."""
    scope_name = f"{name}.scope"
    with suppress(ConflictError):
        return parent.make_child(scope_name)
    with suppress(GoneError):
        with parent.open_child(scope_name) as leftover:
            if leftover.read_populated():
                raise ConflictError(f"name in use: {name}", "`cgoom ls` shows what runs; choose another --name")
            _remove_below(leftover)
        parent.remove_child(scope_name)
    return parent.make_child(scope_name)


def _remove_below(cgroup: Cgroup, depth: int = 0) -> None:
    """Remove every cgroup below `cgroup`; none of them has a process. Raises KernelError."""
    if depth == _DEPTH_LIMIT:
        raise KernelError(f"{cgroup.path}: nested too deep", "remove what is below it with rmdir")
    for name in cgroup.children():
        with suppress(GoneError):
            with cgroup.open_child(name) as child:
                _remove_below(child, depth + 1)
            cgroup.remove_child(name)

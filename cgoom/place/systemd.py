"""Placement by systemd, which owns the tree where it is PID 1: a transient scope `SLICE/cgoom-NAME.scope`.

The only module that imports the D-Bus client; import it only when systemd is to be asked.
"""

from __future__ import annotations

import os
import time
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any, NoReturn

from jeepney import (  # type: ignore[import-untyped]
    AuthenticationError,
    DBusAddress,
    DBusErrorResponse,
    MatchRule,
    Message,
    message_bus,
    new_method_call,
)
from jeepney.io.blocking import DBusConnection, open_dbus_connection  # type: ignore[import-untyped]
from jeepney.wrappers import unwrap_msg  # type: ignore[import-untyped]

from cgoom.errors import CgoomError, ConflictError, GoneError, HostError, KernelError, NotPermittedError
from cgoom.kernel.cgroup import Cgroup, Mount, open_cgroup
from cgoom.kernel.identity import write_identity
from cgoom.kernel.pidfd import open_pidfd
from cgoom.kernel.proc import read_cgroup_path
from cgoom.model import Layout
from cgoom.place.child import Gate, execute_command, make_exec_error, run_child, write_score
from cgoom.place.placement import BUS_SOCKET
from cgoom.place.request import LaunchRequest, Placed
from cgoom.place.signals import CallerSignals, read_caller_signals

# Seconds; chosen: starting a scope takes milliseconds, and a bus that is started by its first client about a second.
_ANSWER_WAIT_SEC = 10.0
# Seconds; chosen: systemd lets go of a scope within milliseconds of its last process.
_NAME_WAIT_SEC = 2.0
_NAME_POLL_SEC = 0.05

_MANAGER_PATH = "/org/freedesktop/systemd1"
_MANAGER_INTERFACE = "org.freedesktop.systemd1.Manager"
_UNIT_EXISTS = "org.freedesktop.systemd1.UnitExists"
# What systemd answers for a property that this version of it does not know.
_UNKNOWN_PROPERTY = frozenset(
    {"org.freedesktop.DBus.Error.PropertyReadOnly", "org.freedesktop.DBus.Error.UnknownProperty"}
)
_DENIED = frozenset(
    {"org.freedesktop.DBus.Error.AccessDenied", "org.freedesktop.DBus.Error.InteractiveAuthorizationRequired"}
)

# As D-Bus wants it: name, (signature, value).
Property = tuple[str, tuple[str, Any]]


def start_systemd(request: LaunchRequest, layout: Layout, mount: Mount, caller: CallerSignals) -> Placed:
    """CMD, started behind a gate that opens once its process is in the scope.

    Raises ConflictError when the name is in use, NotPermittedError, HostError, KernelError.
    """
    report_fd, child_report_fd = os.pipe()
    gate = Gate(*os.pipe())
    pid = os.fork()
    if pid == 0:
        run_child(request, caller, child_report_fd, gate)
    pidfd = open_pidfd(pid)
    os.close(child_report_fd)
    os.close(gate.read_fd)
    try:
        cgroup = _enter_scope(request, layout, mount, pid)
        with suppress(BrokenPipeError):  # killed while it waited: its status will say so
            os.write(gate.write_fd, b"1")
    except BaseException:
        os.close(gate.write_fd)  # EOF: the child ends without CMD
        os.waitid(os.P_PIDFD, pidfd, os.WEXITED)
        os.close(pidfd)
        os.close(report_fd)
        raise
    os.close(gate.write_fd)
    return Placed(request, pid, pidfd, cgroup, report_fd, is_direct=False)


def become_systemd(request: LaunchRequest, layout: Layout, mount: Mount) -> NoReturn:
    """Let systemd move ourselves into a new scope and execute CMD. Raises ExecError, and as `start_systemd` does."""
    _enter_scope(request, layout, mount, os.getpid()).close()
    write_score(request)
    try:
        execute_command(request.argv, read_caller_signals())
    except OSError as error:
        raise make_exec_error(error.errno or 0, request.argv) from error


def list_properties(request: LaunchRequest, slice_name: str, pid: int) -> list[Property]:
    """The properties of the scope, OOMPolicy last."""
    limits = request.limits
    asked: list[tuple[str, str, int | None]] = [
        ("MemoryMax", "t", limits.memory_max_bytes),
        ("MemoryLow", "t", limits.memory_low_bytes),
        ("CPUWeight", "t", limits.cpu_weight),
        ("TasksMax", "t", limits.pids_max),
        ("TimeoutStopUSec", "t", request.grace_usec),
    ]
    return [
        ("Description", ("s", f"cgoom workload {request.name}")),
        ("Slice", ("s", slice_name)),
        ("PIDs", ("au", [pid])),
        ("Delegate", ("b", True)),
        ("MemoryAccounting", ("b", True)),
        ("CollectMode", ("s", "inactive-or-failed")),
        *((name, (signature, value)) for name, signature, value in asked if value is not None),
        ("OOMPolicy", ("s", "kill")),
    ]


def _enter_scope(request: LaunchRequest, layout: Layout, mount: Mount, pid: int) -> Cgroup:
    """Have the process `pid` moved into its scope, and mark that as a workload."""
    unit = f"cgoom-{request.name}.scope"
    path = f"{layout.slice_name}/{unit}"
    with _bus_errors(unit), open_dbus_connection(f"unix:path={BUS_SOCKET}", auth_timeout=_ANSWER_WAIT_SEC) as bus:
        _start_scope(_Manager(bus), unit, list_properties(request, layout.slice_name, pid), f"{mount.path}/{path}")
    # Whatever the bus said, only the kernel knows.
    found = read_cgroup_path(pid)
    if found != path:
        raise HostError(f"{unit}: systemd put the process into {found!r}, not into {path}")
    cgroup = open_cgroup(mount.path, path)
    try:
        if "memory" in cgroup.read_controllers():
            cgroup.write_control("memory.oom.group", "1")
        write_identity(cgroup.fd, request.identity())
    except BaseException:
        cgroup.close()
        raise
    return cgroup


class _Manager:
    """systemd's Manager object on the system bus."""

    def __init__(self, bus: DBusConnection) -> None:
        """Subscribe to the ends of jobs, before there is one."""
        self._bus = bus
        self._address = DBusAddress(_MANAGER_PATH, "org.freedesktop.systemd1", _MANAGER_INTERFACE)
        self._removed: deque[Message] = deque()
        # Without the sender, which the local filter would compare with its unique name. A forged signal gains nothing:
        # where the process is, is read from the kernel afterwards.
        rule = MatchRule(type="signal", interface=_MANAGER_INTERFACE, member="JobRemoved", path=_MANAGER_PATH)
        bus.filter(rule, queue=self._removed)
        self._send(message_bus.AddMatch(rule))
        self.call("Subscribe")

    def call(self, method: str, signature: str | None = None, body: tuple[Any, ...] = ()) -> tuple[Any, ...]:
        """The answer to one method call. Raises DBusErrorResponse, TimeoutError, OSError."""
        return self._send(new_method_call(self._address, method, signature, body))

    def wait_job(self, job: str) -> str:
        """The result of the job, `done` when all is well. Raises TimeoutError, OSError."""
        deadline = time.monotonic() + _ANSWER_WAIT_SEC
        while True:
            left_sec = max(0.0, deadline - time.monotonic())
            _, path, _, result = self._bus.recv_until_filtered(self._removed, timeout=left_sec).body
            if path == job:
                return str(result)

    def _send(self, message: Message) -> tuple[Any, ...]:
        body: tuple[Any, ...] = unwrap_msg(self._bus.send_and_get_reply(message, timeout=_ANSWER_WAIT_SEC))
        return body


def _start_scope(manager: _Manager, unit: str, properties: list[Property], directory: str) -> None:
    """Start the unit and wait until it is. A stale one of that name is reset; an old systemd gets no OOMPolicy."""
    deadline = time.monotonic() + _NAME_WAIT_SEC
    while True:
        try:
            (job,) = manager.call("StartTransientUnit", "ssa(sv)a(sa(sv))", (unit, "fail", properties, []))
            break
        except DBusErrorResponse as refusal:
            if refusal.name in _UNKNOWN_PROPERTY and properties[-1][0] == "OOMPolicy":
                properties = properties[:-1]  # scopes have it since systemd 253; memory.oom.group is written anyway
                continue
            if refusal.name != _UNIT_EXISTS or _is_populated(directory) or time.monotonic() > deadline:
                raise
        # It failed, or its last process has just gone: make systemd forget it.
        with suppress(DBusErrorResponse):
            manager.call("ResetFailedUnit", "s", (unit,))
        time.sleep(_NAME_POLL_SEC)
    result = manager.wait_job(job)
    if result != "done":
        raise KernelError(f"{unit}: systemd could not start it: {result}", f"see `journalctl -u {unit}`")


def _is_populated(directory: str) -> bool:
    try:
        with open_cgroup(directory) as cgroup:
            return cgroup.read_populated()
    except GoneError:
        return False


@contextmanager
def _bus_errors(unit: str) -> Iterator[None]:
    """The one place where an error of the bus becomes one of ours."""
    try:
        yield
    except DBusErrorResponse as error:
        raise _make_refusal(unit, error) from error
    except TimeoutError as error:
        raise KernelError(
            f"{unit}: systemd did not answer within {_ANSWER_WAIT_SEC:g} s", "see `systemctl status`"
        ) from error
    except (OSError, AuthenticationError) as error:
        raise KernelError(f"{BUS_SOCKET}: {error}", "see `systemctl status dbus`") from error


def _make_refusal(unit: str, error: DBusErrorResponse) -> CgoomError:
    said = f"{unit}: {error.data[0] if error.data else error.name}"
    if error.name == _UNIT_EXISTS:
        return ConflictError(
            f"name in use: {unit.removeprefix('cgoom-').removesuffix('.scope')}",
            "`cgoom ls` shows what runs; choose another --name",
        )
    if error.name in _DENIED:
        return NotPermittedError(said, "systemd starts workloads for root: run it with sudo")
    return KernelError(said, f"see `journalctl -u {unit}`")

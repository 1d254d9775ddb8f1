"""Placement by systemd, which owns the tree where it is PID 1: a transient scope `SLICE/cgoom-NAME.scope`.

Import it only when systemd is to be asked.
"""

from __future__ import annotations

import os
import time

from cgoom.errors import CgoomError, ConflictError, GoneError, HostError, KernelError, NotPermittedError
from cgoom.kernel.cgroup import Cgroup, Mount, open_cgroup
from cgoom.kernel.fault import kernel_errors
from cgoom.kernel.identity import write_identity
from cgoom.kernel.proc import read_cgroup_path
from cgoom.place.bus import BUS, Address, Bus, BusError, Message, Writer
from cgoom.place.child import Gate, execute_command, make_exec_error, put_back_score, run_child, write_score
from cgoom.place.request import LaunchRequest, Placed
from cgoom.place.signals import CallerSignals, read_caller_signals

TYPE_CHECKING = False
if TYPE_CHECKING:
    import socket
    from typing import Any, NoReturn

    from cgoom.names import Layout

# Seconds; chosen: starting a scope takes milliseconds, and a bus that is started by its first client about a second.
_ANSWER_WAIT_SEC = 10.0
# Seconds; chosen: systemd lets go of a scope within milliseconds of its last process.
_NAME_WAIT_SEC = 2.0
_NAME_POLL_SEC = 0.05

_MANAGER = Address("org.freedesktop.systemd1", "/org/freedesktop/systemd1", "org.freedesktop.systemd1.Manager")
# Every local user may send a signal. The bus passes on what systemd tells everybody, but also what anybody sends to us
# alone: that is told from systemd's by its sender.
_JOB_REMOVED = (
    f"type='signal',sender='{_MANAGER.service}',interface='{_MANAGER.interface}',member='JobRemoved',"
    f"path='{_MANAGER.path}'"
)
_JOB_REMOVED_ARGUMENTS = 4  # id, path of the job, unit, result
_UNIT_EXISTS = "org.freedesktop.systemd1.UnitExists"
# What systemd answers for a property that this version of it does not know.
_UNKNOWN_PROPERTY = frozenset(
    {"org.freedesktop.DBus.Error.PropertyReadOnly", "org.freedesktop.DBus.Error.UnknownProperty"}
)
_DENIED = frozenset(
    {"org.freedesktop.DBus.Error.AccessDenied", "org.freedesktop.DBus.Error.InteractiveAuthorizationRequired"}
)

if TYPE_CHECKING:
    # As D-Bus wants it: name, (signature, value).
    Property = tuple[str, tuple[str, Any]]


def start_systemd(
    request: LaunchRequest, layout: Layout, mount: Mount, caller: CallerSignals, connection: socket.socket
) -> Placed:
    """CMD, started behind a gate that opens once its process is in the scope.

    `connection` leads to the bus and is closed here. Raises ConflictError when the name is in use, NotPermittedError,
    HostError, KernelError.
    """
    report_fd, child_report_fd = os.pipe()
    gate = Gate(*os.pipe())
    score = write_score(request)
    try:
        pid = os.fork()
        if pid == 0:
            connection.close()
            run_child(request, caller, child_report_fd, gate)
    finally:
        put_back_score(score)
    with kernel_errors(f"pid {pid}"):
        pidfd = os.pidfd_open(pid)
    os.close(child_report_fd)
    os.close(gate.read_fd)
    try:
        cgroup = _enter_scope(request, layout, mount, pid, connection)
        try:  # noqa: SIM105 - contextlib costs a launch 4 ms
            os.write(gate.write_fd, b"1")
        except BrokenPipeError:
            pass  # killed while it waited: its status will say so
    except BaseException:
        os.close(gate.write_fd)  # EOF: the child ends without CMD
        os.waitid(os.P_PIDFD, pidfd, os.WEXITED)
        os.close(pidfd)
        os.close(report_fd)
        raise
    os.close(gate.write_fd)
    return Placed(request, pid, pidfd, cgroup, report_fd, is_direct=False)


def become_systemd(request: LaunchRequest, layout: Layout, mount: Mount, connection: socket.socket) -> NoReturn:
    """Let systemd move ourselves into a new scope and execute CMD. Raises ExecError, and as `start_systemd` does."""
    write_score(request)
    _enter_scope(request, layout, mount, os.getpid(), connection).close()
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


def _enter_scope(request: LaunchRequest, layout: Layout, mount: Mount, pid: int, connection: socket.socket) -> Cgroup:
    """Have the process `pid` moved into its scope, and mark that as a workload."""
    unit = f"cgoom-{request.name}.scope"
    path = f"{layout.slice_name}/{unit}"
    properties = list_properties(request, layout.slice_name, pid)
    try:
        with Bus(connection, _ANSWER_WAIT_SEC) as bus:
            _start_scope(bus, unit, properties, f"{mount.path}/{path}")
    except BusError as error:
        raise _make_refusal(unit, error) from error
    except TimeoutError as error:
        raise KernelError(
            f"{unit}: systemd did not answer within {_ANSWER_WAIT_SEC:g} s", "see `systemctl status`"
        ) from error
    except OSError as error:
        raise KernelError(f"{unit}: {error}", "see `systemctl status dbus`") from error
    # Whatever the bus said, only the kernel knows.
    found = read_cgroup_path(pid)
    if found != path:
        raise HostError(f"{unit}: systemd put the process into {found!r}, not into {path}")
    # The kernel has just named the path, and a cgroup2 has no symbolic links.
    with kernel_errors(path):
        cgroup = Cgroup(os.open(f"{mount.path}/{path}", os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW), path)
    try:
        if "memory" in cgroup.read_controllers():
            cgroup.write_control("memory.oom.group", "1")
        write_identity(cgroup.fd, request.identity())
    except BaseException:
        cgroup.close()
        raise
    return cgroup


def _start_scope(bus: Bus, unit: str, properties: list[Property], directory: str) -> None:
    """Start the unit and wait until it is. A stale one of that name is reset; an old systemd gets no OOMPolicy."""
    # Before there is a job that may end. Who queued a job is told of its end without `Subscribe`, which would have
    # systemd tell everything about every unit meanwhile (src/core/dbus-job.c, bus_job_track_sender).
    bus.send(BUS, "AddMatch", "s", _marshal_text(_JOB_REMOVED))
    deadline = time.monotonic() + _NAME_WAIT_SEC
    while True:
        call = bus.send(_MANAGER, "StartTransientUnit", "ssa(sv)a(sa(sv))", _marshal_unit(unit, properties))
        try:
            answer = bus.wait_answer(call)
            break
        except BusError as refusal:
            if refusal.name in _UNKNOWN_PROPERTY and properties[-1][0] == "OOMPolicy":
                properties = properties[:-1]  # scopes have it since systemd 253; memory.oom.group is written anyway
                continue
            if refusal.name != _UNIT_EXISTS or _is_populated(directory) or time.monotonic() > deadline:
                raise
        # It failed, or its last process has just gone: make systemd forget it.
        try:  # noqa: SIM105 - as above
            bus.wait_answer(bus.send(_MANAGER, "ResetFailedUnit", "s", _marshal_text(unit)))
        except BusError:
            pass
        time.sleep(_NAME_POLL_SEC)
    result = _wait_job(bus, answer)
    if result != "done":
        raise KernelError(f"{unit}: systemd could not start it: {result}", f"see `journalctl -u {unit}`")


def _wait_job(bus: Bus, answer: Message) -> str:
    """The result of the job that `answer` names, `done` when all is well. Raises TimeoutError, OSError.

    Only who gave the answer knows: a forged `failed` would end the launch, and a forged `done` come too early.
    """
    if len(answer.body) != 1:
        raise ConnectionAbortedError("an answer that names no job")
    deadline = time.monotonic() + _ANSWER_WAIT_SEC
    while time.monotonic() < deadline:  # other jobs end too
        removed = bus.wait_signal("JobRemoved")
        if removed.sender != answer.sender or len(removed.body) != _JOB_REMOVED_ARGUMENTS:
            continue
        _, job, _, result = removed.body
        if job == answer.body[0]:
            return str(result)
    raise TimeoutError


def _marshal_text(text: str) -> bytes:
    writer = Writer()
    writer.append("s", text)
    return bytes(writer.content)


def _marshal_unit(unit: str, properties: list[Property]) -> bytes:
    """The arguments of StartTransientUnit: name, mode, properties, no further units."""
    writer = Writer()
    writer.append("s", unit)
    writer.append("s", "fail")
    at = writer.begin_structs()
    for name, (kind, value) in properties:
        writer.align(8)
        writer.append("s", name)
        writer.append_variant(kind, value)
    writer.end_structs(at)
    writer.end_structs(writer.begin_structs())
    return bytes(writer.content)


def _is_populated(directory: str) -> bool:
    try:
        with open_cgroup(directory) as cgroup:
            return cgroup.read_populated()
    except GoneError:
        return False


def _make_refusal(unit: str, error: BusError) -> CgoomError:
    said = f"{unit}: {error.text or error.name}"
    if error.name == _UNIT_EXISTS:
        return ConflictError(
            f"name in use: {unit.removeprefix('cgoom-').removesuffix('.scope')}",
            "`cgoom ls` shows what runs; choose another --name",
        )
    if error.name in _DENIED:
        return NotPermittedError(said, "systemd starts workloads for root: run it with sudo")
    return KernelError(said, f"see `journalctl -u {unit}`")

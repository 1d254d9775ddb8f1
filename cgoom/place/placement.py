"""Where a workload is put: by systemd where systemd owns the tree, by cgoom itself elsewhere."""

from __future__ import annotations

import os

from cgoom.errors import NotPermittedError
from cgoom.place.request import ExecError, LaunchRequest, Limits, Placed
from cgoom.place.signals import hold_signals, release_signals

TYPE_CHECKING = False
if TYPE_CHECKING:
    import socket
    from typing import NoReturn

    from cgoom.kernel.cgroup import Mount
    from cgoom.names import Layout
else:
    # The C module below `socket`, which lacks only the enums and files: making those takes 5 ms of every launch.
    import _socket as socket

__all__ = ["ExecError", "LaunchRequest", "Limits", "Placed", "become", "find_systemd", "place"]

_SYSTEMD_DIR = "/run/systemd/system"  # sd_booted(3)
_BUS_SOCKET = "/run/dbus/system_bus_socket"
_UNIFIED_PATH = "/sys/fs/cgroup"
# Seconds; chosen: a connect to a listening socket takes microseconds, unless its queue is full.
_CONNECT_WAIT_SEC = 2.0


def find_systemd(mount: Mount) -> bool:
    """Whether to ask systemd: it is PID 1, owns the unified tree, and its bus answers."""
    connection = _connect_bus(mount)
    if connection is not None:
        connection.close()
    return connection is not None


def place(request: LaunchRequest, layout: Layout, mount: Mount) -> Placed:
    """CMD, running in its own cgroup with limits and identity; HELD signals are blocked from here on.

    Raises ConflictError when the name is in use, HostError when a limit needs a controller that cannot be had,
    NotPermittedError, KernelError; then nothing of CMD ran and nothing is left.
    """
    connection = _find_permitted_systemd(mount)
    caller = hold_signals()
    try:
        if connection is not None:
            from cgoom.place.systemd import start_systemd  # noqa: PLC0415 - the D-Bus client costs other hosts nothing

            return start_systemd(request, layout, mount, caller, connection)
        from cgoom.place.direct import start_direct  # noqa: PLC0415 - and this costs nothing where systemd places

        return start_direct(request, layout, mount, caller)
    except BaseException:
        release_signals(caller)
        raise


def become(request: LaunchRequest, layout: Layout, mount: Mount) -> NoReturn:
    """Turn ourselves into CMD in its own cgroup. Raises ExecError when CMD cannot be executed, and as `place` does."""
    connection = _find_permitted_systemd(mount)
    if connection is not None:
        from cgoom.place.systemd import become_systemd  # noqa: PLC0415 - as above

        become_systemd(request, layout, mount, connection)
    from cgoom.place.direct import become_direct  # noqa: PLC0415 - as above

    become_direct(request, layout, mount)


def _find_permitted_systemd(mount: Mount) -> socket.socket | None:
    """A connection to the bus when systemd is to be asked, and may be."""
    connection = _connect_bus(mount)
    if connection is not None and os.geteuid() != 0:
        raise NotPermittedError("a workload is started by root on this host", "run it with sudo")
    return connection


def _connect_bus(mount: Mount) -> socket.socket | None:
    if mount.hybrid or mount.path != _UNIFIED_PATH or not os.path.isdir(_SYSTEMD_DIR):
        return None
    connection = socket.socket(socket.AF_UNIX)
    connection.settimeout(_CONNECT_WAIT_SEC)
    try:
        connection.connect(_BUS_SOCKET)
    except OSError:
        connection.close()
        return None
    return connection

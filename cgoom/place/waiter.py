"""The parent of a launch while CMD runs: a bare interpreter that has nothing but what waiting takes.

What places a workload is needed for milliseconds, and the parent lives as long as CMD. So it executes itself again:
its pid, and with that CMD as its child, its blocked and its pending signals stay, and the three descriptors are handed
over. Everything else of the launcher's memory is given back.
"""

from __future__ import annotations

import fcntl
import os
import sys

import cgoom
from cgoom.errors import CgoomError
from cgoom.kernel.cgroup import Cgroup, Mount
from cgoom.names import Layout
from cgoom.place.request import LaunchRequest, Limits, Placed
from cgoom.place.supervise import Ended, supervise

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

# -I: neither PYTHON* of the environment nor the current directory decides what runs; -S: no site-packages, whose .pth
# files may run anything. Our own package is appended, so that nothing beside it hides a module of Python's.
_PROGRAM = "import sys; sys.path.append(sys.argv[1]); from cgoom.cli.wait import main; sys.exit(main(sys.argv[2:]))"
# The lowest number for a descriptor that is handed over: where the caller has closed one of 0..2, the new interpreter
# would make a standard stream of what it finds there.
_FD_LEAST = 3
# Microseconds to wait for the rest of a workload whose CMD has ended. Chosen: what dies with CMD (one Ctrl-C, a pipe)
# is gone within milliseconds, and a daemon it leaves behind should not delay the shell; but a killed workload is on its
# way out, however long the kernel takes to free it.
_REST_WAIT_USEC = 200_000
_KILLED_WAIT_USEC = 5_000_000


def become_waiter(placed: Placed, layout: Layout, mount: Mount) -> None:
    """Turn into the waiter, which calls `read_waiter`. Returns when the kernel refuses; then nothing has changed."""
    # An interpreter that is embedded or was found in no directory; one that does not find its own library unasked.
    if not sys.executable or "PYTHONHOME" in os.environ:
        return
    fds: list[int] = []
    try:
        for fd in (placed.pidfd, placed.cgroup.fd, placed.report_fd):
            fds.append(fcntl.fcntl(fd, fcntl.F_DUPFD, _FD_LEAST))  # the copy stays open across exec, ours is closed
        flags = ["-I", "-S", *(["-B"] if sys.dont_write_bytecode else [])]
        package = os.path.dirname(os.path.dirname(os.path.abspath(cgoom.__file__)))
        argv = [sys.executable, *flags, "-c", _PROGRAM, package, *_list_arguments(placed, fds, layout, mount)]
        os.execv(sys.executable, argv)  # noqa: S606 - no shell is the point
    except OSError:
        for fd in fds:
            os.close(fd)


def _list_arguments(placed: Placed, fds: Sequence[int], layout: Layout, mount: Mount) -> list[str]:
    """What `read_waiter` takes. Of CMD only the first word: its arguments are not ours to show."""
    request, limit = placed.request, placed.request.limits.memory_max_bytes
    numbers = [placed.pid, *fds, int(placed.is_direct), int(mount.hybrid)]
    words = [request.name, request.argv[0], "" if limit is None else str(limit), placed.cgroup.path]
    return [*map(str, numbers), *words, layout.slice_name, layout.run_dir, layout.state_dir, mount.path]


def read_waiter(arguments: Sequence[str]) -> tuple[Placed, Layout, Mount]:
    """What `become_waiter` handed over."""
    pid, pidfd, cgroup_fd, report_fd, is_direct, hybrid = map(int, arguments[:6])
    name, command, limit, path, slice_name, run_dir, state_dir, mount_path = arguments[6:]
    for fd in (pidfd, cgroup_fd, report_fd):
        os.set_inheritable(fd, False)
    request = LaunchRequest(name, (command,), limits=Limits(int(limit) if limit else None))
    placed = Placed(request, pid, pidfd, Cgroup(cgroup_fd, path), report_fd, is_direct=bool(is_direct))
    return placed, Layout(slice_name, run_dir, state_dir), Mount(mount_path, bool(hybrid))


def finish(placed: Placed, layout: Layout, mount: Mount) -> Ended:
    """Wait for the end of CMD and remove its cgroup. Raises ExecError, CgoomError.

    What CMD left running keeps the cgroup and stays a workload; its name is free for a launch once that has ended.
    """
    wait_usec = _REST_WAIT_USEC
    try:
        ended = supervise(placed)
        if ended.is_verdict:
            wait_usec = _KILLED_WAIT_USEC
        return ended
    finally:
        if placed.is_direct:
            _remove(placed, layout, mount, wait_usec)
        placed.close()


def _remove(placed: Placed, layout: Layout, mount: Mount, wait_usec: int) -> None:
    """Remove a scope of ours. A failure changes nothing for CMD's caller: the next launch of that name removes it."""
    try:
        # Not before CMD has ended: until then it would be memory that nobody uses.
        from cgoom.place.direct import remove_scope  # noqa: PLC0415

        remove_scope(placed, layout, mount, wait_usec)
    except CgoomError:
        pass
    except (ImportError, AttributeError, TypeError):
        pass  # another cgoom was installed while CMD ran, and its parts do not fit ours

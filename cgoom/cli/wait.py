"""The end of a launch: wait for CMD and tell what became of it. Loaded by the waiter, so without click."""

from __future__ import annotations

from cgoom.cli.say import end_launch, write_note
from cgoom.place.waiter import finish, read_waiter
from cgoom.record.text import escape_text

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

    from cgoom.kernel.cgroup import Mount
    from cgoom.names import Layout
    from cgoom.place.request import Placed


def main(arguments: Sequence[str]) -> int:
    """Entry point of the waiter: the exit status of the launch. Raises nothing."""
    try:
        _write_comm()
        return wait(*read_waiter(arguments))
    except Exception as error:  # noqa: BLE001 - as cgoom/cli/errors.py: a user never sees a traceback unasked
        return end_launch(error)


def wait(placed: Placed, layout: Layout, mount: Mount) -> int:
    """Wait for the end of CMD, remove its cgroup, say who killed it; the exit status. Raises ExecError, CgoomError."""
    ended = finish(placed, layout, mount)
    if ended.note:
        write_note(f"cgoom: {placed.request.name}: {escape_text(ended.note)}")
    return ended.status


def _write_comm() -> None:
    """Be called `cgoom` by ps and top, not `python3`; where /proc is read-only, be called that."""
    try:
        with open("/proc/self/comm", "wb", buffering=0) as comm:
            comm.write(b"cgoom")
    except OSError:
        pass

"""`cgoom launch`: run a command as a workload."""

from __future__ import annotations

import os
import re
from typing import Any

import click

from cgoom.cli.errors import write_note
from cgoom.cli.params import CPU_WEIGHT, NAME, PIDS_MAX, PRIORITY, SIZE, TIME
from cgoom.errors import CgoomError, InputError
from cgoom.kernel.cgroup import find_mount
from cgoom.model import NAME_LIMIT, PRIORITY_DEFAULT, parse_layout
from cgoom.place.placement import ExecError, LaunchRequest, Limits, become, run
from cgoom.place.request import STATUS_FAILED
from cgoom.record.text import escape_text


class LaunchCommand(click.Command):
    """A command whose own failures all end with STATUS_FAILED, so that any other status is CMD's."""

    def make_context(
        self, info_name: str | None, args: list[str], parent: click.Context | None = None, **extra: Any
    ) -> click.Context:
        """As click does it, with that status in the error."""
        try:
            return super().make_context(info_name, args, parent, **extra)
        except click.ClickException as error:
            error.exit_code = STATUS_FAILED  # type: ignore[misc]  # of this one error, not of its class
            raise
        except CgoomError as error:
            error.status = STATUS_FAILED
            raise

    def invoke(self, ctx: click.Context) -> Any:
        """As click does it, with that status in the error, unless it says why CMD cannot be executed."""
        try:
            return super().invoke(ctx)
        except ExecError:
            raise
        except CgoomError as error:
            error.status = STATUS_FAILED
            raise


@click.command(cls=LaunchCommand, context_settings={"allow_interspersed_args": False})
@click.option(
    "--priority", type=PRIORITY, default=PRIORITY_DEFAULT, show_default=True, help="0..1000; 1000 dies first."
)
@click.option("--name", type=NAME, help="Name of the workload [default: from CMD and pid].")
@click.option("--memory-max", type=SIZE, help="Hard limit of its memory, such as 2G.")
@click.option("--memory-low", type=SIZE, help="Memory that the kernel takes from others first.")
@click.option("--cpu-weight", type=CPU_WEIGHT, help="Share of the processors, 1..10000; the kernel's default is 100.")
@click.option("--pids-max", type=PIDS_MAX, help="Most processes and threads.")
@click.option("--protect", is_flag=True, help="Never a victim, whatever its priority.")
@click.option("--grace", type=TIME, help="Time between SIGTERM and kill, such as 5s; otherwise the policy's.")
@click.option("--exec", "replace", is_flag=True, help="Become CMD: no parent stays, no verdict is told.")
@click.argument("command", metavar="CMD...", nargs=-1, required=True, type=click.UNPROCESSED)
@click.pass_context
def launch(
    ctx: click.Context,
    priority: int,
    name: str | None,
    memory_max: int | None,
    memory_low: int | None,
    cpu_weight: int | None,
    pids_max: int | None,
    protect: bool,
    grace: int | None,
    replace: bool,
    command: tuple[str, ...],
) -> None:
    """Run CMD as a workload with a priority; the larger number dies first.

    Signals and the exit status pass through. Exit status: CMD's own; 128+N when signal N ended it; 137 when cgoom
    killed it, with the reason on stderr; 125 when cgoom failed before CMD, 126 when CMD cannot be executed, 127 when
    it is not found.
    """
    if memory_max is not None and memory_low is not None and memory_low > memory_max:
        raise InputError("--memory-low is above --memory-max", "protect at most what the workload may have")
    layout = parse_layout(os.environ)
    request = LaunchRequest(
        name or make_name(command[0], os.getpid()),
        command,
        priority,
        protect,
        grace,
        Limits(memory_max, memory_low, cpu_weight, pids_max),
    )
    mount = find_mount()
    if replace:
        become(request, layout, mount)
    ended = run(request, layout, mount)
    if ended.note:
        write_note(f"cgoom: {request.name}: {escape_text(ended.note)}")
    ctx.exit(ended.status)


def make_name(command: str, pid: int) -> str:
    """The name of a workload that was given none: `make-4711`."""
    base = re.sub(r"[^A-Za-z0-9._-]", "_", os.path.basename(command)).lstrip(".-") or "cmd"
    suffix = f"-{pid}"
    return base[: NAME_LIMIT - len(suffix)] + suffix

"""`cgoom`: the list of commands. A command's module is imported when it is used and not before.

A command ends with 0, with `click.Context.exit(status)`, or with an exception that `cgoom/cli/errors.py` explains.
"""

# ruff: noqa: PLC0415 - an import within a function is what this file is about

from __future__ import annotations

import difflib
import io
import sys
from collections.abc import Callable
from types import ModuleType
from typing import NamedTuple

import click

from cgoom import __version__
from cgoom.cli.errors import run
from cgoom.errors import InputError


def _launch() -> ModuleType:
    from cgoom.cli import launch

    return launch


def _daemon() -> ModuleType:
    from cgoom.cli import daemon

    return daemon


def _look() -> ModuleType:
    from cgoom.cli import look

    return look


def _change() -> ModuleType:
    from cgoom.cli import change

    return change


def _history() -> ModuleType:
    from cgoom.cli import history

    return history


def _policy() -> ModuleType:
    from cgoom.cli import policy

    return policy


def _module() -> ModuleType:
    from cgoom.cli import module

    return module


def _doctor() -> ModuleType:
    from cgoom.cli import doctor

    return doctor


def _demo() -> ModuleType:
    from cgoom.cli import demo

    return demo


class Entry(NamedTuple):
    """A command: what imports the module that defines it under its own name, and its line in the help."""

    load: Callable[[], ModuleType]
    summary: str


COMMANDS = {
    "launch": Entry(_launch, "Run a command as a workload with a priority."),
    "daemon": Entry(_daemon, "Watch the host; remove the least important workload when memory is short."),
    "ls": Entry(_look, "List the workloads; the first line dies first."),
    "status": Entry(_look, "How short the host is, and who dies next."),
    "explain": Entry(_look, "Who would die now, in what order, and why."),
    "priority": Entry(_change, "Change a workload's priority while it runs."),
    "kill": Entry(_change, "End a workload now, as a whole."),
    "history": Entry(_history, "Past decisions: who died, when and why."),
    "policy": Entry(_policy, "Check a policy file, show the policy in force."),
    "module": Entry(_module, "What the kernel module sees; its events as they come."),
    "doctor": Entry(_doctor, "What this host can and cannot do, and the remedies."),
    "demo": Entry(_demo, "Two workloads fill the memory; the less important one dies."),
}


class CommandGroup(click.Group):
    """The commands of COMMANDS, imported on use: `cgoom launch` never pays for what `cgoom status` needs."""

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002 - the signature is click's
        """The names in the order of the help."""
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002 - as above
        """The command object, its module imported now; None when there is no such command."""
        entry = COMMANDS.get(cmd_name)
        if entry is None:
            return None
        command = getattr(entry.load(), cmd_name)
        return command if isinstance(command, click.Command) else None

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """As click does it, but an unknown command is answered with the nearest one. Raises InputError."""
        name = args[0]
        if name not in COMMANDS and not name.startswith("-"):
            near = difflib.get_close_matches(name, COMMANDS, n=1)
            hint = f"did you mean `cgoom {near[0]}`?" if near else "`cgoom --help` lists the commands"
            raise InputError(f"no such command: {name}", hint)
        return super().resolve_command(ctx, args)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:  # noqa: ARG002
        """The list of commands for the help, from COMMANDS alone: the help imports no command."""
        with formatter.section("Commands"):
            formatter.write_dl([(name, entry.summary) for name, entry in COMMANDS.items()])


@click.group(
    cls=CommandGroup,
    no_args_is_help=False,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
)
@click.version_option(__version__, prog_name="cgoom", message="%(prog)s %(version)s")
def cgoom() -> None:
    """The least important workload dies first, as a whole, early enough that nothing else notices.

    A priority is a number from 0 to 1000, as with nice: the larger one is less important and dies first.
    """


def main(argv: list[str] | None = None) -> int:
    """Entry point: run the command line (`sys.argv` when None) and return the exit status. Raises nothing."""
    # A name that the terminal cannot show becomes \xNN in a table, never a UnicodeEncodeError.
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")
    return run(lambda: _invoke(sys.argv[1:] if argv is None else argv))


def _invoke(argv: list[str]) -> int:
    """Parse and run, without click's own standalone mode, which would print usage and choose exit statuses itself."""
    with cgoom.make_context("cgoom", list(argv)) as context:
        cgoom.invoke(context)
    return 0

"""`cgoom launch`: run a command as a workload. The click command, made of the table in `cgoom/cli/start.py`."""

from __future__ import annotations

from typing import Any

import click

from cgoom.cli.params import Checked
from cgoom.cli.start import OPTIONS, Option, Options, make_name, start
from cgoom.errors import CgoomError
from cgoom.place.request import STATUS_FAILED, ExecError

__all__ = ["launch", "make_name"]


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


def make_option(option: Option) -> click.Option:
    """click's form of one line of the table."""
    if option.parse is None:
        return click.Option([option.spelled, option.name], is_flag=True, help=option.help)
    return click.Option(
        [option.spelled, option.name],
        type=Checked(option.kind, option.parse),
        default=option.default,
        show_default=option.default is not None,
        help=option.help,
    )


def _invoke(**values: Any) -> None:
    click.get_current_context().exit(start(Options(**values)))


launch = LaunchCommand(
    "launch",
    callback=_invoke,
    params=[
        *map(make_option, OPTIONS),
        click.Argument(["command"], metavar="CMD...", nargs=-1, required=True, type=click.UNPROCESSED),
    ],
    context_settings={"allow_interspersed_args": False},
    help="""Run CMD as a workload with a priority; the larger number dies first.

    Signals and the exit status pass through. Exit status: CMD's own; 128+N when signal N ended it; 137 when cgoom
    killed it, with the reason on stderr; 125 when cgoom failed before CMD, 126 when CMD cannot be executed, 127 when
    it is not found.
    """,
)

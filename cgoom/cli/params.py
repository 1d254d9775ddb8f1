"""What the options of the commands take. A wrong value is an InputError that names the option."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import click

from cgoom.cli.values import parse_cpu_weight, parse_grace, parse_limit_bytes, parse_pids_max, parse_priority
from cgoom.errors import InputError


class Checked(click.ParamType):  # type: ignore[type-arg]  # generic only since click 8.4
    """A parameter type around `parse`, which raises InputError."""

    def __init__(self, name: str, parse: Callable[[str], int | str]) -> None:
        """`name` is what the help shows, in capitals."""
        self.name = name
        self._parse = parse

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int | str:  # noqa: ARG002
        """`value` parsed; a default that is parsed already as it is. Raises InputError."""
        if not isinstance(value, str):
            return value  # type: ignore[no-any-return]
        try:
            return self._parse(value)
        except InputError as error:
            option = param.opts[-1] if isinstance(param, click.Option) else ""
            raise InputError(f"{option}: {error.message}" if option else error.message, error.hint) from error


PRIORITY = Checked("n", parse_priority)
SIZE = Checked("size", parse_limit_bytes)
TIME = Checked("time", parse_grace)
CPU_WEIGHT = Checked("n", parse_cpu_weight)
PIDS_MAX = Checked("n", parse_pids_max)

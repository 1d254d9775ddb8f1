"""What the options of the commands take. A wrong value is an InputError that names the option."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import click

from cgoom.errors import InputError
from cgoom.model import PRIORITY_MOST, require_name, require_priority
from cgoom.units import parse_size, parse_time

# More digits than any number here has.
_COUNT = re.compile(r"[0-9]{1,9}", re.ASCII)


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


def parse_count(text: str, least: int, most: int) -> int:
    """A decimal number from `least` to `most`. Raises InputError."""
    value = int(text) if _COUNT.fullmatch(text) else -1
    if not least <= value <= most:
        raise InputError(f"not a number from {least} to {most}: {text!r}", "write it in decimal digits")
    return value


def _parse_priority(text: str) -> int:
    if not _COUNT.fullmatch(text):
        raise InputError(f"not a priority: {text!r}", f"0 is the most important, {PRIORITY_MOST} dies first")
    return require_priority(int(text))


def _parse_limit_bytes(text: str) -> int:
    size_bytes = parse_size(text)
    if size_bytes == 0:
        raise InputError("a limit of nothing", "write a size above 0, such as 512M, or leave the option out")
    return size_bytes


NAME = Checked("name", require_name)
PRIORITY = Checked("n", _parse_priority)
SIZE = Checked("size", _parse_limit_bytes)
TIME = Checked("time", parse_time)
# The range of cpu.weight, Documentation/admin-guide/cgroup-v2.rst.
CPU_WEIGHT = Checked("n", lambda text: parse_count(text, 1, 10_000))
# PID_MAX_LIMIT of a 64-bit kernel; pids.max takes no more.
PIDS_MAX = Checked("n", lambda text: parse_count(text, 1, 4_194_304))

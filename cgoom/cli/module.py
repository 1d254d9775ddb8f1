"""`cgoom module stats|watch`: what the kernel module sees and says. pyroute2 is the client, and only here."""

from __future__ import annotations

import errno
import logging
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import click

from cgoom.cli.errors import write_out
from cgoom.cli.render import pct, render_json, render_json_line, render_pairs
from cgoom.errors import HostError, KernelError
from cgoom.model import Level
from cgoom.units import render_size, render_time

_BYTES_PER_KIB = 1024
_NSEC_PER_USEC = 1000
_PPM_PER_PCT = 10_000


@click.group(no_args_is_help=False)
def module() -> None:
    """What the kernel module sees, and its events as they come."""


@module.command()
@click.option("--json", "as_json", is_flag=True, help="One JSON document.")
def stats(as_json: bool) -> None:
    """The module's look at the host, its thresholds, and what it has done since it was inserted."""
    with _open_family() as family:
        found = read_stats(family)
    write_out(render_json(found) if as_json else render_stats(found))


@module.command()
@click.option("--json", "as_json", is_flag=True, help="One JSON document a line.")
def watch(as_json: bool) -> None:
    """Print one line for each event of the module until interrupted."""
    with _open_family() as family:
        for name, found in read_events(family):
            write_out(render_json_line({"event": name, **found}) if as_json else render_event(name, found))


@contextmanager
def _open_family() -> Iterator[Any]:
    """A pyroute2 socket that is bound to the family. Raises HostError without the module, KernelError."""
    from pyroute2.netlink.exceptions import NetlinkError  # noqa: PLC0415 - a second that only these commands pay
    from pyroute2.netlink.generic import GenericNetlinkSocket  # noqa: PLC0415

    from cgoom.cli.module_message import FAMILY, ModuleMessage  # noqa: PLC0415

    logging.disable()  # pyroute2 logs what it raises, too
    try:
        family = GenericNetlinkSocket()
        try:
            family.bind(FAMILY, ModuleMessage)
            yield family
        finally:
            family.close()
    except NetlinkError as error:
        if error.code == errno.ENOENT:
            hint = "`modprobe memory_info`; `cgoom doctor` tells what it takes to have it"
            raise HostError("the kernel module memory_info is not loaded", hint) from error
        raise KernelError(f"memory_info: {error}") from error


def read_stats(family: Any) -> dict[str, Any]:
    """The answer to GET_STATS, by the kernel's names in lower case."""
    from pyroute2.netlink import NLM_F_REQUEST  # noqa: PLC0415

    from cgoom.cli.module_message import GET_STATS, VERSION, ModuleMessage, list_attributes  # noqa: PLC0415

    message = ModuleMessage()
    message["cmd"], message["version"] = GET_STATS, VERSION
    answers = family.nlm_request(message, msg_type=family.prid, msg_flags=NLM_F_REQUEST)
    return list_attributes(next(iter(answers)))


def read_events(family: Any) -> Iterator[tuple[str, dict[str, Any]]]:
    """(name, attributes) of each event as it comes; it never ends by itself."""
    from cgoom.cli.module_message import EVENTS, GROUP, list_attributes  # noqa: PLC0415

    family.add_membership(GROUP)
    while True:
        for message in family.get():
            yield EVENTS.get(message["cmd"], f"event-{message['cmd']}"), list_attributes(message)


def render_stats(found: dict[str, Any]) -> str:
    """The answer in a handful of lines."""
    pairs = [
        ("memory", f"{_part(found['available_kib'], found['total_kib'])} available, {_size(found['free_kib'])} free"),
        (
            "swap",
            f"{_part(found['swap_free_kib'], found['swap_total_kib'])} free" if found["swap_total_kib"] else "none",
        ),
        ("level", _level(found["level"])),
        *((f"{name} at", _threshold(found[name])) for name in ("warn", "kill", "recover")),
        ("fill rate", f"{_size(found['fill_kib_per_sec'])} a second"),
        ("armed", f"{found['armed']} cgroups"),
        ("kernel ooms", str(found["ooms"])),
        ("looks", f"{found['looks']} in {render_time(found['look_ns'] // _NSEC_PER_USEC)}"),
    ]
    kills = [("armed kill", _kill(kill)) for kill in found.get("kills", [])]
    return render_pairs([*pairs, *kills])


def render_event(name: str, found: dict[str, Any]) -> str:
    """`12.345678 #7 level ok -> kill: 45.2M of 963M (4.7%) available`."""
    seen = f"{_part(found['available_kib'], found['total_kib'])} available"
    what = {
        "level": lambda: f"level {_level(found['previous_level'])} -> {_level(found['level'])}",
        "oom": lambda: f"the kernel was about to kill, {found['ooms']} times so far",
        "armed-kill": lambda: f"armed kill of {_victim(found)}",
    }.get(name, lambda: name)()
    return f"{_seconds(found['time_ns'])} #{found['seq']} {what}: {seen}"


def _kill(found: dict[str, Any]) -> str:
    return f"{_seconds(found['time_ns'])} #{found['seq']} {_victim(found)}"


def _victim(found: dict[str, Any]) -> str:
    return f"cgroup {found['cgroup_id']}, {found['processes']} processes"


def _threshold(found: dict[str, int]) -> str:
    return f"MemAvailable {_amount(found, 'mem')}, SwapFree {_amount(found, 'swap')}"


def _amount(found: dict[str, int], name: str) -> str:
    if f"{name}_ppm" in found:
        return f"{found[f'{name}_ppm'] / _PPM_PER_PCT:g}%"
    return _size(found[f"{name}_kib"])


def _seconds(time_ns: int) -> str:
    return f"{time_ns / 1e9:.6f}"


def _level(number: int) -> str:
    return Level(number).name.lower() if number <= Level.KILL else str(number)


def _part(part_kib: int, total_kib: int) -> str:
    return f"{_size(part_kib)} of {_size(total_kib)} ({pct(part_kib, total_kib):.1f}%)"


def _size(kib: int) -> str:
    return render_size(kib * _BYTES_PER_KIB)

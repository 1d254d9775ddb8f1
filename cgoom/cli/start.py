"""`cgoom launch` without click: its options as a table, and the launch itself.

click alone takes longer to import than a launch takes. So a command line that is plain (every word known, every value
right) is read here; any other, help and errors included, by the click command that `cgoom/cli/launch.py` makes of the
same table. Where this reader is in doubt it says so and click decides: the two never read one line differently.
"""

from __future__ import annotations

import os

from cgoom.cli.values import parse_cpu_weight, parse_grace, parse_limit_bytes, parse_pids_max, parse_priority
from cgoom.errors import InputError
from cgoom.frozen import Frozen
from cgoom.kernel.cgroup import find_mount
from cgoom.names import NAME_CHARACTERS, NAME_LIMIT, PRIORITY_DEFAULT, parse_layout, require_name
from cgoom.place.placement import become, place
from cgoom.place.request import LaunchRequest, Limits

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence


class Option(Frozen):
    """One option: its spelling, the name of its value in `Options`, its help; `parse` None: a flag.

    `kind` is what the help shows for the value.
    """

    spelled: str
    name: str
    help: str
    kind: str = ""
    parse: Callable[[str], int | str] | None = None
    default: int | None = None


class Options(Frozen):
    """The values of a command line."""

    command: tuple[str, ...]
    priority: int = PRIORITY_DEFAULT
    name: str | None = None
    memory_max: int | None = None
    memory_low: int | None = None
    cpu_weight: int | None = None
    pids_max: int | None = None
    protect: bool = False
    grace: int | None = None
    replace: bool = False


OPTIONS = (
    Option("--priority", "priority", "0..1000; 1000 dies first.", "n", parse_priority, PRIORITY_DEFAULT),
    Option("--name", "name", "Name of the workload [default: from CMD and pid].", "name", require_name),
    Option("--memory-max", "memory_max", "Hard limit of its memory, such as 2G.", "size", parse_limit_bytes),
    Option(
        "--memory-low",
        "memory_low",
        "Memory that the kernel takes from others first, as far as cgoom.slice has as much.",
        "size",
        parse_limit_bytes,
    ),
    Option(
        "--cpu-weight",
        "cpu_weight",
        "Share of the processors, 1..10000; the kernel's default is 100.",
        "n",
        parse_cpu_weight,
    ),
    Option("--pids-max", "pids_max", "Most processes and threads.", "n", parse_pids_max),
    Option("--protect", "protect", "Never a victim, whatever its priority."),
    Option(
        "--grace",
        "grace",
        "Time between SIGTERM and kill, such as 5s; otherwise the policy's.",
        "time",
        parse_grace,
    ),
    Option("--exec", "replace", "Become CMD: no parent stays, no verdict is told."),
)


def run_plain(arguments: Sequence[str]) -> int | None:
    """Run `cgoom launch ARGUMENTS`: its exit status; None when the line is not plain and nothing was done."""
    options = read_plain(arguments)
    if options is None:
        return None
    try:
        return start(options)
    except (Exception, KeyboardInterrupt) as error:  # noqa: BLE001 - as in cgoom/cli/errors.py
        from cgoom.cli.say import STATUS_INTERRUPTED, end_launch  # noqa: PLC0415 - hardly ever needed

        return end_launch(error) if isinstance(error, Exception) else STATUS_INTERRUPTED


def read_plain(arguments: Sequence[str]) -> Options | None:
    """The options of a plain command line, or None."""
    table = {option.spelled: option for option in OPTIONS}
    values: dict[str, int | str] = {}
    words = list(arguments)
    while words and words[0].startswith("-"):
        word = words.pop(0)
        if word == "--":
            break
        spelled, equals, text = word.partition("=")
        option = table.get(spelled)
        if option is None or (option.parse is None and equals) or (option.parse and not equals and not words):
            return None
        if option.parse is None:
            values[option.name] = True
            continue
        try:
            values[option.name] = option.parse(text if equals else words.pop(0))
        except InputError:
            return None
    return Options(tuple(words), **values) if words else None  # type: ignore[arg-type]


def start(options: Options) -> int:
    """Run CMD as a workload: the exit status of the launch. Raises InputError, ExecError, and as `place` does."""
    low, most = options.memory_low, options.memory_max
    if most is not None and low is not None and low > most:
        raise InputError("--memory-low is above --memory-max", "protect at most what the workload may have")
    layout = parse_layout(os.environ)
    request = LaunchRequest(
        options.name or make_name(options.command[0], os.getpid()),
        options.command,
        options.priority,
        options.protect,
        options.grace,
        Limits(most, low, options.cpu_weight, options.pids_max),
    )
    mount = find_mount()
    if options.replace:
        become(request, layout, mount)
    placed = place(request, layout, mount)
    # Not loaded for --exec, and by the waiter anew.
    from cgoom.cli.wait import wait  # noqa: PLC0415
    from cgoom.place.waiter import become_waiter  # noqa: PLC0415

    become_waiter(placed, layout, mount)
    return wait(placed, layout, mount)


def make_name(command: str, pid: int) -> str:
    """The name of a workload that was given none: `make-4711`."""
    characters = (one if one in NAME_CHARACTERS else "_" for one in os.path.basename(command))
    base = "".join(characters).lstrip(".-") or "cmd"
    suffix = f"-{pid}"
    return base[: NAME_LIMIT - len(suffix)] + suffix

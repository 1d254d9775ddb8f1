"""The lab's command line.

Exit statuses: the command's own; 96 the lab failed (image, arguments); 97 the guest was lost (vanished, time limit);
98 the command succeeded but the guest's kernel complained.
"""

from __future__ import annotations

import argparse
import dataclasses
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import NoReturn

from labkit import runs
from labkit.base import CHECKOUT, DEFAULT_KERNEL, KERNELS, STATUS_LAB_ERROR, LabError, say
from labkit.guest import DEFAULT_CPUS, DEFAULT_MEMORY_MIB, Spec
from labkit.image import ensure_image
from labkit.wheel import build_wheel

# Seconds a command may take in the guest. Chosen: the longest test run we would wait for.
DEFAULT_TIMEOUT_SECONDS = 900.0
# Seconds for what a person ends: a shell, a demo. Chosen: a day.
INTERACTIVE_SECONDS = 86400.0


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        """Raise, so that bad arguments have the lab's exit status and its way of saying so."""
        raise LabError(message, f"{self.prog} --help")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the lab; return the exit status."""
    try:
        return _dispatch(list(sys.argv[1:] if arguments is None else arguments))
    except LabError as error:
        say(f"error: {error}")
        if error.hint:
            say(f"hint: {error.hint}")
        return error.status
    except OSError as error:
        say(f"error: {error}")
        return STATUS_LAB_ERROR
    except KeyboardInterrupt:
        return 130


def _dispatch(arguments: list[str]) -> int:
    # What follows the first "--" belongs to the guest's command and is never looked at.
    cut = arguments.index("--") if "--" in arguments else len(arguments)
    options, unknown = _parser().parse_known_args(arguments[:cut])
    rest = arguments[cut + 1 :]
    if unknown and options.command != "test":
        raise LabError(f"unknown arguments: {' '.join(unknown)}", "put -- before the guest's command")
    if options.command in ("run", "exec"):
        if not rest:
            raise LabError("there is no command to run", f"vagrant/lab {options.command} [OPTIONS] -- CMD")
    elif options.command != "test" and rest:
        raise LabError(f"{options.command} takes no command")
    if options.command == "test":
        rest = unknown + rest
    commands = {"build": _build, "run": _run, "test": _test, "demo": _demo, "shell": _shell}
    commands |= {"up": _up, "exec": _exec, "down": _down}
    return commands[options.command](options, rest)


def _parser() -> argparse.ArgumentParser:
    parser = _Parser(prog="vagrant/lab", description="Run things on a real kernel, in a guest.", epilog=__doc__)
    commands = parser.add_subparsers(dest="command", required=True, parser_class=_Parser)
    guest = _Parser(add_help=False)
    guest.add_argument("--kernel", choices=KERNELS, default=DEFAULT_KERNEL)
    guest.add_argument("--swap", type=_natural, default=0, metavar="MIB", help="swap disk of the guest (none)")
    guest.add_argument("--memory", type=_positive, default=DEFAULT_MEMORY_MIB, metavar="MIB")
    guest.add_argument("--cpus", type=_positive, default=DEFAULT_CPUS, metavar="N")
    guest.add_argument("--out", type=_directory, metavar="DIR", help="share DIR read-write at /out")
    guest.add_argument(
        "--steady",
        action="store_true",
        help="for measuring: each processor of the guest has one of the host's; with `run` the kernel's log comes with "
        "what the command writes",
    )
    guest.add_argument(
        "--module",
        nargs="?",
        type=runs.Module,
        const=runs.Module.INSERTED,
        default=runs.Module.ABSENT,
        metavar="STATE",
        help="insert the kernel module of the checkout first; with `present` it only lies at /wheel",
    )
    wheel = _Parser(add_help=False)
    wheel.add_argument("--wheel", type=_wheel, metavar="PATH", help="install this wheel in the guest first")
    job = _Parser(add_help=False)
    job.add_argument("--timeout", type=_seconds, default=DEFAULT_TIMEOUT_SECONDS, metavar="S")
    job.add_argument("--tty", action="store_true", help="give the command a terminal")

    build = commands.add_parser("build", help="make the guest image")
    build.add_argument("--kernel", choices=(*KERNELS, "all"), default="all", help="every image has all of them")
    commands.add_parser("run", parents=[guest, wheel, job], help="run a command in a fresh guest")
    commands.add_parser("test", parents=[guest, wheel, job], help="run the tests marked vm in a fresh guest")
    commands.add_parser("demo", parents=[guest, wheel], help="run cgoom demo in a fresh guest, with the module")
    commands.add_parser("shell", parents=[guest, wheel], help="a root shell in a fresh guest")
    commands.add_parser("up", parents=[guest, wheel], help="start a guest in the background")
    commands.add_parser("exec", parents=[wheel, job], help="run a command in the guest in the background")
    commands.add_parser("down", help="end the guest in the background")
    return parser


def _build(_options: argparse.Namespace, _rest: list[str]) -> int:
    print(ensure_image().directory)
    return 0


def _run(options: argparse.Namespace, rest: list[str]) -> int:
    task = runs.Task(rest, options.timeout, options.wheel, options.tty, options.module)
    return runs.run_fresh(_spec(options), task)


def _test(options: argparse.Namespace, rest: list[str]) -> int:
    named = any((CHECKOUT / argument.partition("::")[0]).exists() for argument in rest if argument[:1] not in ("", "-"))
    argv = ["python3", "-m", "pytest", "-m", "vm", "-p", "no:cacheprovider", *([] if named else ["tests/vm"]), *rest]
    # Tests that insert it themselves find it, too.
    module = runs.Module.PRESENT if options.module is runs.Module.ABSENT else options.module
    return _with_wheel(options, runs.Task(argv, options.timeout, tty=options.tty, module=module))


def _demo(options: argparse.Namespace, _rest: list[str]) -> int:
    # With the module, whose lines in the kernel's log belong to what is shown.
    task = runs.Task(["cgoom", "demo"], INTERACTIVE_SECONDS, tty=sys.stdout.isatty(), module=runs.Module.INSERTED)
    return _with_wheel(options, task)


def _with_wheel(options: argparse.Namespace, task: runs.Task) -> int:
    with tempfile.TemporaryDirectory(prefix="cgoom-lab-wheel-") as scratch:
        wheel = options.wheel or build_wheel(Path(scratch))
        return runs.run_fresh(_spec(options), dataclasses.replace(task, wheel=wheel))


def _shell(options: argparse.Namespace, _rest: list[str]) -> int:
    task = runs.Task(["bash", "-l"], INTERACTIVE_SECONDS, options.wheel, tty=True, module=options.module)
    return runs.run_fresh(_spec(options), task)


def _up(options: argparse.Namespace, _rest: list[str]) -> int:
    return runs.up(_spec(options), options.wheel, options.module)


def _exec(options: argparse.Namespace, rest: list[str]) -> int:
    return runs.execute(runs.Task(rest, options.timeout, options.wheel, options.tty))


def _down(_options: argparse.Namespace, _rest: list[str]) -> int:
    return runs.down()


def _spec(options: argparse.Namespace) -> Spec:
    return Spec(options.kernel, options.memory, options.cpus, options.swap, options.out, options.steady)


def _natural(text: str) -> int:
    value = int(text)
    if value < 0:
        raise ValueError
    return value


def _positive(text: str) -> int:
    value = int(text)
    if value < 1:
        raise ValueError
    return value


def _seconds(text: str) -> float:
    value = float(text)
    if not 0 < value < float("inf"):
        raise ValueError
    return value


def _directory(text: str) -> Path:
    path = Path(text).absolute()
    path.mkdir(parents=True, exist_ok=True)
    return path


def _wheel(text: str) -> Path:
    path = Path(text).absolute()
    if path.suffix != ".whl" or not path.is_file():
        raise argparse.ArgumentTypeError(f"{text} is not a wheel")
    return path

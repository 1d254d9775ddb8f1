"""What the lab's commands do: a fresh guest for one job, or the guest in the background for many."""

from __future__ import annotations

import contextlib
import enum
import json
import os
import shutil
import signal
import sys
import termios
import tty
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from labkit import wire
from labkit.base import (
    STATUS_KERNEL_COMPLAINED,
    Deadline,
    GuestLostError,
    LabError,
    cache_dir,
    say,
)
from labkit.guest import BOOT_SECONDS, Guest, Spec, connect_to, last_words
from labkit.image import Image, ensure_image
from labkit.kvm import accelerator
from labkit.module import NAME as MODULE
from labkit.module import ensure_module
from labkit.session import Session, login_environment
from labkit.steady import hold_steady

# Seconds for one job of the set-up (installing a wheel). Chosen: measured 2 - 4 under TCG.
_HELPER_SECONDS = 120.0
# Boots of a guest that dies before it says hello; chosen. Two of some hundred kernels 6.12 died in an emulated
# processor that ran the breakpoint of a static key (`Oops: int3`) after the key was patched.
_BOOTS = 3
# The guest's wheel replaces the one before it; the installer itself never overwrites.
_UNINSTALL = "rm -rf /usr/local/lib/python3*/dist-packages/cgoom* /usr/local/bin/cgoom*"


class Module(enum.Enum):
    """What a guest has of the kernel module before its command runs: nothing, /wheel/memory_info.ko, or it runs."""

    ABSENT = "absent"
    PRESENT = "present"
    INSERTED = "inserted"


@dataclass(frozen=True)
class Task:
    """One command for a guest, and how to run it."""

    argv: list[str]
    timeout_seconds: float
    wheel: Path | None = None
    tty: bool = False
    module: Module = Module.ABSENT


def run_fresh(spec: Spec, task: Task) -> int:
    """Boot a guest, run the task in it, end it; return the lab's exit status."""
    image = ensure_image()
    with _booted(image, spec) as (guest, session, _):
        try:
            if task.wheel is not None:
                _install(session, task.wheel, guest.wheel_dir)
            _provide_module(session, image, guest, task.module)
            return _verdict(_run_task(session, task, log_waits=spec.steady), session)
        except GuestLostError:
            last_words(guest.run_dir, guest.console)
            raise
        finally:
            guest.kill()


def up(spec: Spec, wheel: Path | None, module: Module) -> int:
    """Start the guest in the background."""
    state = _state_file()
    if _Background.find() is not None:
        raise LabError("a guest is already up", "vagrant/lab exec -- CMD uses it, vagrant/lab down ends it")
    image = ensure_image()
    with _booted(image, spec, background=True) as (guest, session, release):
        try:
            _check(session.run(_job(["true"]), Deadline(_HELPER_SECONDS), quiet=True), "the first command")
            if wheel is not None:
                _install(session, wheel, guest.wheel_dir)
            _provide_module(session, image, guest, module)
            status = _verdict(0, session)
            _Background.save(guest)
        except BaseException:
            guest.kill()
            state.unlink(missing_ok=True)
            raise
    say(f"kernel {release} is up, pid {guest.process.pid}")
    return status


def execute(task: Task) -> int:
    """Run a task in the guest in the background; return the lab's exit status."""
    background = _Background.load()
    session = Session(connect_to(background.socket), background.console.with_suffix(".dmesg"))
    try:
        session.hello({}, Deadline(task.timeout_seconds))
        if task.wheel is not None:
            _check(session.run(_job(["sh", "-c", _UNINSTALL]), Deadline(_HELPER_SECONDS), quiet=True), "uninstalling")
            _install(session, task.wheel, background.wheel_dir)
        return _verdict(_run_task(session, task), session)
    except GuestLostError:
        last_words(background.wheel_dir.parent, background.console)
        raise
    finally:
        session.close()


def down() -> int:
    """End the guest in the background."""
    background = _Background.load()
    with contextlib.suppress(ProcessLookupError):
        os.kill(background.pid, signal.SIGKILL)
    shutil.rmtree(background.socket.parent, ignore_errors=True)
    shutil.rmtree(background.wheel_dir.parent, ignore_errors=True)
    _state_file().unlink(missing_ok=True)
    say(f"the guest (pid {background.pid}) is down")
    return 0


@contextlib.contextmanager
def _booted(image: Image, spec: Spec, *, background: bool = False) -> Iterator[tuple[Guest, Session, str]]:
    """A guest whose agent has said hello, the talk with it, and its kernel's release; it lives on afterwards.

    One that dies before that is booted again: nothing has run in it yet.
    """
    for left in reversed(range(_BOOTS)):
        guest = Guest(image, spec, accelerator(image), background=background)
        say(f"kernel {spec.kernel}, console log {guest.console}")
        session = None
        try:
            boot = Deadline(BOOT_SECONDS, "boot")
            session = Session(guest.connect(boot), guest.console.with_suffix(".dmesg"))
            release = session.hello(guest.setup(), boot)
            if spec.steady:
                hold_steady(guest.process.pid)
        except BaseException as error:
            if isinstance(error, GuestLostError):
                last_words(guest.run_dir, guest.console)
            if session is not None:
                session.close()
            guest.kill()
            if not left or not isinstance(error, GuestLostError):
                raise
            say(f"{error}; it is booted again")
            continue
        try:
            yield guest, session, release
        finally:
            session.close()
        return


def _job(argv: list[str], cwd: str = "/") -> wire.Job:
    return wire.Job(argv, cwd, login_environment())


def _run_task(session: Session, task: Task, *, log_waits: bool = False) -> int:
    columns, lines = shutil.get_terminal_size()
    environment = login_environment(COLUMNS=str(columns), LINES=str(lines))
    job = wire.Job(task.argv, "/work/cgoom", environment, (lines, columns) if task.tty else None, log_waits)
    with _raw_terminal() if task.tty else contextlib.nullcontext():
        status, _ = session.run(job, Deadline(task.timeout_seconds))
    return status


def _verdict(status: int, session: Session) -> int:
    """Return the command's status, unless it is 0 and the kernel complained."""
    if session.complaints.lines:
        say(f"the kernel complained {len(session.complaints.lines)} time(s); the command's status was {status}")
        return status or STATUS_KERNEL_COMPLAINED
    return status


def _install(session: Session, wheel: Path, wheel_dir: Path) -> None:
    for old in wheel_dir.glob("*.whl"):
        old.unlink()
    shutil.copyfile(wheel, wheel_dir / wheel.name)
    argv = ["python3", "-m", "installer", "--no-compile-bytecode", f"/wheel/{wheel.name}"]
    _check(session.run(_job(argv), Deadline(_HELPER_SECONDS), quiet=True), f"installing {wheel.name}")


def _provide_module(session: Session, image: Image, guest: Guest, module: Module) -> None:
    if module is Module.ABSENT:
        return

    shutil.copyfile(ensure_module(image, guest.spec.kernel), guest.wheel_dir / MODULE)
    if module is Module.INSERTED:
        job = _job(["insmod", f"/wheel/{MODULE}"])
        _check(session.run(job, Deadline(_HELPER_SECONDS), quiet=True), "inserting the module")


def _check(result: tuple[int, bytes], what: str) -> None:
    status, output = result
    if status != 0:
        raise LabError(f"{what} failed with status {status}: {output.decode(errors='replace').strip()}")


@contextlib.contextmanager
def _raw_terminal() -> Iterator[None]:
    """Pass every key to the guest's terminal while the command runs."""
    if not sys.stdin.isatty():
        yield
        return
    fd = sys.stdin.fileno()
    before = termios.tcgetattr(fd)
    try:
        tty.setraw(fd)
        yield
    finally:
        termios.tcsetattr(fd, termios.TCSADRAIN, before)


def _state_file() -> Path:
    return cache_dir() / "up.json"


def _start_time(pid: int) -> str:
    """Return field 22 of /proc/PID/stat, which with the pid identifies a process; empty when there is none."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace")
    except (FileNotFoundError, ProcessLookupError):
        return ""
    fields = stat.rpartition(")")[2].split()
    return "" if fields[0] == "Z" else fields[19]


@dataclass(frozen=True)
class _Background:
    """The guest that `up` left running."""

    pid: int
    socket: Path
    console: Path
    wheel_dir: Path

    @staticmethod
    def save(guest: Guest) -> None:
        fields = {"pid": guest.process.pid, "start": _start_time(guest.process.pid), "socket": str(guest.socket_path)}
        fields |= {"console": str(guest.console), "wheel_dir": str(guest.wheel_dir)}
        _state_file().write_text(json.dumps(fields) + "\n", encoding="utf-8")

    @classmethod
    def find(cls) -> _Background | None:
        """Return the guest that is up, None when there is none or none any more."""
        try:
            fields = json.loads(_state_file().read_text(encoding="utf-8"))
        except FileNotFoundError:
            return None
        if fields["start"] != _start_time(fields["pid"]):
            return None
        return cls(fields["pid"], Path(fields["socket"]), Path(fields["console"]), Path(fields["wheel_dir"]))

    @classmethod
    def load(cls) -> _Background:
        """Return the guest that is up; raises when there is none."""
        background = cls.find()
        if background is None:
            raise LabError("no guest is up", "vagrant/lab up starts one")
        return background

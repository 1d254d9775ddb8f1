"""The parent of a launch: it becomes small, and on the way there nothing is lost."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

import cgoom
from cgoom.kernel.cgroup import open_cgroup
from cgoom.kernel.identity import write_verdict
from cgoom.kernel.proc import read_stat
from tests.support.cli import environment
from tests.support.scene import Scene
from tests.support.wait import wait_until
from tests.support.waiter import PRIVATE_MOST_BYTES, is_waiting, read_private_bytes

pytestmark = pytest.mark.live

LIMIT = 60.0  # seconds; a slow guest needs 4 s to start Python
# `cgoom` with another idea of what Python is.
PROGRAM = "import sys; sys.executable = sys.argv.pop(1); from cgoom.__main__ import main; sys.exit(main())"


def start(scene: Scene, python: str | Path, *arguments: str) -> subprocess.Popen[str]:
    """`cgoom launch --name=a ARGUMENTS`, whose waiter is executed by `python`."""
    return subprocess.Popen(
        [sys.executable, "-P", "-c", PROGRAM, str(python), "launch", "--name=a", "--", *arguments],
        env=environment(scene.env),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


@pytest.fixture
def gate(scene: Scene) -> tuple[Path, Callable[[], None]]:
    """A Python that starts when the second of the two is called."""
    fifo, script = scene.directory / "gate", scene.directory / "python"
    os.mkfifo(fifo)
    script.write_text(f'#!/bin/sh\nread -r _ < {fifo}\nexec {sys.executable} "$@"\n', encoding="ascii")
    script.chmod(0o755)

    def open_gate() -> None:
        fifo.write_text("\n", encoding="ascii")

    return script, open_gate


def test_the_waiting_parent_is_small(scene: Scene) -> None:
    scene.env["PYTHONDONTWRITEBYTECODE"] = ""
    assert scene.run("launch", "--", "true").returncode == 0, "which leaves compiled modules, as pip does"
    launcher = scene.launch("a", 5, "sleep", "60")
    wait_until(lambda: is_waiting(launcher.pid), LIMIT, "the parent to wait")
    assert read_private_bytes(launcher.pid) < PRIVATE_MOST_BYTES
    launcher.send_signal(signal.SIGTERM)
    assert launcher.wait(LIMIT) == 143


def test_a_signal_while_the_waiter_starts_reaches_the_command(
    scene: Scene, gate: tuple[Path, Callable[[], None]]
) -> None:
    python, open_gate = gate
    launcher = start(scene, python, "sh", "-c", "trap 'exit 33' TERM; echo ready; while :; do sleep 0.05; done")
    assert launcher.stdout is not None
    assert launcher.stdout.readline() == "ready\n"
    comm = Path(f"/proc/{launcher.pid}/comm")
    wait_until(lambda: comm.read_text(encoding="ascii") == "python\n", LIMIT, "the launcher to be replaced")
    launcher.send_signal(signal.SIGTERM)
    open_gate()
    assert launcher.wait(LIMIT) == 33
    launcher.communicate()


@pytest.mark.parametrize("script", ["exit 7", "kill -KILL $$"])
def test_an_end_while_the_waiter_starts_is_told(
    scene: Scene, gate: tuple[Path, Callable[[], None]], script: str
) -> None:
    python, open_gate = gate
    launcher = start(scene, python, "sh", "-c", script)
    wait_until(lambda: scene.cgroup("a").exists() and not scene.is_populated("a"), LIMIT, "the command to end")
    with open_cgroup(str(scene.cgroup("a"))) as cgroup:
        write_verdict(cgroup.fd, "killed by cgoom: a test")
    open_gate()
    assert launcher.communicate(timeout=LIMIT)[1] == "cgoom: a: killed by cgoom: a test\n"
    assert launcher.returncode == (7 if script == "exit 7" else 137)
    assert not scene.cgroup("a").exists()


@pytest.mark.parametrize("python", ["", "/nonexistent/python", "/etc/hostname"])
def test_without_a_waiter_the_launcher_waits_itself(scene: Scene, python: str) -> None:
    launcher = start(scene, python, "sh", "-c", "ls /proc/$PPID/fd | wc -l; exit 7")
    assert launcher.wait(LIMIT) == 7
    said, stderr = launcher.communicate()
    assert stderr == ""
    assert int(said) < 12, "descriptors that were to be handed over are left"
    assert not scene.cgroup("a").exists()


def test_what_python_is_told_stops_at_the_launcher_and_reaches_the_command(scene: Scene) -> None:
    odd = scene.directory / "odd"
    odd.mkdir()
    (odd / "sitecustomize.py").write_text(
        f"with open({str(odd / 'started')!r}, 'a') as file: file.write('started\\n')", encoding="ascii"
    )
    told = {"PYTHONPATH": str(odd), "PYTHONUTF8": "0", "PYTHONDONTWRITEBYTECODE": "1", "PYTHONWARNINGS": "error"}
    scene.env |= told
    script = "; ".join(f'printf "%s\\n" "${name}"' for name in told)
    ended = scene.run("launch", "--name=a", "--", "sh", "-c", f"{script}; exit 7")
    assert (ended.returncode, ended.stderr) == (7, "")
    assert ended.stdout.splitlines() == list(told.values())
    assert (odd / "started").read_text(encoding="ascii") == "started\n", "the launcher alone reads it"


@pytest.fixture
def package(scene: Scene) -> Path:
    """A copy of the package, which the launches of the scene load."""
    package = scene.directory / "site" / "cgoom"
    shutil.copytree(Path(cgoom.__file__).parent, package, ignore=shutil.ignore_patterns("__pycache__"))
    scene.env["PYTHONPATH"] = str(package.parent)
    return package


def test_another_cgoom_may_be_installed_while_the_command_runs(scene: Scene, package: Path) -> None:
    launcher = scene.launch("a", 5, "sh", "-c", "trap 'exit 7' TERM; echo ready; while :; do sleep 0.05; done")
    wait_until(lambda: is_waiting(launcher.pid) and scene.stdout("a") == "ready\n", LIMIT, "the parent to wait")
    assert str(package.parent).encode() in Path(f"/proc/{launcher.pid}/cmdline").read_bytes()
    shutil.rmtree(package)
    os.kill(launcher.pid, signal.SIGTERM)
    assert launcher.wait(LIMIT) == 7
    assert scene.stderr("a") == ""
    del scene.env["PYTHONPATH"]
    assert scene.run("launch", "--name=a", "--", "true").returncode == 0, "the next launch removes what is left"
    assert not scene.cgroup("a").exists()


@pytest.mark.parametrize("part", ["kernel/memory_info.py", "kernel/libc.py", ""], ids=["module", "libc", "all"])
def test_a_kill_is_told_by_the_status_whatever_is_installed_meanwhile(scene: Scene, package: Path, part: str) -> None:
    launcher = scene.launch("a", 5, "sleep", "60")
    wait_until(lambda: is_waiting(launcher.pid), LIMIT, "the parent to wait")
    removed = package / part
    if removed.is_dir():
        shutil.rmtree(removed)
    else:
        removed.write_text("", encoding="ascii")
    os.kill(int((scene.cgroup("a") / "cgroup.procs").read_text(encoding="ascii")), signal.SIGKILL)
    assert launcher.wait(LIMIT) == 137
    assert "error" not in scene.stderr("a")


def test_the_waiter_holds_nothing_but_what_it_needs(scene: Scene) -> None:
    launcher = scene.launch("a", 5, "sleep", "60")
    wait_until(lambda: is_waiting(launcher.pid), LIMIT, "the parent to wait")
    held = sorted(os.readlink(f"/proc/{launcher.pid}/fd/{fd}") for fd in os.listdir(f"/proc/{launcher.pid}/fd"))
    own = [path for path in held if not path.startswith(str(scene.directory)) and path != "/dev/null"]
    assert [path.partition(":")[0] for path in own] == [str(scene.cgroup("a")), "anon_inode", "pipe"]
    assert read_stat(launcher.pid).comm == "cgoom"
    launcher.send_signal(signal.SIGTERM)
    assert launcher.wait(LIMIT) == 143

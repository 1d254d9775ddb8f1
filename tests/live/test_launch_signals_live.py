"""`cgoom launch` between a shell, a terminal and its command: signals, job control, hang-ups."""

from __future__ import annotations

import os
import pty
import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager, suppress

import pytest

from cgoom.kernel.cgroup import open_cgroup
from cgoom.kernel.proc import read_stat
from tests.support.cli import COMMAND, environment
from tests.support.scene import Scene
from tests.support.wait import wait_until

pytestmark = pytest.mark.live

# Seconds; a slow guest needs 4 s to start Python.
LIMIT = 30.0


class Terminal:
    """A pseudo terminal with a session on it; what it prints is kept in `seen`."""

    def __init__(self, env: dict[str, str], *command: str) -> None:
        self.pid, self.fd = pty.fork()
        if self.pid == 0:
            os.execvpe(command[0], command, env)
        os.set_blocking(self.fd, False)
        self.seen = ""

    def expect(self, text: str) -> None:
        """Wait for `text`, and forget what was printed up to it."""
        wait_until(lambda: text in self._read(), LIMIT, f"{text!r} on the terminal")
        self.seen = self.seen.partition(text)[2]

    def _read(self) -> str:
        with suppress(OSError):  # nothing there, or the session has ended
            while piece := os.read(self.fd, 4096):
                self.seen += piece.decode(errors="replace")
        return self.seen

    def type(self, text: str) -> None:
        """As if on the keyboard."""
        os.write(self.fd, text.encode())

    def wait(self) -> int:
        """The exit status of the session's leader."""
        wait_until(lambda: os.waitid(os.P_PID, self.pid, os.WEXITED | os.WNOWAIT | os.WNOHANG), LIMIT, "the end")
        return os.waitstatus_to_exitcode(os.waitpid(self.pid, 0)[1])

    def close(self) -> None:
        """Hang up."""
        if self.fd >= 0:
            os.close(self.fd)
            self.fd = -1


@contextmanager
def terminal(scene: Scene, *command: str) -> Iterator[Terminal]:
    """`command` as the leader of a session on a terminal of its own; a cgroup kill and a SIGKILL end what is left."""
    opened = Terminal(environment(scene.env), *command)
    try:
        yield opened
    finally:
        opened.close()
        with suppress(ProcessLookupError, ChildProcessError):
            os.kill(opened.pid, signal.SIGKILL)
            os.waitpid(opened.pid, 0)


def state_of(pid: int) -> str:
    """The letter of the process's state."""
    return read_stat(pid).state


def workload_pid(scene: Scene, name: str) -> int:
    """The first process of a workload."""
    with open_cgroup(str(scene.cgroup(name))) as cgroup:
        return min(cgroup.read_procs())


def start(scene: Scene, script: str) -> subprocess.Popen[str]:
    """A launch of the shell script as workload `a`, which has printed `ready`."""
    launcher = subprocess.Popen(
        [*COMMAND, "launch", "--name=a", "--", "sh", "-c", script],
        env=environment(scene.env),
        stdout=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    assert launcher.stdout is not None
    assert launcher.stdout.readline() == "ready\n"
    return launcher


# An interactive shell has job control; line editing would put escape sequences into what it prints.
SHELL = ("bash", "--norc", "--noprofile", "--noediting", "-i")
LOOP = "echo ready; while :; do sleep 0.05; done"


@pytest.mark.parametrize("name", ["HUP", "INT", "QUIT", "TERM", "USR1", "USR2"])
def test_a_signal_to_the_launcher_reaches_the_command(scene: Scene, name: str) -> None:
    launcher = start(scene, f"trap 'exit 33' {name}; {LOOP}")
    launcher.send_signal(getattr(signal, f"SIG{name}"))
    assert launcher.wait(LIMIT) == 33


def test_what_the_command_sends_to_its_group_comes_once(scene: Scene) -> None:
    # Were SIGTERM passed back, it would be so before the SIGCONT that ends the command.
    launcher = start(scene, f"trap 'echo term' TERM; trap 'exit 0' CONT; {LOOP.replace(';', '; kill 0;', 1)}")
    assert launcher.stdout is not None
    assert launcher.stdout.readline() == "term\n"
    launcher.send_signal(signal.SIGCONT)
    assert launcher.communicate(timeout=LIMIT)[0] == ""


def test_ctrl_c_reaches_the_command_and_the_launcher_tells_its_status(scene: Scene) -> None:
    with terminal(scene, *COMMAND, "launch", "--name=a", "--", "sh", "-c", f"trap 'exit 5' INT; {LOOP}") as console:
        console.expect("ready")
        console.type("\x03")
        assert console.wait() == 5


def test_ctrl_backslash_ends_a_command_that_does_not_catch_it(scene: Scene) -> None:
    with terminal(scene, *COMMAND, "launch", "--name=a", "--", "sh", "-c", f"ulimit -c 0; {LOOP}") as console:
        console.expect("ready")
        console.type("\x1c")
        assert console.wait() == 131


def test_a_hang_up_reaches_the_command_of_a_session_leader(scene: Scene) -> None:
    with terminal(scene, *COMMAND, "launch", "--name=a", "--", "sh", "-c", f"trap 'exit 6' HUP; {LOOP}") as console:
        console.expect("ready")
        console.close()
        assert console.wait() == 6


def launched_by_shell(scene: Scene, console: Terminal, script: str) -> tuple[int, int]:
    """Type a launch of `script` into the shell: (the launcher's pid, the command's pid), once it printed `ready`."""
    console.type(f"{' '.join(COMMAND)} launch --name=a -- sh -c '{script}'; echo status=$?\n")
    console.expect("ready\r\n")  # what was typed has more behind the word
    command = workload_pid(scene, "a")
    return read_stat(command).ppid, command


def test_ctrl_z_stops_both_and_fg_resumes_both(scene: Scene) -> None:
    with terminal(scene, *SHELL) as console:
        launcher, command = launched_by_shell(scene, console, "echo ready; read line; echo got $line; exit 9")
        console.type("\x1a")
        console.expect("Stopped")
        assert (state_of(launcher), state_of(command)) == ("T", "T")
        console.type("fg\n")
        wait_until(lambda: "T" not in state_of(launcher) + state_of(command), LIMIT, "both to go on")
        console.type("hello\n")
        console.expect("got hello")
        wait_until(lambda: not scene.is_populated("a"), LIMIT, "the command to end")
        console.type("exit 3\n")
        assert console.wait() == 3


def test_a_continue_of_the_launcher_alone_resumes_the_command(scene: Scene) -> None:
    with terminal(scene, *SHELL) as console:
        launcher, command = launched_by_shell(scene, console, LOOP)
        os.kill(command, signal.SIGSTOP)
        console.expect("Stopped")
        assert (state_of(launcher), state_of(command)) == ("T", "T")
        os.kill(launcher, signal.SIGCONT)
        wait_until(lambda: "T" not in state_of(launcher) + state_of(command), LIMIT, "both to go on")


def test_a_command_that_ignores_ctrl_z_keeps_the_terminal(scene: Scene) -> None:
    with terminal(scene, *SHELL) as console:
        script = 'trap "" TSTP; echo ready; read line; echo got $line'
        launched_by_shell(scene, console, script)
        console.type("\x1ahello\n")
        console.expect("got hello")
        console.expect("status=0")


def test_a_stop_without_a_shell_does_not_stop_the_launcher(scene: Scene) -> None:
    launcher = start(scene, LOOP)
    command = workload_pid(scene, "a")
    os.kill(command, signal.SIGSTOP)
    wait_until(lambda: state_of(command) == "T", LIMIT, "the command to stop")
    os.kill(command, signal.SIGCONT)
    os.kill(command, signal.SIGTERM)
    assert launcher.wait(LIMIT) == 143

"""What cgoom says to systemd, over a real bus, with a stand-in for systemd behind it; the cgroups are real."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from cgoom.errors import CgoomError, ConflictError, HostError, KernelError, NotPermittedError
from cgoom.kernel.cgroup import Mount, find_mount
from cgoom.kernel.identity import Identity, read_identity
from cgoom.model import Layout, parse_layout
from cgoom.place import systemd
from cgoom.place.request import LaunchRequest, Limits, Placed
from cgoom.place.signals import hold_signals
from cgoom.place.supervise import Ended, supervise
from tests.support.scene import Scene
from tests.support.wait import wait_until

pytestmark = pytest.mark.live

CONFIG = """<!DOCTYPE busconfig PUBLIC "-//freedesktop//DTD D-Bus Bus Configuration 1.0//EN"
 "http://www.freedesktop.org/standards/dbus/1.0/busconfig.dtd">
<busconfig><type>system</type><listen>unix:path={path}</listen><policy context="default">
<allow user="*"/><allow own="*"/><allow send_destination="*" eavesdrop="true"/><allow eavesdrop="true"/>
</policy></busconfig>
"""


class Stand:
    """A bus with the stand-in on it, and the layout to launch in."""

    def __init__(self, scene: Scene, bus: Path, fake: subprocess.Popen[str]) -> None:
        self.mount: Mount = find_mount()
        self.layout: Layout = parse_layout(scene.env)
        self.scope: Path = scene.slice / "cgoom-a.scope"
        self._bus, self._fake = bus, fake

    def line(self) -> str:
        """The next line that the stand-in prints."""
        assert self._fake.stdout is not None
        return self._fake.stdout.readline()

    def start(self, *argv: str, limits: Limits = Limits()) -> Placed:  # noqa: B008 - frozen
        """Launch workload `a`."""
        request = LaunchRequest("a", argv, 40, grace_usec=3_000_000, limits=limits)
        connection = socket.socket(socket.AF_UNIX)
        connection.connect(str(self._bus))
        return systemd.start_systemd(request, self.layout, self.mount, hold_signals(), connection)


@pytest.fixture
def stand(scene: Scene) -> Iterator[Callable[[str], Stand]]:
    """Call it with the mode of the stand-in."""
    if shutil.which("dbus-daemon") is None:
        pytest.skip("no dbus-daemon here")
    bus = scene.directory / "bus"
    config = scene.directory / "bus.conf"
    config.write_text(CONFIG.format(path=bus), encoding="ascii")
    mask = signal.pthread_sigmask(signal.SIG_BLOCK, ())

    with ExitStack() as stack:

        def start(*command: str) -> subprocess.Popen[str]:
            process = stack.enter_context(subprocess.Popen(command, stdout=subprocess.PIPE, text=True))
            stack.callback(process.kill)
            return process

        def make(mode: str) -> Stand:
            start("dbus-daemon", f"--config-file={config}", "--nofork", "--nopidfile")
            wait_until(bus.exists, 10, "the bus")
            fake = start(sys.executable, "-m", "tests.place.fake_systemd", f"unix:path={bus}", find_mount().path, mode)
            made = Stand(scene, bus, fake)
            assert made.line() == "ready\n"
            return made

        yield make
    signal.pthread_sigmask(signal.SIG_SETMASK, mask)


@pytest.mark.parametrize("mode", ["new", "old", "stale", "forged"])
def test_the_command_runs_in_the_scope_that_systemd_made(stand: Callable[[str], Stand], mode: str) -> None:
    stage = stand(mode)
    placed = stage.start("sh", "-c", "case $(cat /proc/self/cgroup) in *0::/*/cgoom-a.scope*) exit 5; esac; exit 6")
    assert read_identity(placed.cgroup.fd) == Identity("a", 40, False, 3_000_000)
    assert supervise(placed) == Ended(5)
    placed.close()
    assert "'OOMPolicy': 'kill'" in stage.line()
    if mode == "old":
        assert "OOMPolicy" not in stage.line()


def test_limits_are_properties(stand: Callable[[str], Stand]) -> None:
    stage = stand("new")
    placed = stage.start("true", limits=Limits(1 << 30, 1 << 20, 50, 99))
    assert supervise(placed) == Ended(0)
    said = stage.line()
    for part in ("'MemoryMax': 1073741824", "'MemoryLow': 1048576", "'CPUWeight': 50", "'TasksMax': 99"):
        assert part in said
    for part in ("'Delegate': True", "'TimeoutStopUSec': 3000000", "'CollectMode': 'inactive-or-failed'"):
        assert part in said


def test_a_command_that_is_not_there_is_reported(stand: Callable[[str], Stand]) -> None:
    with pytest.raises(CgoomError) as caught:
        supervise(stand("new").start("cgoom-no-such-command"))
    assert caught.value.status == 127


@pytest.mark.parametrize(
    ("mode", "error"),
    [("taken", ConflictError), ("denied", NotPermittedError), ("silent", KernelError), ("wrong", HostError)],
)
def test_a_refusal_runs_nothing(
    stand: Callable[[str], Stand], monkeypatch: pytest.MonkeyPatch, tmp_path: Path, mode: str, error: type[CgoomError]
) -> None:
    monkeypatch.setattr(systemd, "_ANSWER_WAIT_SEC", 1.0)
    monkeypatch.setattr(systemd, "_NAME_WAIT_SEC", 0.2)
    fds = len(os.listdir("/proc/self/fd"))
    stage = stand(mode)
    held = len(os.listdir("/proc/self/fd")) - fds
    with pytest.raises(error) as caught:
        stage.start("touch", str(tmp_path / "ran"))
    assert caught.value.hint or mode == "wrong"
    assert not (tmp_path / "ran").exists()
    assert len(os.listdir("/proc/self/fd")) - fds == held

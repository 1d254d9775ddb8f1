"""Cgroups, their processes and their children on this host's own cgroup2, as root."""

from __future__ import annotations

import gc
import os
import select
import signal
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NoReturn

import pytest

from cgoom.errors import ConflictError, GoneError, KernelError
from cgoom.kernel.cgroup import Cgroup, find_mount, open_cgroup
from cgoom.kernel.clone import CHILD_LOST, spawn_into
from cgoom.kernel.fault import kernel_errors
from cgoom.kernel.pidfd import mrelease, open_pidfd, wait_pidfd
from cgoom.kernel.proc import read_cgroup_path, read_stat
from tests.live.kernel_scene import TIMEOUT_USEC, exec_shell, scratch_cgroup, wait_until

pytestmark = [pytest.mark.live, pytest.mark.skipif(os.geteuid() != 0, reason="needs root")]


@pytest.fixture
def cgroup() -> Iterator[Cgroup]:
    with scratch_cgroup() as made:
        yield made


def test_the_mount() -> None:
    mount = find_mount()
    with open_cgroup(mount.path) as root:
        assert root.ref.path == ""
        assert root.ref.cgroup_id == os.stat(mount.path).st_ino
        assert mount.hybrid == (mount.path != "/sys/fs/cgroup" or "memory" not in root.read_controllers())
        assert root.read_procs()
        with pytest.raises(KernelError, match=r"cgroup\.events: no such file"):
            root.read_populated()


def test_a_child_begins_in_its_cgroup(cgroup: Cgroup) -> None:
    assert not cgroup.read_populated()
    pid, pidfd = spawn_into(cgroup.fd, exec_shell("exec sleep 60"))
    assert cgroup.read_procs() == [pid]
    assert cgroup.read_procs_recursive() == [pid]
    assert cgroup.read_populated()
    assert read_cgroup_path(pid) == cgroup.ref.path
    assert read_stat(pid).ppid == os.getpid()
    assert not os.get_inheritable(pidfd)
    cgroup.write_kill()
    assert wait_pidfd(pidfd, TIMEOUT_USEC) == 128 + signal.SIGKILL
    assert cgroup.read_procs() == []
    os.close(pidfd)


def test_the_exit_status_comes_back(cgroup: Cgroup) -> None:
    _pid, pidfd = spawn_into(cgroup.fd, exec_shell("exit 3"))
    assert wait_pidfd(pidfd, TIMEOUT_USEC) == 3
    os.close(pidfd)


def returns() -> NoReturn:
    """A child that breaks the rule."""
    return None  # type: ignore[misc]


def raises() -> NoReturn:
    """A child that fails."""
    raise KeyboardInterrupt


@pytest.mark.parametrize("child", [returns, raises])
def test_a_child_never_comes_back(cgroup: Cgroup, child: Callable[[], NoReturn]) -> None:
    mine = os.getpid()
    _pid, pidfd = spawn_into(cgroup.fd, child)
    assert os.getpid() == mine
    assert wait_pidfd(pidfd, TIMEOUT_USEC) == CHILD_LOST
    os.close(pidfd)


def test_a_child_begins_with_clean_signals(cgroup: Cgroup) -> None:
    reader, writer = os.pipe()

    def show_signals() -> NoReturn:
        os.dup2(writer, 1)
        os.execv("/bin/cat", ["cat", "/proc/self/status"])

    handler = signal.signal(signal.SIGUSR1, lambda *_: None)
    ignored = signal.signal(signal.SIGUSR2, signal.SIG_IGN)
    blocked = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM, signal.SIGUSR1})
    try:
        during = signal.pthread_sigmask(signal.SIG_BLOCK, ())
        inherited = read_signal_sets(Path("/proc/self/status").read_text(encoding="utf-8", errors="replace"))["SigIgn:"]
        _pid, pidfd = spawn_into(cgroup.fd, show_signals)
        assert signal.pthread_sigmask(signal.SIG_BLOCK, ()) == during
        assert gc.isenabled()
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, blocked)
        signal.signal(signal.SIGUSR1, handler)
        signal.signal(signal.SIGUSR2, ignored)
        os.close(writer)
    assert wait_pidfd(pidfd, TIMEOUT_USEC) == 0
    os.close(pidfd)
    with os.fdopen(reader) as pipe:
        sets = read_signal_sets(pipe.read())
    # What was ignored stays so (nohup), except for what Python itself ignores.
    assert inherited & 1 << signal.SIGUSR2 - 1
    ours = 1 << signal.SIGPIPE - 1 | 1 << signal.SIGXFSZ - 1
    assert sets == {"SigBlk:": 0, "SigIgn:": inherited & ~ours}


def read_signal_sets(status: str) -> dict[str, int]:
    """Blocked and ignored signals of /proc/PID/status, bit N-1 for signal N."""
    lines = [line.split() for line in status.splitlines() if line.startswith(("SigBlk", "SigIgn"))]
    return {name: int(bits, 16) for name, bits in lines}


def test_no_child_in_a_removed_cgroup(cgroup: Cgroup) -> None:
    with cgroup.make_child("a") as child:
        cgroup.remove_child("a")
        before = signal.pthread_sigmask(signal.SIG_BLOCK, ())
        with pytest.raises(GoneError):
            spawn_into(child.fd, exec_shell("exit 0"))
        assert signal.pthread_sigmask(signal.SIG_BLOCK, ()) == before
        assert gc.isenabled()


def test_a_held_cgroup_that_is_removed(cgroup: Cgroup) -> None:
    with cgroup.make_child("a") as held:
        events = held.open_control("cgroup.events", os.O_RDONLY)
        cgroup.remove_child("a")
        with pytest.raises(GoneError, match="No such device"), kernel_errors("cgroup.events"):
            os.read(events, 100)
        os.close(events)
        for use in (
            held.read_memory_current,
            held.read_memory_stat,
            held.read_populated,
            held.read_procs,
            held.read_procs_recursive,
            held.children,
            held.write_kill,
            lambda: held.make_child("b"),
        ):
            with pytest.raises(GoneError):
                use()
        with cgroup.make_child("a") as successor:
            assert successor.ref.path == held.ref.path
            assert successor.ref.cgroup_id != held.ref.cgroup_id


def test_a_whole_tree_dies_through_an_open_descriptor(cgroup: Cgroup) -> None:
    pidfds = []
    pids = []
    kill = cgroup.open_control("cgroup.kill", os.O_WRONLY)
    events = cgroup.open_control("cgroup.events", os.O_RDONLY)
    with cgroup.make_child("a") as a, a.make_child("b") as b:
        for place in (cgroup, a, b):
            pid, pidfd = spawn_into(place.fd, exec_shell("exec sleep 60"))
            pids.append(pid)
            pidfds.append(pidfd)
        assert sorted(cgroup.read_procs_recursive()) == sorted(pids)
    assert b"populated 1" in os.read(events, 100)
    poller = select.poll()
    poller.register(events, select.POLLPRI)
    os.write(kill, b"1")
    assert poller.poll(TIMEOUT_USEC // 1000)
    assert [wait_pidfd(pidfd, TIMEOUT_USEC) for pidfd in pidfds] == [128 + signal.SIGKILL] * 3
    wait_until(lambda: not cgroup.read_populated())
    for fd in (kill, events, *pidfds):
        os.close(fd)


def test_a_killed_process_gives_its_memory_back_once(cgroup: Cgroup) -> None:
    pid, spawned = spawn_into(cgroup.fd, exec_shell("exec sleep 60"))
    pidfd = open_pidfd(pid)
    assert not mrelease(pidfd)
    cgroup.write_kill()
    assert wait_pidfd(spawned, TIMEOUT_USEC) == 128 + signal.SIGKILL
    assert not mrelease(pidfd)
    os.close(pidfd)
    os.close(spawned)


def test_names_that_the_kernel_refuses(cgroup: Cgroup) -> None:
    with pytest.raises(KernelError, match="Invalid argument"):
        cgroup.make_child("a\nb")
    with pytest.raises(ConflictError):
        cgroup.make_child("cgroup.procs")
    cgroup.make_child("a").close()
    with pytest.raises(ConflictError):
        cgroup.make_child("a")


def test_no_way_out_of_the_mount(cgroup: Cgroup) -> None:
    for path in ("../x", "/etc", "a/../../x"):
        with pytest.raises(KernelError, match="not the path of a cgroup"):
            open_cgroup(cgroup.fd, path)


def test_an_occupied_cgroup_stays(cgroup: Cgroup) -> None:
    with cgroup.make_child("a") as child:
        _pid, pidfd = spawn_into(child.fd, exec_shell("exec sleep 60"))
        with pytest.raises(KernelError, match="busy"):
            cgroup.remove_child("a")
        child.write_kill()
        wait_pidfd(pidfd, TIMEOUT_USEC)
        os.close(pidfd)


def test_a_threaded_cgroup_lists_nothing(cgroup: Cgroup) -> None:
    with cgroup.make_child("t") as threaded:
        threaded.write_control("cgroup.type", "threaded")
        with pytest.raises(KernelError, match="not supported"):
            threaded.read_procs()
        assert cgroup.read_procs_recursive() == []

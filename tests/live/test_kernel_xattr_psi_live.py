"""Identity, inotify, pressure and privileges on this host's own cgroup2, as root."""

from __future__ import annotations

import os
import resource
import select
from collections.abc import Iterator

import pytest

from cgoom.errors import KernelError
from cgoom.kernel.capability import read_effective
from cgoom.kernel.cgroup import Cgroup
from cgoom.kernel.clone import spawn_into
from cgoom.kernel.identity import (
    VERDICT_SIZE,
    Identity,
    Verdict,
    read_identity,
    read_verdict,
    write_identity,
    write_priority,
    write_verdict,
)
from cgoom.kernel.inotify import IN_ATTRIB, IN_CREATE, IN_DELETE, IN_ISDIR, IN_MODIFY, Inotify
from cgoom.kernel.mlock import lock_memory
from cgoom.kernel.pidfd import wait_pidfd
from cgoom.kernel.proc import write_oom_score_adj
from cgoom.kernel.psi import arm_trigger, read_pressure
from tests.live.kernel_scene import NOBODY, TIMEOUT_USEC, exec_shell, run_as_nobody, scratch_cgroup, wait_until

pytestmark = [pytest.mark.live, pytest.mark.skipif(os.geteuid() != 0, reason="needs root")]

PRESSURE = "/proc/pressure/memory"


@pytest.fixture
def cgroup() -> Iterator[Cgroup]:
    with scratch_cgroup() as made:
        yield made


@pytest.mark.parametrize(
    "identity", [Identity("web"), Identity("a.b-c_d", 0, True, 0), Identity("n" * 128, 1000, False, 10**15 - 1)]
)
def test_identity_comes_back(cgroup: Cgroup, identity: Identity) -> None:
    assert read_identity(cgroup.fd) is None
    write_identity(cgroup.fd, Identity("before", 3, True, 7))
    write_identity(cgroup.fd, identity)
    assert read_identity(cgroup.fd) == identity
    write_priority(cgroup.fd, 77)
    changed = read_identity(cgroup.fd)
    assert changed is not None
    assert changed.priority == 77


def test_half_an_identity_is_none(cgroup: Cgroup) -> None:
    write_priority(cgroup.fd, 5)
    assert read_identity(cgroup.fd) is None
    os.setxattr(cgroup.fd, "trusted.cgoom.name", b"web")
    assert read_identity(cgroup.fd) == Identity("web", 5)
    os.setxattr(cgroup.fd, "trusted.cgoom.priority", b"5 ")
    assert read_identity(cgroup.fd) is None


def test_identity_is_nobody_elses_to_write(cgroup: Cgroup) -> None:
    write_identity(cgroup.fd, Identity("web", 900))
    os.fchown(cgroup.fd, NOBODY, NOBODY)
    assert run_as_nobody(lambda: write_priority(cgroup.fd, 0)).startswith("NotPermittedError: ")
    assert run_as_nobody(lambda: read_identity(cgroup.fd)) == "None"
    assert read_identity(cgroup.fd) == Identity("web", 900)


def test_a_verdict_outlives_its_cgroup(cgroup: Cgroup) -> None:
    with cgroup.make_child("a") as held:
        write_identity(held.fd, Identity("web", 900))
        assert read_verdict(held.fd) is None
        write_verdict(held.fd, "", is_final=False)
        assert read_verdict(held.fd) == Verdict("", is_final=False)
        cgroup.remove_child("a")
        write_verdict(held.fd, "killed: caf\u00e9")
        assert read_verdict(held.fd) == Verdict("killed: caf\u00e9", is_final=True)
    write_verdict(cgroup.fd, "\u00e9" * VERDICT_SIZE)
    assert read_verdict(cgroup.fd) == Verdict("\u00e9" * (VERDICT_SIZE // 2), is_final=True)
    write_verdict(cgroup.fd, "")
    assert read_verdict(cgroup.fd) is None


def test_inotify_tells_of_workloads(cgroup: Cgroup) -> None:
    inotify = Inotify()
    wd = inotify.add(f"/proc/self/fd/{cgroup.fd}", IN_CREATE | IN_DELETE | IN_ATTRIB)
    with cgroup.make_child("a") as child:
        write_identity(child.fd, Identity("web"))
    cgroup.remove_child("a")
    events = [(event.wd, event.mask, event.name) for event in inotify.drain()]
    assert events == [(wd, kind | IN_ISDIR, "a") for kind in (IN_CREATE, IN_ATTRIB, IN_DELETE)]
    inotify.close()


def test_inotify_tells_of_the_last_process(cgroup: Cgroup) -> None:
    inotify = Inotify()
    wd = inotify.add(f"/proc/self/fd/{cgroup.fd}/cgroup.events", IN_MODIFY)
    _pid, pidfd = spawn_into(cgroup.fd, exec_shell("exit 0"))
    wait_pidfd(pidfd, TIMEOUT_USEC)
    wait_until(lambda: not cgroup.read_populated())
    assert select.select([inotify.fd], [], [], 10)[0]
    assert {event.wd for event in inotify.drain()} == {wd}
    os.close(pidfd)
    inotify.close()


def test_pressure(cgroup: Cgroup) -> None:
    assert read_pressure(PRESSURE).full is not None
    assert read_pressure(f"/proc/self/fd/{cgroup.fd}/memory.pressure").some.total_usec == 0


def test_a_trigger(cgroup: Cgroup) -> None:
    for path in (PRESSURE, f"/proc/self/fd/{cgroup.fd}/memory.pressure"):
        fd = arm_trigger(path, "some", 1_900_000, 2_000_000)
        poller = select.poll()
        poller.register(fd, select.POLLPRI)
        assert poller.poll(0) == []
        os.close(fd)


def test_a_trigger_of_a_removed_cgroup(cgroup: Cgroup) -> None:
    with cgroup.make_child("a") as child:
        fd = arm_trigger(f"/proc/self/fd/{child.fd}/memory.pressure", "full", 1_900_000, 2_000_000)
        cgroup.remove_child("a")
    poller = select.poll()
    poller.register(fd, select.POLLPRI)
    ((_, mask),) = poller.poll(TIMEOUT_USEC // 1000)
    assert mask & select.POLLERR
    os.close(fd)


def test_a_trigger_that_cannot_be() -> None:
    before = len(os.listdir("/proc/self/fd"))
    for kind, stall_usec, window_usec in (("some", 0, 2_000_000), ("none", 1, 2_000_000), ("some", 1, 12_000_000)):
        with pytest.raises(KernelError, match="Invalid argument"):
            arm_trigger(PRESSURE, kind, stall_usec, window_usec)
    assert len(os.listdir("/proc/self/fd")) == before


def test_a_short_window_is_a_privilege() -> None:
    refused = run_as_nobody(lambda: arm_trigger(PRESSURE, "some", 100_000, 1_000_000))
    assert refused.startswith(f"NotPermittedError: {PRESSURE}: a window of 1000000 us is not allowed; ")
    assert "CAP_SYS_RESOURCE" in refused
    assert run_as_nobody(lambda: arm_trigger(PRESSURE, "some", 100_000, 2_000_000)).isdigit()
    if "CAP_SYS_RESOURCE" in read_effective():
        os.close(arm_trigger(PRESSURE, "some", 100_000, 1_000_000))


def read_locked_kib() -> int:
    """VmLck of this process."""
    with open("/proc/self/status", encoding="ascii", errors="replace") as status:
        (line,) = [line for line in status if line.startswith("VmLck:")]
    return int(line.split()[1])


@pytest.mark.parametrize("on_fault", [False, True])
def test_locked_memory(on_fault: bool) -> None:
    reader, writer = os.pipe()
    pid = os.fork()
    if pid == 0:
        try:
            before = read_locked_kib()
            lock_memory(on_fault=on_fault)
            os.write(writer, f"{before} {read_locked_kib()}".encode())
        finally:
            os._exit(0)
    os.close(writer)
    with os.fdopen(reader) as pipe:
        before, after = map(int, pipe.read().split())
    os.waitpid(pid, 0)
    assert before == 0
    assert after > 1024


def test_locked_memory_is_a_privilege() -> None:
    def lock_without_limit() -> None:
        resource.setrlimit(resource.RLIMIT_MEMLOCK, (0, 0))
        lock_memory()

    refused = run_as_nobody(lock_without_limit)
    assert refused.startswith("NotPermittedError: mlockall: ")
    assert "LimitMEMLOCK=" in refused


def test_oom_score_adj_below_what_one_has_is_a_privilege() -> None:
    own = os.getpid()
    assert run_as_nobody(lambda: write_oom_score_adj(own, 1000)).startswith(f"NotPermittedError: /proc/{own}/oom_score")

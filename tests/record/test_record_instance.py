"""One daemon, and a lock that outlives nothing."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import pytest

from cgoom.errors import ConflictError, RefusedError
from cgoom.record.instance import Instance, read_daemon_pid


def test_instance_is_one(tmp_path: Path) -> None:
    run_dir = str(tmp_path / "run")
    first, second = Instance(run_dir), Instance(run_dir)
    assert read_daemon_pid(run_dir) is None
    first.acquire()
    assert read_daemon_pid(run_dir) == os.getpid()
    with pytest.raises(ConflictError) as caught:
        second.acquire()
    assert str(os.getpid()) in caught.value.message
    assert "cgoom status" in caught.value.hint
    first.release()
    first.release()
    assert read_daemon_pid(run_dir) is None
    second.acquire()
    assert read_daemon_pid(run_dir) == os.getpid()
    second.release()
    assert (tmp_path / "run").stat().st_mode & 0o7777 == 0o750 & ~_umask()
    assert (tmp_path / "run" / "daemon.lock").stat().st_mode & 0o7777 == 0o640 & ~_umask()


def test_instance_dies_with_its_holder(tmp_path: Path) -> None:
    ready, say = os.pipe()
    pid = os.fork()
    if pid == 0:
        try:
            Instance(str(tmp_path)).acquire()
            os.write(say, b".")
            signal.pause()
        finally:
            os._exit(1)
    os.close(say)
    try:
        assert os.read(ready, 1) == b"."
        assert read_daemon_pid(str(tmp_path)) == pid
        with pytest.raises(ConflictError, match=f"pid {pid}"):
            Instance(str(tmp_path)).acquire()
    finally:
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)
        os.close(ready)
    assert read_daemon_pid(str(tmp_path)) is None
    heir = Instance(str(tmp_path))
    heir.acquire()
    assert (tmp_path / "daemon.lock").read_text() == f"{os.getpid()}\n"
    heir.release()


@pytest.mark.parametrize("text", [b"", b"\n", b"-1\n", b"\xff\xfe", b"12 34\n", "١٢\n".encode()])
def test_instance_with_an_unreadable_pid(tmp_path: Path, text: bytes) -> None:
    instance = Instance(str(tmp_path))
    instance.acquire()
    (tmp_path / "daemon.lock").write_bytes(text)
    assert read_daemon_pid(str(tmp_path)) is None
    with pytest.raises(ConflictError, match=r"another cgoom daemon is running$"):
        Instance(str(tmp_path)).acquire()
    instance.release()


def test_instance_refuses_a_planted_link(tmp_path: Path) -> None:
    (tmp_path / "target").write_text("precious")
    (tmp_path / "daemon.lock").symlink_to("target")
    with pytest.raises(RefusedError):
        Instance(str(tmp_path)).acquire()
    with pytest.raises(RefusedError):
        read_daemon_pid(str(tmp_path))
    assert (tmp_path / "target").read_text() == "precious"


def test_instance_refuses_a_fifo(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "daemon.lock")
    with pytest.raises(RefusedError):
        Instance(str(tmp_path)).acquire()


def _umask() -> int:
    mask = os.umask(0o022)
    os.umask(mask)
    return mask

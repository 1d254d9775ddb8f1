"""What several of these tests need from the host."""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path
from types import FrameType

import pytest

_TIME_LIMIT_SEC = 30  # chosen: far more than any of these tests takes


@pytest.fixture(autouse=True)
def time_limit() -> Iterator[None]:
    """What must never block fails here instead of hanging."""

    def give_up(signo: int, frame: FrameType | None) -> None:
        raise AssertionError(f"blocked for {_TIME_LIMIT_SEC} seconds")

    before = signal.signal(signal.SIGALRM, give_up)
    signal.alarm(_TIME_LIMIT_SEC)
    yield
    signal.alarm(0)
    signal.signal(signal.SIGALRM, before)


@pytest.fixture
def tiny_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 64 KiB."""
    if os.geteuid() != 0:
        pytest.skip("mounts a tmpfs (run as root)")
    command = ["mount", "-t", "tmpfs", "-o", "size=64k,mode=0750", "tmpfs", str(tmp_path)]
    mounted = subprocess.run(command, check=False, capture_output=True)
    if mounted.returncode != 0:
        pytest.skip(f"cannot mount a tmpfs here: {mounted.stderr.decode().strip()}")
    yield tmp_path
    subprocess.run(["umount", str(tmp_path)], check=True)

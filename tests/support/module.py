"""The kernel module in the guest: inserted, removed, its parameters and its file in /proc."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

# Where the lab puts it.
MODULE = Path("/wheel/memory_info.ko")
PARAMETERS = Path("/sys/module/memory_info/parameters")
LEVEL = Path("/proc/oom_notifier")


def require_module() -> None:
    """Skip the test where the module was not built."""
    if not MODULE.exists():
        pytest.skip(f"no {MODULE}: `vagrant/lab test` builds it and puts it there")


def is_inserted() -> bool:
    """Whether it is in."""
    return PARAMETERS.exists()


def insert(*parameters: str) -> None:
    """insmod; raises AssertionError with what it said."""
    run_tool("insmod", str(MODULE), *parameters)


def remove() -> None:
    """rmmod; raises AssertionError with what it said."""
    run_tool("rmmod", "memory_info")


def run_tool(*argv: str) -> None:
    """Run a tool that must succeed."""
    done = subprocess.run(argv, capture_output=True, text=True, check=False, timeout=120)
    assert done.returncode == 0, f"{' '.join(argv)}: {done.stderr}"


def read_level() -> int:
    """The level, as /proc/oom_notifier has it."""
    return int(LEVEL.read_text(encoding="ascii"))


def read_parameter(name: str) -> str:
    """A parameter, as /sys has it."""
    return (PARAMETERS / name).read_text(encoding="ascii").strip()


def write_parameter(name: str, value: object) -> None:
    """Set a parameter. Raises OSError."""
    fd = os.open(PARAMETERS / name, os.O_WRONLY)
    try:
        os.write(fd, str(value).encode())
    finally:
        os.close(fd)

"""The kernel module in the guest: built for its kernel where the lab has not done so, inserted and removed."""

from __future__ import annotations

import functools
import shutil
import subprocess
import tempfile
from pathlib import Path

# Where the lab puts what it has built for the guest's kernel.
BUILT = Path("/wheel/memory_info.ko")
SOURCE = Path(__file__).resolve().parents[2] / "kmod"
# Seconds; an emulated guest compiles for a minute.
BUILD_LIMIT = 600


@functools.cache
def find_module() -> Path:
    """The module for this kernel; built here when the lab has none. Raises CalledProcessError."""
    if BUILT.exists():
        return BUILT
    directory = Path(tempfile.mkdtemp(prefix="cgoom-kmod-"))
    shutil.copytree(SOURCE, directory, dirs_exist_ok=True)
    subprocess.run(["make", "-C", str(directory), "-j2"], check=True, timeout=BUILD_LIMIT, capture_output=True)
    return directory / "memory_info.ko"


def is_inserted() -> bool:
    """Whether the module is loaded."""
    return Path("/sys/module/memory_info").exists()


def insert() -> None:
    """Raises CalledProcessError."""
    subprocess.run(["insmod", str(find_module())], check=True, timeout=60)


def remove() -> None:
    """Take it out if it is there. Raises CalledProcessError."""
    if is_inserted():
        subprocess.run(["rmmod", "memory_info"], check=True, timeout=60)

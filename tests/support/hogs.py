"""The C programs of the tests: compiled once, started as commands."""

from __future__ import annotations

import atexit
import functools
import shutil
import subprocess
import tempfile
from pathlib import Path

FLAGS = ("-std=c11", "-O2", "-Wall", "-Wextra", "-Werror")


@functools.cache
def _directory() -> Path:
    path = Path(tempfile.mkdtemp(prefix="cgoom-programs-"))
    # Readable for the tests that run as another user.
    path.chmod(0o755)
    atexit.register(shutil.rmtree, path, ignore_errors=True)
    return path


@functools.cache
def build_program(name: str, folder: Path = Path(__file__).parent, *flags: str) -> str:
    """The path of `FOLDER/NAME.c` compiled, good until this process ends. Raises AssertionError."""
    source = folder / f"{name}.c"
    program = _directory() / name
    command = ["cc", *FLAGS, *flags, "-o", str(program), str(source)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=120)
    assert done.returncode == 0, f"{source.name} does not compile:\n{done.stderr}"
    return str(program)


def hog(
    limit_mib: int, *, rate_mib: int = 0, burst_mib: int = 0, ignore_term: bool = False, hold: bool = False
) -> list[str]:
    """The command of a hog that takes `limit_mib` MiB at `rate_mib` MiB/s; see hog.c."""
    command = [build_program("hog"), "--limit", str(limit_mib), "--rate", str(rate_mib), "--burst", str(burst_mib)]
    return command + ["--ignore-term"] * ignore_term + ["--hold"] * hold

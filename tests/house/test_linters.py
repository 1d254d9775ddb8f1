"""The linters agree with every file, also with scripts that have no suffix."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest

from tests.house.sources import ROOT, c_files, python_files, python_scripts, shell_files

# Programs that pip installs beside the interpreter; not resolved, a venv's python is a link out of it.
BIN = Path(sys.executable).parent
# Seconds; mypy without a cache needs 60 on two busy cores.
LIMIT = 300


def require_clean(command: Sequence[str | Path], **env: str) -> None:
    """The command must end with status 0; what it printed is the failure."""
    done = subprocess.run(
        command,
        cwd=ROOT,
        env=os.environ | env,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
        timeout=LIMIT,
    )
    assert done.returncode == 0, f"{' '.join(map(str, command))}\n{done.stdout}"


def test_ruff_check() -> None:
    require_clean([sys.executable, "-m", "ruff", "check", ".", *python_scripts()])


def test_ruff_format() -> None:
    require_clean([sys.executable, "-m", "ruff", "format", "--check", ".", *python_scripts()])


def test_mypy() -> None:
    require_clean([sys.executable, "-m", "mypy", "--strict"])


def test_mypy_of_scripts() -> None:
    for path in python_scripts():  # one by one: each is a __main__, and imports from where it lies
        require_clean([sys.executable, "-m", "mypy", "--strict", path], MYPYPATH=str(path.parent))


def test_shellcheck() -> None:
    files = shell_files()
    assert Path(".ci/run") in files
    require_clean([BIN / "shellcheck", "--", *files])


def test_clang_format() -> None:
    files = c_files()
    assert files, "found no C source"
    require_clean([BIN / "clang-format", "--dry-run", "--Werror", "--", *files])


def test_checkpatch() -> None:
    files = [path for path in c_files() if path.parts[0] == "kmod"]
    assert files, "found no kernel source"
    done = subprocess.run(
        [".ci/checkpatch", *files], cwd=ROOT, capture_output=True, text=True, check=False, timeout=LIMIT
    )
    if done.returncode == 77 and not os.environ.get("CI"):
        pytest.skip(f"{done.stderr.strip()}: a Debian host with a network has it")
    assert done.returncode == 0, done.stdout + done.stderr


def test_scripts_are_found() -> None:
    assert Path(".ci/tally") in python_scripts()
    assert Path("tests/house/test_linters.py") in python_files("tests")

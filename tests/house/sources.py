"""Which files are the project's, and what their syntax trees say.

A file counts when git tracks it or would (not ignored), so that a rule holds before the commit and not after it.
"""

from __future__ import annotations

import ast
import functools
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]

FunctionNode = ast.FunctionDef | ast.AsyncFunctionDef


def run_git(*args: str) -> str:
    """What `git ARGS` prints, run at the top of the tree. Skips the test outside of a git checkout."""
    if not (ROOT / ".git").exists():
        pytest.skip("not a git checkout: clone the project to run the house tests")
    done = subprocess.run(["git", "-C", str(ROOT), *args], capture_output=True, check=True, timeout=60)
    return done.stdout.decode(errors="replace")


@functools.cache
def project_files() -> tuple[Path, ...]:
    """Every file of the project that exists, sorted, relative to the top of the tree."""
    listed = run_git("ls-files", "-z", "--cached", "--others", "--exclude-standard").split("\0")
    return tuple(sorted(Path(name) for name in set(listed) if name and (ROOT / name).is_file()))


def read_source(path: Path) -> str:
    """The text of a project file; bytes that are not UTF-8 become U+FFFD."""
    return (ROOT / path).read_text(encoding="utf-8", errors="replace")


def interpreter(path: Path) -> str:
    """The first line of a script that begins with `#!`, or an empty string."""
    with (ROOT / path).open("rb") as file:
        first = file.readline(128).decode(errors="replace").rstrip()
    return first if first.startswith("#!") else ""


def python_files(*folders: str) -> list[Path]:
    """The Python files below the folders (all of the project without any), scripts without a suffix included."""
    return [
        path
        for path in project_files()
        if (not folders or str(path).startswith(tuple(f"{folder}/" for folder in folders)))
        and (path.suffix == ".py" or (path.suffix == "" and "python" in interpreter(path)))
    ]


def python_scripts() -> list[Path]:
    """Python programs without a suffix: linters that look for `*.py` pass them by."""
    return [path for path in python_files() if path.suffix == ""]


def shell_files() -> list[Path]:
    """Every shell script, by suffix or first line."""
    return [
        path
        for path in project_files()
        if path.suffix == ".sh" or (path.suffix == "" and interpreter(path).endswith(("sh", "sh -e", "sh -eu")))
    ]


def c_files() -> list[Path]:
    """Every C source and header."""
    return [path for path in project_files() if path.suffix in {".c", ".h"}]


def functions_of(tree: ast.Module) -> Iterator[tuple[str, FunctionNode]]:
    """Every function with its dotted name, nested ones and methods included."""
    pending: list[tuple[str, ast.AST]] = [("", tree)]
    while pending:
        prefix, node = pending.pop()
        for child in ast.iter_child_nodes(node):
            name = prefix
            if isinstance(child, FunctionNode | ast.ClassDef):
                name = f"{prefix}.{child.name}".lstrip(".")
            if isinstance(child, FunctionNode):
                yield name, child
            pending.append((name, child))

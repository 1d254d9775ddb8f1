"""Files and functions stay as long as one can keep in mind."""

from __future__ import annotations

import ast

from tests.house.sources import c_files, functions_of, python_files, read_source

# Lines; chosen: a file is one noun, a function fits one screen.
FILE_LINES = 350
FUNCTION_LINES = 40


def long_functions(path: str, source: str) -> list[str]:
    """Every function above the limit, one line each; the decorators do not count."""
    return [
        f"{path}:{node.lineno}: {name} has {length} lines, at most {FUNCTION_LINES}"
        for name, node in functions_of(ast.parse(source, path))
        if (length := (node.end_lineno or node.lineno) - node.lineno + 1) > FUNCTION_LINES
    ]


def long_file(path: str, source: str) -> list[str]:
    """One line when the file is above the limit."""
    length = len(source.splitlines())
    return [f"{path}: {length} lines, at most {FILE_LINES}"] if length > FILE_LINES else []


def test_files_are_short() -> None:
    files = [*python_files(), *c_files()]
    assert files, "found no source"
    broken = [line for path in files for line in long_file(str(path), read_source(path))]
    assert not broken, "\n".join(broken)


def test_functions_are_short() -> None:
    files = python_files("cgoom", "vagrant", "bench", "tests/support", ".ci")
    assert files, "found no source"
    broken = [line for path in files for line in long_functions(str(path), read_source(path))]
    assert not broken, "\n".join(broken)


def test_a_line_too_many_is_seen() -> None:
    body = "    x = 1\n"
    assert long_functions("x.py", "def f():\n" + body * (FUNCTION_LINES - 1)) == []
    assert len(long_functions("x.py", "class A:\n def f(self):\n" + body * FUNCTION_LINES)) == 1
    assert long_file("x.py", "\n" * FILE_LINES) == []
    assert len(long_file("x.py", "\n" * (FILE_LINES + 1))) == 1

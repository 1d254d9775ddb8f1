"""The project's words: names that say nothing are not used, and everything public says what it is."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator, Set
from pathlib import Path

import pytest

from tests.house.sources import FunctionNode, python_files, read_source

EMPTY_WORDS = {"manager", "util", "helper", "handle", "data", "info"}
# Names that others gave: /proc/meminfo, the module, a system call, a level of syslog(3), a parameter of click.
GIVEN_NAMES = {"MemInfo", "memory_info", "process_mrelease", "INFO", "info_name"}
# systemd calls itself that: org.freedesktop.systemd1.Manager.
GIVEN_WORDS = {Path("cgoom/place/systemd.py"): {"manager"}}


def words_of(name: str) -> list[str]:
    """`readMemInfo`, `read_mem_infos` -> `read mem info`: lower case, no plural."""
    spaced = re.sub(r"(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])", "_", name)
    return [word.lower().removesuffix("s") for word in spaced.split("_") if word]


def refuse_name(name: str, *, is_function: bool = False, given: Set[str] = frozenset()) -> str:
    """Why the name is not used here, or an empty string; `given` are words that others chose."""
    if name in GIVEN_NAMES:
        return ""
    words = words_of(name)
    empty = EMPTY_WORDS & set(words) - given
    if empty:
        return f"{name}: says nothing by {', '.join(sorted(empty))}"
    if is_function and words and name.lstrip("_").startswith("process_"):
        return f"{name}: process is not a verb here"
    return ""


def defined_names(tree: ast.Module, *, variables: bool) -> Iterator[tuple[int, str, bool]]:
    """(line, name, is a function) of everything that is defined; parameters and variables where asked for."""
    for node in ast.walk(tree):
        if isinstance(node, FunctionNode | ast.ClassDef):
            yield node.lineno, node.name, isinstance(node, FunctionNode)
        elif variables and isinstance(node, ast.arg):
            yield node.lineno, node.arg, False
        elif variables and isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            yield node.lineno, node.id, False


def bad_names(path: Path, source: str) -> list[str]:
    """Every name that is not used; in cgoom/ variables count too, elsewhere what others can call."""
    variables = path.parts[0] == "cgoom"
    given = GIVEN_WORDS.get(path, set())
    found = [
        f"{path}:{line}: {why}"
        for line, name, is_function in defined_names(ast.parse(source, str(path)), variables=variables)
        if (why := refuse_name(name, is_function=is_function, given=given))
    ]
    why = refuse_name(path.stem.lstrip("_"))
    return [f"{path}: {why}", *found] if why else found


def public_parts(node: ast.Module | ast.ClassDef) -> Iterator[FunctionNode | ast.ClassDef]:
    """Public classes and functions of a module, and public methods of public classes."""
    for child in node.body:
        if isinstance(child, FunctionNode | ast.ClassDef) and not child.name.startswith("_"):
            yield child
            if isinstance(child, ast.ClassDef):
                yield from public_parts(child)


def without_docstring(path: str, source: str) -> list[str]:
    """The module and everything public in it that has no docstring."""
    tree = ast.parse(source, path)
    found = [] if ast.get_docstring(tree) else [f"{path}: no module docstring"]
    found += [
        f"{path}:{part.lineno}: {part.name} has no docstring"
        for part in public_parts(tree)
        if not (ast.get_docstring(part) or "").strip()
    ]
    return found


def test_names_say_something() -> None:
    files = python_files()
    assert files, "found no source"
    broken = [line for path in files for line in bad_names(path, read_source(path))]
    assert not broken, "\n".join(broken)


def test_public_things_are_described() -> None:
    files = python_files("cgoom", "vagrant", "bench", "tests/support", ".ci")
    assert files, "found no source"
    # A test's name is its description.
    written = [path for path in files if not path.name.startswith("test_")]
    broken = [line for path in written for line in without_docstring(str(path), read_source(path))]
    assert not broken, "\n".join(broken)


def test_every_module_says_what_it_is_for() -> None:
    broken = [str(path) for path in python_files() if not ast.get_docstring(ast.parse(read_source(path)))]
    assert not broken, "no module docstring: " + ", ".join(broken)


@pytest.mark.parametrize(
    ("path", "source"),
    [
        ("cgoom/core/util.py", ""),
        ("cgoom/core/helpers.py", ""),
        ("cgoom/core/x.py", "class KillManager: ..."),
        ("cgoom/core/x.py", "def handle_signal(): ..."),
        ("cgoom/core/x.py", "def process_record(): ..."),
        ("cgoom/core/x.py", "def _process_record(): ..."),
        ("cgoom/core/x.py", "def f(data): ..."),
        ("cgoom/core/x.py", "info = 1"),
        ("cgoom/core/x.py", "for user_data in (): ..."),
        ("tests/core/x.py", "class DataThing: ..."),
    ],
)
def test_an_empty_name_is_seen(path: str, source: str) -> None:
    assert len(bad_names(Path(path), source)) == 1


def test_given_names_and_plain_words_pass() -> None:
    source = "def process_mrelease(pidfd): ...\ndef read_meminfo(): ...\nclass DatabaseMetadata: ...\nprocess = 1\n"
    assert bad_names(Path("cgoom/kernel/memory_info.py"), source) == []
    assert bad_names(Path("cgoom/place/systemd.py"), "class Manager: ...") == []
    assert bad_names(Path("cgoom/place/direct.py"), "class Manager: ...") != []


def test_a_missing_docstring_is_seen() -> None:
    source = '"""M."""\nclass A:\n    """A."""\n    def f(self): ...\n    def _g(self): ...\ndef h(): ...\n'
    assert without_docstring("x.py", source) == ["x.py:4: f has no docstring", "x.py:6: h has no docstring"]
    assert without_docstring("x.py", "") == ["x.py: no module docstring"]

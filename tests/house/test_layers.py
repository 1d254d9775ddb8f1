"""No import runs upward, none runs sideways, and the pure layer stays pure."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator

import pytest

from tests.house.sources import python_files, read_source

WORDS = {"errors", "frozen", "names", "units", "model"}
PURE = {"core", "policy"}
EDGES = {"observe", "act", "place", "record"}
BELOW_DAEMON = WORDS | PURE | EDGES | {"kernel"}

# Place -> the places that it may import, itself always included. `cgoom` itself (the version) is everybody's.
ALLOWED = (
    dict.fromkeys(WORDS, WORDS)
    | {place: WORDS | {place} for place in PURE}
    | {"kernel": WORDS | {"kernel"}}
    | {place: WORDS | {"kernel", place} for place in EDGES}
    | {"daemon": BELOW_DAEMON | {"daemon"}, "cli": BELOW_DAEMON | {"cli"}, "__main__": {"cli"}, "": set()}
)

# What a decision may not touch: I/O, the clock, chance, logging. The replay of a record depends on it.
IMPURE_MODULES = {
    *("os", "time", "socket", "subprocess", "io", "pathlib", "select", "signal", "ctypes", "logging", "random"),
    *("asyncio", "fcntl", "http", "mmap", "multiprocessing", "secrets", "shutil", "sys", "tempfile", "threading"),
    *("urllib", "uuid"),
}
IMPURE_CALLS = {"open", "print", "input", "exec", "eval", "breakpoint"}
DYNAMIC_CALLS = {"__import__", "import_module"}

# Third-party package -> the paths that may import it.
THIRD_PARTY = {
    "click": ("cgoom/cli/",),
    "yaml": ("cgoom/policy/",),
    "psutil": ("cgoom/observe/", "cgoom/cli/"),
    "pyroute2": ("cgoom/cli/",),
}
# The codec carries a policy into the daemon, whose memory has no room for a YAML parser.
NEVER = {("cgoom/policy/codec.py", "yaml")}


def place_of(module: str) -> str:
    """`cgoom.kernel.psi` -> `kernel`; `cgoom` -> the empty string."""
    return [*module.split("."), ""][1]


def imports_of(tree: ast.Module) -> Iterator[tuple[int, str]]:
    """Every imported module with its line; `from cgoom import kernel` counts as `cgoom.kernel`."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from ((node.lineno, alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.level:
            yield node.lineno, "." * node.level
        elif isinstance(node, ast.ImportFrom) and node.module == "cgoom":
            for alias in node.names:
                yield node.lineno, "cgoom" if alias.name.startswith("__") else f"cgoom.{alias.name}"
        elif isinstance(node, ast.ImportFrom):
            yield node.lineno, node.module or ""


def refuse_import(path: str, module: str) -> str:
    """Why the file may not import the module, or an empty string."""
    place = place_of(path.removesuffix(".py").removesuffix("/__init__").replace("/", "."))
    top = module.split(".")[0]
    if not top:
        return "a relative import: write it in full"
    if top == "cgoom":
        target = place_of(module)
        if target == "daemon" and path == "cgoom/cli/daemon.py":
            return ""
        return "" if not target or target in ALLOWED[place] else f"{place or 'cgoom'} may not import {target}"
    if top in sys.stdlib_module_names:
        return f"{place} is pure and may not import {top}" if place in PURE and top in IMPURE_MODULES else ""
    if (path, top) in NEVER or not path.startswith(THIRD_PARTY.get(top, ())):
        return f"{top} is not for this file"
    return ""


def refuse_call(path: str, name: str) -> str:
    """Why the file may not call the builtin of that name, or an empty string."""
    if name in DYNAMIC_CALLS:
        return f"{name}() hides an import from this test"
    if path.split("/")[1] in PURE and name in IMPURE_CALLS:
        return f"pure code may not call {name}()"
    return ""


def called_name(node: ast.Call) -> str:
    """`open` of `open(...)`; `import_module` of `importlib.import_module(...)`; otherwise an empty string."""
    if isinstance(node.func, ast.Name):
        return node.func.id
    if isinstance(node.func, ast.Attribute) and node.func.attr in DYNAMIC_CALLS:
        return node.func.attr
    return ""


def violations(path: str, source: str) -> list[str]:
    """Every broken rule of one file, one line each."""
    tree = ast.parse(source, path)
    found = [(line, refuse_import(path, module)) for line, module in imports_of(tree)]
    found += [
        (node.lineno, refuse_call(path, called_name(node))) for node in ast.walk(tree) if isinstance(node, ast.Call)
    ]
    return [f"{path}:{line}: {what}" for line, what in sorted(found) if what]


def test_every_file_keeps_to_its_layer() -> None:
    files = python_files("cgoom")
    assert files, "found no source"
    broken = [line for path in files for line in violations(str(path), read_source(path))]
    assert not broken, "\n".join(broken)


@pytest.mark.parametrize(
    ("path", "source"),
    [
        ("cgoom/errors.py", "import cgoom.core.rank"),
        ("cgoom/model.py", "from cgoom import kernel"),
        ("cgoom/core/rank.py", "from cgoom.kernel.cgroup import Cgroup"),
        ("cgoom/core/rank.py", "from cgoom.policy.codec import decode_policy"),
        ("cgoom/policy/parse.py", "from cgoom.core.match import match"),
        ("cgoom/core/rank.py", "def f() -> None:\n    import os.path"),
        ("cgoom/core/rank.py", "from time import monotonic"),
        ("cgoom/core/rank.py", "import sys"),
        ("cgoom/policy/parse.py", "def f(name: str) -> str:\n    return open(name).read()"),
        ("cgoom/core/explain.py", "print('dead')"),
        ("cgoom/core/explain.py", "input()"),
        ("cgoom/core/explain.py", "eval('1')"),
        ("cgoom/kernel/psi.py", "from cgoom.policy.parse import parse_policy"),
        ("cgoom/kernel/psi.py", "from cgoom.observe.host import Host"),
        ("cgoom/observe/host.py", "from cgoom.act.kill import execute"),
        ("cgoom/record/codec.py", "import cgoom.place.direct"),
        ("cgoom/act/kill.py", "from cgoom.core.rank import rank"),
        ("cgoom/place/direct.py", "from cgoom.daemon.step import step"),
        ("cgoom/daemon/step.py", "from cgoom.cli.render import table"),
        ("cgoom/cli/ls.py", "from cgoom.daemon.step import step"),
        ("cgoom/__main__.py", "import cgoom.daemon.loop"),
        ("cgoom/__init__.py", "import cgoom.cli.main"),
        ("cgoom/core/rank.py", "from . import match"),
        ("cgoom/daemon/step.py", "import importlib\nimportlib.import_module('cgoom.cli.main')"),
        ("cgoom/daemon/step.py", "__import__('click')"),
        ("cgoom/daemon/step.py", "import click"),
        ("cgoom/cli/policy.py", "import yaml"),
        ("cgoom/policy/codec.py", "import yaml"),
        ("cgoom/act/kill.py", "import psutil"),
        ("cgoom/place/systemd.py", "import jeepney"),
        ("cgoom/kernel/memory_info.py", "from pyroute2 import NetlinkSocket"),
        ("cgoom/cli/ls.py", "import requests"),
    ],
)
def test_a_broken_rule_is_seen(path: str, source: str) -> None:
    assert len(violations(path, source)) == 1


@pytest.mark.parametrize(
    ("path", "source"),
    [
        ("cgoom/model.py", "import os\nfrom cgoom.errors import InputError"),
        ("cgoom/core/rank.py", "from cgoom.core.match import match\nimport dataclasses"),
        ("cgoom/policy/parse.py", "import yaml\nfrom cgoom.units import parse_size"),
        ("cgoom/kernel/psi.py", "import os\nfrom cgoom.kernel.fault import kernel_errors\nopen('/proc/meminfo')"),
        ("cgoom/observe/host.py", "import psutil\nfrom cgoom.kernel.meminfo import MemInfo"),
        ("cgoom/cli/module.py", "from pyroute2.netlink import genlmsg"),
        ("cgoom/daemon/step.py", "from cgoom.core.decide import decide\nfrom cgoom.act.kill import execute"),
        ("cgoom/cli/daemon.py", "import click\nfrom cgoom.daemon.loop import run"),
        ("cgoom/cli/main.py", "from cgoom import __version__\nprint(__version__)"),
        ("cgoom/__main__.py", "from cgoom.cli.main import main"),
    ],
)
def test_what_the_rules_allow_passes(path: str, source: str) -> None:
    assert violations(path, source) == []


def test_the_daemon_loads_no_face_and_no_parser() -> None:
    modules = [str(path).removesuffix(".py").replace("/", ".") for path in python_files("cgoom/daemon")]
    program = (
        f"import importlib, sys\nfor name in {[*modules, 'cgoom.policy.codec']!r}: importlib.import_module(name)\n"
        "print(*sorted({'click', 'yaml', 'jeepney', 'pyroute2', 'matplotlib', 'textual'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == []

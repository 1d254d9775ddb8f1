"""Documents speak of the program as it is, and no file speaks of how it was made."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from cgoom.daemon.preflight import OWN_MEMORY_MIN_BYTES
from tests.house.sources import ROOT, project_files, read_source
from tests.support.cli import run_cgoom

# How the project was made and where: none of it means anything to a reader. Written so that they miss themselves.
FOREIGN = (
    re.compile(r"/wor[k]/(?!cgoom\b)"),
    re.compile(r"\bissue[s]? #?[0-9]", re.IGNORECASE),
    re.compile(r"\bsession[s]? [0-9]", re.IGNORECASE),
    re.compile(r"/tmp/note[s]|/opt/pyp[i]"),
)
# Where the guest mounts the checkout; a path of the lab and of nothing else.
GUEST_MOUNT = re.compile(r"/wor[k]/cgoom\b")

_FENCE = re.compile(r"^```.*?^```", re.MULTILINE | re.DOTALL)
_SPAN = re.compile(r"`([^`\n]+)`")
_COMMAND = re.compile(r"^(?:\$ |# )?(?:sudo )?(?:\.venv/bin/)?cgoom ([a-z]+)((?: (?:check|show|schema|replay)\b)?)")


def foreign_words(path: Path, source: str) -> list[str]:
    """Every line that speaks of something outside the project."""
    patterns = FOREIGN if path.parts[0] == "vagrant" else (*FOREIGN, GUEST_MOUNT)
    return [
        f"{path}:{number}: {found.group()!r}"
        for number, line in enumerate(source.splitlines(), 1)
        for pattern in patterns
        if (found := pattern.search(line))
    ]


def commands_of(text: str) -> set[str]:
    """The `cgoom SUBCOMMAND`s of a Markdown text: at the start of a line of a code block or of a code span."""
    lines = [line.strip() for block in _FENCE.findall(text) for line in block.splitlines()]
    spans = _SPAN.findall(_FENCE.sub("", text))
    return {"".join(found.groups()) for part in (*lines, *spans) if (found := _COMMAND.match(part))}


def test_no_file_speaks_of_how_it_was_made() -> None:
    broken = [line for path in project_files() for line in foreign_words(path, read_source(path))]
    assert not broken, "\n".join(broken)


def test_every_command_of_the_readme_exists() -> None:
    commands = commands_of((ROOT / "README.md").read_text(encoding="utf-8"))
    assert "launch" in commands
    assert "daemon" in commands
    missing = [name for name in sorted(commands) if run_cgoom(*name.split(), "--help").returncode != 0]
    assert not missing, "the README shows commands that do not exist: " + ", ".join(missing)


def test_the_unit_asks_for_the_memory_that_the_daemon_asks_for() -> None:
    unit = (ROOT / "packaging/cgoom.service").read_text(encoding="utf-8")
    assert f"\nMemoryMin={OWN_MEMORY_MIN_BYTES >> 20}M\n" in unit


@pytest.mark.parametrize(
    "line",
    ["see /wor" + "k/shared", "done in issue" + " #3", "see issue" + " 12", "in session" + " 2", "/wor" + "k/cgoom"],
)
def test_a_foreign_word_is_seen(line: str) -> None:
    assert len(foreign_words(Path("cgoom/x.py"), f"fine\n{line}\n")) == 1


def test_the_guest_mount_belongs_to_the_lab() -> None:
    assert foreign_words(Path("vagrant/lab"), "mounted at /wor" + "k/cgoom") == []


def test_commands_are_read_from_code_only() -> None:
    text = "cgoom kills. Use `cgoom ls` or:\n\n```\n$ sudo cgoom policy check FILE\ncgoom: error\nby cgoom top\n```\n"
    assert commands_of(text) == {"ls", "policy check"}

"""A plain `cgoom launch` is read without click, and exactly as click reads it."""

from __future__ import annotations

import subprocess
import sys
from typing import Any

import click
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cgoom.cli.launch import launch
from cgoom.cli.start import OPTIONS, Options, read_plain
from cgoom.errors import CgoomError

WORDS = st.sampled_from(
    [
        *(option.spelled for option in OPTIONS),
        *(f"{option.spelled}={value}" for option in OPTIONS for value in ("", "1", "2G", "3s", "a", "-5", "a=b")),
        *("--", "-", "-x", "--help", "--exe", "--no-exec", "true", "1", "2G", "3s", "a/b", "", "--name=x=y"),
    ]
)


def read_with_click(words: list[str]) -> Options | None:
    """What click reads; None where it refuses or shows the help."""
    try:
        with launch.make_context("launch", list(words), resilient_parsing=False) as context:
            values: dict[str, Any] = context.params
            return Options(**values)
    except (click.ClickException, click.exceptions.Exit, CgoomError):
        return None


@given(st.lists(WORDS, max_size=6))
def test_what_is_read_plainly_is_what_click_reads(words: list[str]) -> None:
    plain = read_plain(words)
    if plain is not None:
        assert plain == read_with_click(words)


@pytest.mark.parametrize(
    ("words", "options"),
    [
        (["true"], Options(("true",))),
        (["--exec", "--", "true", "-x"], Options(("true", "-x"), replace=True)),
        (["--priority", "7", "--name=a", "--", "--"], Options(("--",), 7, "a")),
        (["--memory-max=1K", "--grace", "2s", "x"], Options(("x",), memory_max=1024, grace=2_000_000)),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_a_plain_line_is_read(words: list[str], options: Options) -> None:
    assert read_plain(words) == options == read_with_click(words)


@pytest.mark.parametrize(
    "words", [[], ["--"], ["--help"], ["--priority=x", "true"], ["--nmae=a", "true"], ["--exec=1", "true"], ["--name"]]
)
def test_help_and_mistakes_are_left_to_click(words: list[str]) -> None:
    assert read_plain(words) is None


def modules_of(program: str) -> set[str]:
    """What an interpreter without site-packages has loaded after `program`."""
    path = f"import sys; sys.path.append({str(sys.path[0])!r}); sys.path.append('.');"
    ended = subprocess.run(
        [sys.executable, "-I", "-S", "-c", f"{path}{program}; print(*sys.modules)"],
        capture_output=True,
        check=True,
        text=True,
    )
    return set(ended.stdout.split())


# What a launch cannot afford: 2 to 30 ms each, and together more memory than the waiting parent may have.
DEAR = {"click", "dataclasses", "typing", "enum", "re", "contextlib", "collections", "signal", "socket", "ctypes"}


@pytest.mark.parametrize("module", ["cgoom.cli.start", "cgoom.cli.wait", "cgoom.place.systemd"])
def test_a_launch_loads_nothing_dear(module: str) -> None:
    loaded = modules_of(f"import {module}")
    assert module in loaded
    assert not DEAR & loaded

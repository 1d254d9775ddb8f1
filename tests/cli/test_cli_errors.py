"""Every way to end: one line of error, one of hint, the documented exit status, never a traceback."""

from __future__ import annotations

import errno
import os
import subprocess
from collections.abc import Callable
from pathlib import Path

import click
import pytest

from cgoom.cli.errors import Report, render_report, report_of, run
from cgoom.errors import (
    CgoomError,
    ConflictError,
    GoneError,
    HostError,
    InputError,
    KernelError,
    NotPermittedError,
    PolicyError,
    RefusedError,
    UnknownWorkloadError,
)
from tests.support.cli import COMMAND, environment, run_cgoom


@pytest.fixture
def quiet(tmp_path: Path) -> dict[str, str]:
    """A layout where nothing is."""
    return {
        "CGOOM_SLICE": "clinothing.slice",
        "CGOOM_RUN_DIR": str(tmp_path / "run"),
        "CGOOM_STATE_DIR": str(tmp_path / "state"),
    }


def raising(error: BaseException) -> Callable[[], int]:
    """A command that ends with `error`."""

    def body() -> int:
        raise error

    return body


@pytest.mark.parametrize(
    ("error", "status"),
    [
        (CgoomError("x"), 1),
        (InputError("x"), 2),
        (PolicyError("x"), 3),
        (UnknownWorkloadError("x"), 4),
        (ConflictError("x"), 5),
        (NotPermittedError("x"), 6),
        (HostError("x"), 7),
        (RefusedError("x"), 8),
        (KernelError("x"), 9),
        (GoneError("x"), 9),
        (click.UsageError("X."), 2),
        (click.ClickException("x"), 1),
        (OSError(errno.ENOSPC, "No space left on device"), 9),
        (ValueError("x"), 70),
        (MemoryError(), 70),
        (KeyboardInterrupt(), 130),
        (click.Abort(), 130),
        (BrokenPipeError(), 141),
        (click.exceptions.Exit(5), 5),
    ],
)
def test_the_exit_status_of_every_end(error: BaseException, status: int) -> None:
    # In a child: a broken pipe redirects stdout for good.
    pid = os.fork()
    if pid == 0:
        os._exit(run(raising(error)))
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == status


def test_the_status_of_one_error_can_differ_from_its_class() -> None:
    error = InputError("x")
    error.status = 125
    assert report_of(error).status == 125


def test_an_internal_error_asks_for_a_report() -> None:
    report = report_of(ZeroDivisionError("division by zero"))
    assert report.message == "internal: ZeroDivisionError: division by zero"
    assert "CGOOM_DEBUG=1" in report.hint


def test_a_report_is_one_line_each_whatever_is_in_it() -> None:
    text = render_report(Report("a\nb\x1b[2J", "c\nd", 1))
    assert text.splitlines() == ["cgoom: error: a\\nb\\x1b[2J", "hint: c\\nd"]
    assert render_report(Report("a", "", 1)) == "cgoom: error: a"


@pytest.mark.parametrize(
    ("args", "status", "said"),
    [
        (["lunch"], 2, "did you mean `cgoom launch`?"),
        (["a\nb"], 2, "no such command: a\\nb"),
        ([b"\xff\xfe".decode("utf-8", "surrogateescape")], 2, "no such command: \\udcff\\udcfe"),
        ([], 2, "missing command"),
        (["--versoin"], 2, "did you mean --version?"),
        (["ls", "--jsn"], 2, "did you mean --json?"),
        (["ls", "extra"], 2, "unexpected extra argument"),
        (["priority", "x", "1001"], 2, "not a priority: 1001"),
        (["priority", "x", "many"], 2, "not a priority: 'many'"),
        (["priority", "x", "9" * 300], 2, "not a priority"),
        (["priority", "x"], 2, "missing argument"),
        (["priority", "a\nb", "5"], 4, "no workload is called a\\nb"),
        (["kill", "nobody"], 4, "`cgoom ls` lists them"),
        (["kill", "../../system.slice"], 4, "no workload is called ../../system.slice"),
        (["explain", "nobody"], 4, "no workload is called nobody"),
        (["history", "--limit", "0"], 2, "--limit"),
        (["history", "nothing"], 2, "no decision has the id nothing"),
        (["policy", "check", "/nowhere/policy.yaml"], 3, "/nowhere/policy.yaml: No such file"),
        (["policy", "check", "/dev/zero"], 3, "not a file"),
        (["policy", "check", "/"], 3, "not a file"),
        (["policy", "chekc", "x"], 2, "chekc"),
    ],
)
def test_a_mistake_is_one_line_and_a_hint(quiet: dict[str, str], args: list[str], status: int, said: str) -> None:
    done = run_cgoom(*args, env=quiet)
    assert done.returncode == status, done.stderr
    lines = done.stderr.splitlines()
    assert lines[0].startswith("cgoom: error: ")
    assert len(lines) == 2
    assert lines[1].startswith("hint: ")
    assert said in done.stderr
    assert done.stdout == ""


@pytest.mark.parametrize("name", ["CGOOM_SLICE", "CGOOM_RUN_DIR"])
def test_a_layout_that_cannot_be_is_refused(quiet: dict[str, str], name: str) -> None:
    done = run_cgoom("ls", env=quiet | {name: "a b"})
    assert done.returncode == 2
    assert name in done.stderr


def test_nothing_to_show_is_a_note_and_not_an_error(quiet: dict[str, str]) -> None:
    for command in ("ls", "explain", "history"):
        done = run_cgoom(command, env=quiet)
        assert (done.returncode, done.stdout) == (0, ""), done.stderr
        assert "cgoom: note: no " in done.stderr


def run_in_shell(command: str, env: dict[str, str]) -> subprocess.CompletedProcess[str]:
    """`command` in sh, where $CGOOM is the command under test."""
    full = environment(env | {"CGOOM": " ".join(COMMAND)})
    return subprocess.run(["sh", "-c", command], env=full, capture_output=True, text=True, check=False, timeout=60)


def test_a_reader_that_goes_away_ends_it_quietly(quiet: dict[str, str]) -> None:
    read_end, write_end = os.pipe()
    os.close(read_end)
    with os.fdopen(write_end, "wb") as broken:
        done = subprocess.run(
            [*COMMAND, "policy", "show"],
            env=environment(quiet),
            stdout=broken,
            stderr=subprocess.PIPE,
            check=False,
            timeout=60,
        )
    assert (done.returncode, done.stderr) == (141, b"")


def test_a_full_disk_behind_stdout_is_an_error(quiet: dict[str, str]) -> None:
    for command in ("$CGOOM policy show >/dev/full", "$CGOOM --help >/dev/full"):
        done = run_in_shell(command, quiet)
        assert done.returncode == 9, done.stderr
        assert done.stderr.splitlines()[0] == "cgoom: error: standard output: No space left on device"


def test_a_closed_stdout_is_an_error(quiet: dict[str, str]) -> None:
    done = run_in_shell("$CGOOM policy show >&-", quiet)
    assert done.returncode == 9
    assert "standard output is closed" in done.stderr


def test_a_closed_stderr_changes_no_status(quiet: dict[str, str]) -> None:
    assert run_in_shell("$CGOOM lunch 2>&-", quiet).returncode == 2
    assert run_in_shell("$CGOOM lunch 2>/dev/full", quiet).returncode == 2

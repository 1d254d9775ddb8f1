"""What is repeated and what counts as green: the scripts of `make test` with a lab that plays a part."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.house.sources import ROOT

PASSED = '<testcase classname="tests.vm.test_x" file="tests/vm/test_x.py" name="test_a"/>'
SKIPPED = '<testcase classname="tests.vm.test_x" file="tests/vm/test_x.py" name="test_s"><skipped/></testcase>'
FAILING = '<testcase classname="tests.vm.test_x.TestK" file="tests/vm/test_x.py" name="test_b[1]">{}</testcase>'
FAILED, RECOVERED = FAILING.format("<failure/>"), FAILING.format("")
FAILED_ID = "tests/vm/test_x.py::TestK::test_b[1]"

# Plays the lab: each call writes what the next part says to the JUnit file it was asked for, and ends with its status.
LAB = """
import re, sys
from pathlib import Path
here = Path(__file__).parent
call = len(list(here.glob("call*")))
(here / f"call{call}").write_text("\\n".join(sys.argv[1:]))
status, _, cases = (here / f"part{call}").read_text().partition(" ")
xml = next(argument for argument in sys.argv if argument.startswith("--junit-xml=/out/"))
if cases:
    out = Path("build/results") / xml.removeprefix("--junit-xml=/out/")
    out.write_text(f"<testsuites><testsuite>{cases}</testsuite></testsuites>")
sys.exit(int(status))
"""


def run_tally(directory: Path) -> tuple[int, list[str]]:
    """Exit status and lines of the tally of a directory."""
    command = [sys.executable, str(ROOT / ".ci/tally"), str(directory)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
    return done.returncode, done.stdout.splitlines()


class Stage:
    """A copy of the scripts beside a lab that plays `parts`, each `STATUS <testcase/>...`."""

    def __init__(self, top: Path, parts: list[str]) -> None:
        self.top = top
        shutil.copytree(ROOT / ".ci", top / ".ci")
        (top / "lab").write_text(LAB, encoding="utf-8")
        for number, part in enumerate(parts):
            (top / f"part{number}").write_text(part, encoding="utf-8")
        env = {"PATH": os.environ["PATH"], "PYTHON": sys.executable, "LAB": str(top / "lab")}
        self.ran = subprocess.run(
            [top / ".ci/vm-stage", "6.12", "512", "vm", "-k", "test_x"],
            env=env,
            capture_output=True,
            text=True,
            check=False,
            timeout=60,
        )
        (top / "build/results/vm.status").write_text(f"{self.ran.returncode}\n", encoding="ascii")

    def calls(self) -> list[list[str]]:
        """What the lab was asked for, call by call."""
        return [path.read_text(encoding="utf-8").splitlines() for path in sorted(self.top.glob("call*"))]

    def tally(self) -> list[str]:
        """What the tally says; its status must say the same."""
        status, lines = run_tally(self.top / "build/results")
        assert status == (" 0 failed" not in lines[-1])
        return lines


def test_a_stage_that_passes_runs_once(tmp_path: Path) -> None:
    stage = Stage(tmp_path, [f"0 {PASSED}{SKIPPED}"])
    assert stage.ran.returncode == 0
    assert stage.tally() == ["1 passed, 0 failed, 1 skipped"]
    (call,) = stage.calls()
    assert " ".join(call).startswith("test --kernel 6.12 --swap 512 --out build/results --timeout 1800 -- ")
    assert call[-3:] == ["--junit-xml=/out/vm.xml", "-k", "test_x"]


@pytest.mark.parametrize("status", [97, 137])
def test_a_lost_guest_is_replaced_once(tmp_path: Path, status: int) -> None:
    stage = Stage(tmp_path, [str(status), f"0 {PASSED}"])
    assert stage.ran.returncode == 0
    assert "the guest was lost" in stage.ran.stderr
    assert stage.tally() == ["1 passed, 0 failed, 0 skipped"]


def test_a_guest_that_is_lost_twice_fails_the_stage(tmp_path: Path) -> None:
    stage = Stage(tmp_path, ["97", "97"])
    assert stage.ran.returncode == 97
    assert stage.tally()[-1] == "0 passed, 1 failed, 0 skipped"


def test_a_failed_test_that_then_passes_is_said_aloud(tmp_path: Path) -> None:
    stage = Stage(tmp_path, [f"1 {PASSED}{FAILED}", f"0 {RECOVERED}"])
    assert stage.ran.returncode == 0
    assert stage.calls()[1][-2:] == ["--junit-xml=/out/vm.again.xml", FAILED_ID]
    assert f"UNSTABLE: {FAILED_ID} failed, then passed in a fresh guest" in stage.ran.stdout
    unstable, count = stage.tally()
    assert unstable == f"UNSTABLE: 1 passed only in a second guest: vm {FAILED_ID}"
    assert count == "2 passed, 0 failed, 0 skipped"


def test_a_test_that_fails_twice_fails_the_stage(tmp_path: Path) -> None:
    stage = Stage(tmp_path, [f"1 {PASSED}{FAILED}", f"1 {FAILED}"])
    assert stage.ran.returncode == 1
    assert stage.tally() == [f"failed: vm {FAILED_ID}", "1 passed, 1 failed, 0 skipped"]


@pytest.mark.parametrize("status", [2, 96, 98, 130])
def test_nothing_else_is_repeated(tmp_path: Path, status: int) -> None:
    stage = Stage(tmp_path, [f"{status} {PASSED}"])
    assert stage.ran.returncode == status
    assert len(stage.calls()) == 1
    assert stage.tally()[-1] == "1 passed, 1 failed, 0 skipped"


def test_nothing_at_all_is_not_green(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    for directory in (tmp_path / "empty", tmp_path / "missing"):
        status, lines = run_tally(directory)
        assert status == 1
        assert lines[-1] == "0 passed, 1 failed, 0 skipped"


def test_a_file_that_is_cut_off_is_a_failure(tmp_path: Path) -> None:
    (tmp_path / "unit.xml").write_text(f"<testsuites>{PASSED}", encoding="ascii")
    status, lines = run_tally(tmp_path)
    assert status == 1
    assert lines[-1] == "0 passed, 1 failed, 0 skipped"

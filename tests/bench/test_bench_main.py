"""What is measured, what is there already, and what is written; no guest is started."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from bench import __main__ as driver
from bench.contestants import CONTESTANTS

RUN: dict[str, Any] = {
    "kind": "run",
    "scenario": "original",
    "contestant": "cgoom-best",
    "first": "low",
    "by": "daemon",
}
RUN |= {"order": ["low"], "kill_share": 0.1, "kill_ms": 10.0}
VERSIONS: dict[str, Any] = {"kind": "versions", "kernel": "6.1", "cgoom": "cgoom 0"}


@pytest.fixture(autouse=True)
def directories(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Raw lines and results of the test alone; a lab that must not be called."""
    monkeypatch.setattr(driver, "RAW", tmp_path / "raw")
    monkeypatch.setattr(driver, "RESULTS", tmp_path / "results")
    monkeypatch.setattr(driver, "describe_revision", lambda: "0f")
    monkeypatch.setattr(driver, "VAGRANT", tmp_path / "nowhere")
    (tmp_path / "raw").mkdir()
    return tmp_path


def leave_result(raw: Path, name: str, key: str, *lines: dict[str, Any], of: str = "0f") -> None:
    """What a finished part leaves."""
    (raw / f"{name}.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines), encoding="utf-8")
    driver.keep_part(name, key, of)


def test_what_is_there_is_not_measured_again_and_becomes_table_and_plot(directories: Path) -> None:
    arguments = ["--runs", "1", "--contestants", "cgoom-best", "--", "original"]
    key = driver.read_key(driver.parse_options(arguments))
    leave_result(directories / "raw", "original", key, VERSIONS, RUN)
    assert driver.main(arguments) == 0
    page = (directories / "results" / "results.md").read_text(encoding="utf-8")
    assert "| original | cgoom-best | 1/1 | daemon 1 |" in page
    assert "    python -m bench --kernel 6.1 --runs 1 --idle 30 --contestants cgoom-best -- original  # 0f\n" in page
    assert driver.read_part("original")[1:] == [VERSIONS, RUN]


def test_a_broken_run_is_remembered(directories: Path) -> None:
    options = driver.parse_options(["--runs", "1", "original"])
    key = driver.read_key(options)
    leave_result(directories / "raw", "original", key, VERSIONS, {"kind": "broken"})
    assert driver.ensure_part("original", key, "0f", options) == 1


def test_other_sources_are_another_result() -> None:
    quick, more = driver.parse_options(["original"]), driver.parse_options(["--runs", "7", "original"])
    assert driver.read_key(quick) == driver.read_key(driver.parse_options(["original"]))
    assert driver.read_key(quick) != driver.read_key(more)


def test_a_result_of_other_sources_stays_and_says_so(directories: Path) -> None:
    arguments = ["--runs", "1", "--", "original"]
    key = driver.read_key(driver.parse_options(arguments))
    leave_result(directories / "raw", "original", key, VERSIONS, RUN)
    leave_result(directories / "raw", "fast", f"{'0' * 16} --runs 2", VERSIONS, RUN | {"scenario": "fast"}, of="0e")
    assert driver.main(arguments) == 0
    page = (directories / "results" / "results.md").read_text(encoding="utf-8")
    assert "| fast |" in page
    assert "    python -m bench --runs 2 -- fast  # 0e\n" in page


def test_full_is_everything() -> None:
    options = driver.parse_options(["--full"])
    assert set(options.parts) == set(driver.PARTS)
    assert set(options.contestants) == set(CONTESTANTS)
    assert options.runs >= 10


def test_an_unknown_part_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        driver.parse_options(["orginal"])
    assert "no such part: orginal" in capsys.readouterr().err

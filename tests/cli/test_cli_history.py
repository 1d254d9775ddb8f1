"""Past decisions: the table, the whole record, the JSON, and a history that is damaged."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given

from cgoom.cli.history import render_history, render_record
from cgoom.model import Record
from cgoom.record.history import History
from tests.record.examples import USUAL, make_record, records
from tests.support.cli import run_cgoom


@pytest.fixture
def env(tmp_path: Path) -> dict[str, str]:
    """A state directory with three decisions."""
    history = History(str(tmp_path / "state"))
    for number in (1, 2, 3):
        history.append(make_record(number * 1_000_000))
    return {"CGOOM_STATE_DIR": str(tmp_path / "state"), "CGOOM_RUN_DIR": str(tmp_path / "run")}


def test_the_newest_is_last(env: dict[str, str]) -> None:
    done = run_cgoom("history", env=env)
    assert done.returncode == 0, done.stderr
    header, *rows = done.stdout.splitlines()
    assert header.split() == ["ID", "TIME", "KIND", "VICTIM", "PRIORITY", "USAGE", "OUTCOME", "TOOK", "WHY"]
    assert [row.split()[0] for row in rows] == [make_record(number * 1_000_000).record_id for number in (1, 2, 3)]


def test_the_limit_keeps_the_newest(env: dict[str, str]) -> None:
    document = json.loads(run_cgoom("history", "--limit", "1", "--json", env=env).stdout)
    assert set(document) == {"records", "broken_lines"}
    assert [record["id"] for record in document["records"]] == [make_record(3_000_000).record_id]


def test_one_decision_with_everything_known(env: dict[str, str]) -> None:
    done = run_cgoom("history", make_record(1_000_000).record_id, env=env)
    assert done.returncode == 0, done.stderr
    for said in (USUAL.why.shortage, USUAL.why.choice, "depopulated", "+9.1ms", "12 processes", "and 1 more"):
        assert said in done.stdout


def test_broken_lines_are_counted_aloud(env: dict[str, str]) -> None:
    with (Path(env["CGOOM_STATE_DIR"]) / "history.jsonl").open("a", encoding="ascii") as file:
        file.write('{"v":1,"id":"torn\n')
    done = run_cgoom("history", env=env)
    assert done.returncode == 0
    assert done.stderr == "cgoom: note: 1 line of the history cannot be read\n"
    assert len(done.stdout.splitlines()) == 4


def test_why_of_a_manual_kill_is_the_choice() -> None:
    manual = replace(USUAL, why=replace(USUAL.why, shortage="", choice="uid 0 asked for it"))
    assert render_history([manual]).endswith("uid 0 asked for it")


@given(records)
def test_no_record_can_break_the_table(record: Record) -> None:
    header, row = render_history([record]).split("\n")
    assert "ID" in header
    assert row.isprintable()
    assert all(
        line.replace("\x1b[1m", "").replace("\x1b[0m", "").isprintable() for line in render_record(record).split("\n")
    )

"""What one daemon leaves for the next: whole or not at all, and only within one boot."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cgoom.errors import FormatError
from cgoom.kernel.score import OwnScore, Scores
from cgoom.record.standby import FILE_NAME, Memo, Raised, decode_memo, read_memo, read_source, write_memo
from tests.record.examples import USUAL

BOOT = "0f0f"
MEMO = Memo(
    boot_id=BOOT,
    pid=77,
    source="module",
    told_ns=2**63,
    order=(USUAL.victim, replace(USUAL.victim, name="caf\udce9")),
    raised=Raised(USUAL.victim, Scores(-999, (OwnScore(1, 2, 1000), OwnScore(3, 4, -5)))),
)


@pytest.mark.parametrize("memo", [MEMO, Memo(BOOT)])
def test_it_is_read_as_it_was_written(tmp_path: Path, memo: Memo) -> None:
    write_memo(str(tmp_path), MEMO)
    write_memo(str(tmp_path), memo)
    assert read_memo(str(tmp_path), BOOT) == memo
    assert [path.name for path in tmp_path.iterdir()] == [FILE_NAME]


def test_another_boot_has_nothing_of_it(tmp_path: Path) -> None:
    assert read_memo(str(tmp_path), BOOT) == Memo(BOOT)
    write_memo(str(tmp_path), MEMO)
    assert read_memo(str(tmp_path), "other") == Memo("other")


def test_the_source_is_that_of_the_daemon_that_runs(tmp_path: Path) -> None:
    assert read_source(str(tmp_path), 77) == ""
    write_memo(str(tmp_path), MEMO)
    assert (read_source(str(tmp_path), 77), read_source(str(tmp_path), 78)) == ("module", "")


@pytest.mark.parametrize(
    ("key", "value"),
    [("v", 2), ("pid", -1), ("order", None), ("told_ns", "1"), ("raised", 5), ("raised", {}), ("order", [{}])],
)
def test_a_wrong_value_is_an_error(tmp_path: Path, key: str, value: object) -> None:
    write_memo(str(tmp_path), MEMO)
    document = json.loads((tmp_path / FILE_NAME).read_text(encoding="ascii")) | {key: value}
    with pytest.raises(FormatError):
        decode_memo(json.dumps(document).encode("ascii"))


def test_a_score_out_of_range_is_an_error(tmp_path: Path) -> None:
    write_memo(str(tmp_path), MEMO)
    text = (tmp_path / FILE_NAME).read_text(encoding="ascii")
    with pytest.raises(FormatError):
        decode_memo(text.replace('"score":995', '"score":2001').encode("ascii"))


@given(st.binary(max_size=100))
def test_garbage_is_one_error(text: bytes) -> None:
    with pytest.raises(FormatError):
        decode_memo(text)

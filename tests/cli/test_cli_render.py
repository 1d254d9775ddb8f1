"""Tables: aligned, escaped, one line per row whatever a name contains."""

from __future__ import annotations

import json
import os
import re

from hypothesis import given
from hypothesis import strategies as st

from cgoom.cli.render import (
    Row,
    Style,
    pct,
    render_json,
    render_pairs,
    render_size_or_dash,
    render_table,
    render_when,
)

hostile = st.binary(max_size=20).map(os.fsdecode) | st.text(max_size=20)


def test_columns_are_aligned_and_numbers_stand_right() -> None:
    rows = [Row(("batch", "100")), Row(("a-long-name", "5"))]
    lines = render_table(("NAME", "N"), rows, frozenset({"N"})).splitlines()
    assert lines == ["\x1b[1mNAME           N\x1b[0m", "batch        100", "a-long-name    5"]


def test_bold_and_dim_are_all_the_styles_there_are() -> None:
    assert {style.value for style in Style} == {"", "\x1b[1m", "\x1b[2m"}
    assert render_table(("", ""), [Row(("a", "b"), Style.DIM)]) == "\x1b[2ma  b\x1b[0m"


@given(st.lists(st.tuples(hostile, hostile), max_size=5))
def test_a_cell_can_forge_neither_a_line_nor_a_terminal_sequence(cells: list[tuple[str, str]]) -> None:
    text = render_table(("A", "B"), [Row(pair) for pair in cells])
    lines = text.split("\n")
    assert len(lines) == len(cells) + 1
    assert all(line.isprintable() for line in lines[1:])


def test_control_characters_are_shown() -> None:
    assert render_pairs([("name", "a\nb\x1b[31m\u202e")]) == "name  a\\nb\\x1b[31m\\u202e"


@given(hostile)
def test_json_is_ascii_and_keeps_undecodable_bytes(name: str) -> None:
    text = render_json({"name": name})
    assert text.isascii()
    assert json.loads(text)["name"] == name


def test_time_is_a_date_even_of_a_broken_clock() -> None:
    assert re.fullmatch(r"2026-0\d-\d\d \d\d:\d\d:\d\d", render_when(1_790_000_000_000_000))
    assert render_when(2**64 - 1) == "18446744073709551615us"


def test_what_the_kernel_did_not_say_is_a_dash() -> None:
    assert render_size_or_dash(None) == "-"
    assert render_size_or_dash(0) == "0B"
    assert pct(1, 4) == 25.0
    assert pct(0, 0) == 0.0

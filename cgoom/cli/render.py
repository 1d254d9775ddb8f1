"""Text for people: escaped, aligned, bold and dim at most. Pure: values in, text out.

Bold and dim are ANSI sequences; `click.echo` removes them where stdout is not a terminal.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from datetime import datetime
from enum import Enum
from typing import NamedTuple

from cgoom.record.text import escape_text
from cgoom.units import USEC_PER_SEC, render_size


class Style(Enum):
    """How a row stands out; never by colour alone, never by colour at all."""

    PLAIN = ""
    BOLD = "\x1b[1m"
    DIM = "\x1b[2m"


class Row(NamedTuple):
    """One line of a table."""

    cells: Sequence[str]
    style: Style = Style.PLAIN


def render_table(header: Sequence[str], rows: Iterable[Row], right: frozenset[str] = frozenset()) -> str:
    """Aligned columns under a bold header (none when `header` is all empty); `right` names the columns of numbers.

    Every cell is escaped here, so that no caller can forget it.
    """
    lines = [Row([escape_text(cell) for cell in row.cells], row.style) for row in rows]
    if any(header):
        lines.insert(0, Row(header, Style.BOLD))
    widths = [max((len(line.cells[column]) for line in lines), default=0) for column in range(len(header))]
    return "\n".join(_render_line(line, header, widths, right) for line in lines)


def _render_line(line: Row, header: Sequence[str], widths: list[int], right: frozenset[str]) -> str:
    cells = [
        cell.rjust(width) if title in right else cell.ljust(width)
        for cell, title, width in zip(line.cells, header, widths, strict=True)
    ]
    text = "  ".join(cells).rstrip()
    return text if line.style == Style.PLAIN else f"{line.style.value}{text}\x1b[0m"


def render_pairs(pairs: Iterable[tuple[str, str]]) -> str:
    """Aligned lines of a word and what it is."""
    return render_table(("", ""), (Row(pair) for pair in pairs))


def render_json(document: object) -> str:
    """One JSON document; ASCII, so that undecodable bytes of a name survive as escapes."""
    return json.dumps(document, indent=2)


def render_json_line(document: object) -> str:
    """One JSON document on one line, for a stream of them."""
    return json.dumps(document)


def render_when(time_usec: int) -> str:
    """CLOCK_REALTIME microseconds as local time: `2026-11-25 20:10:11`."""
    try:
        return datetime.fromtimestamp(time_usec / USEC_PER_SEC).astimezone().strftime("%Y-%m-%d %H:%M:%S")
    except (OverflowError, ValueError, OSError):  # a year that no calendar has: a record from a broken clock
        return f"{time_usec}us"


def render_size_or_dash(size_bytes: int | None) -> str:
    """A size, or `-` where the kernel did not say."""
    return "-" if size_bytes is None else render_size(size_bytes)


def pct(part: int, whole: int) -> float:
    """What percentage `part` is of `whole`; 0 when there is no whole."""
    return 100 * part / whole if whole else 0.0

"""/dev/kmsg."""

from __future__ import annotations

import pytest

from cgoom.errors import FormatError
from cgoom.kernel.kmsg import LogLine, parse_kmsg


def test_a_record_is_a_time_and_a_text() -> None:
    record = b"6,1234,5678901,-;memory_info: level 1: memory 9.8% available, no swap\n"
    assert parse_kmsg(record) == LogLine(5678901, "memory_info: level 1: memory 9.8% available, no swap")


@pytest.mark.parametrize(
    ("record", "line"),
    [
        (b"6,1,2,-;text\n SUBSYSTEM=pci\n DEVICE=+pci:0000:00:00.0\n", LogLine(2, "text")),
        (b"6,1,2,c,caller=T1;a; b, c\n", LogLine(2, "a; b, c")),
        (b"6,1,0,-;\n", LogLine(0, "")),
        (b"6,1,2,-;without an end", LogLine(2, "without an end")),
        (b"6,1,2,-;\\x1b[31m \xff\n", LogLine(2, "\\x1b[31m \\xff")),
    ],
)
def test_keys_fields_and_bytes(record: bytes, line: LogLine) -> None:
    assert parse_kmsg(record) == line


@pytest.mark.parametrize("record", [b"", b"text", b"6,1,2;text", b"6,1,x,-;text", b"6,1,-2,-;text", b"6,1,,-;text"])
def test_anything_else_is_an_error(record: bytes) -> None:
    with pytest.raises(FormatError, match="/dev/kmsg: unexpected line"):
        parse_kmsg(record)

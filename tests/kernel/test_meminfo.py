"""/proc/meminfo."""

from __future__ import annotations

import os
import re
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cgoom.errors import FormatError, GoneError
from cgoom.kernel.meminfo import MemInfo, parse_meminfo
from cgoom.model import HostMemory

VALID = b"""\
MemTotal:       32495256 kB
MemFree:         9880512 kB
MemAvailable:   21777088 kB
Buffers:            5968 kB
SwapCached:          616 kB
SwapTotal:       8388604 kB
SwapFree:           7604 kB
HugePages_Total:       0
"""


def test_b17_valid() -> None:
    memory = parse_meminfo(VALID)
    assert memory == HostMemory(32495256 * 1024, 21777088 * 1024, 8388604 * 1024, 7604 * 1024)
    assert memory.swap_total_bytes - memory.swap_free_bytes == 8582144000


def test_order_and_the_last_newline_do_not_matter() -> None:
    lines = VALID.splitlines()
    assert parse_meminfo(b"\n".join(reversed(lines))) == parse_meminfo(VALID)


def test_no_swap() -> None:
    assert parse_meminfo(b"MemTotal: 4 kB\nMemAvailable: 2 kB\n") == HostMemory(4096, 2048, 0, 0)
    assert parse_meminfo(b"MemTotal: 4 kB\nMemAvailable: 2 kB\nSwapTotal: 0 kB\nSwapFree: 0 kB\n").swap_total_bytes == 0


@pytest.mark.parametrize(
    "text",
    [
        b"",
        b"some\nwords\nacross\nmultiple\nlines",
        VALID.replace(b"kB\n", b"kB trailing\n"),
        VALID.replace(b"MemAvailable:   21777088 kB\n", b""),
        VALID.replace(b"MemTotal:", b"MemTotals:"),
        VALID.replace(b"21777088 kB", b"21777088"),
        VALID.replace(b"21777088 kB", b"21777088 MB"),
        VALID.replace(b"21777088", b"-1"),
        VALID.replace(b"7604 kB", b"0x7604 kB"),
        VALID.replace(b"MemTotal:", b"xMemTotal:"),
    ],
)
def test_b17_invalid(text: bytes) -> None:
    with pytest.raises(FormatError, match="/proc/meminfo: "):
        parse_meminfo(text)


@given(st.binary() | st.binary().map(lambda noise: VALID[:90] + noise + VALID[90:]))
def test_one_error(text: bytes) -> None:
    try:
        memory = parse_meminfo(text)
    except FormatError:
        return
    assert memory.total_bytes % 1024 == 0


def test_the_real_one_again_and_again() -> None:
    with open("/proc/meminfo", encoding="ascii") as real:
        (total,) = re.findall(r"MemTotal: *([0-9]+) kB", real.read())
    meminfo = MemInfo()
    try:
        for _ in range(3):
            memory = meminfo.read()
            assert memory.total_bytes == int(total) * 1024
            assert 0 < memory.available_bytes <= memory.total_bytes
            assert memory.swap_free_bytes <= memory.swap_total_bytes
    finally:
        meminfo.close()
        meminfo.close()


def test_each_read_is_a_new_look(tmp_path: Path) -> None:
    path = tmp_path / "meminfo"
    path.write_bytes(VALID)
    before = len(os.listdir("/proc/self/fd"))
    meminfo = MemInfo(str(path))
    assert meminfo.read().available_bytes == 21777088 * 1024
    path.write_bytes(VALID.replace(b"21777088", b"11777088"))
    assert meminfo.read().available_bytes == 11777088 * 1024
    meminfo.close()
    assert len(os.listdir("/proc/self/fd")) == before


def test_no_proc(tmp_path: Path) -> None:
    with pytest.raises(GoneError):
        MemInfo(str(tmp_path / "absent"))

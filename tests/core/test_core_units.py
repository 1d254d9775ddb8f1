"""Sizes, times and percentages: exact where they can be, refused where they are not one."""

from __future__ import annotations

import re
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cgoom.errors import InputError
from cgoom.units import (
    SIZE_LIMIT_BYTES,
    parse_percent,
    parse_size,
    parse_time,
    render_size,
    render_time,
)

from .examples import FEW

SHIFTS = {"": 0, "K": 10, "M": 20, "G": 30, "T": 40}
TIMES = {"us": 1, "ms": 1_000, "s": 1_000_000, "m": 60_000_000, "min": 60_000_000, "h": 3_600_000_000}
# What an operator or an attacker types: near misses, other scripts' digits, controls, lone surrogates.
HOSTILE = st.one_of(
    st.text(max_size=40),
    st.text(alphabet="0123456789.,+-_eEKMGTPiBbusmh% \t\n\x00\u0663\uff15\udc80", max_size=12),
)


@pytest.mark.parametrize(
    ("text", "size_bytes"),
    [
        ("0", 0),
        ("4096", 4096),
        ("8K", 8192),
        ("1.5M", 1_572_864),
        ("512m", 512 << 20),
        ("2 GiB", 2 << 30),
        ("2GB", 2 << 30),
        ("1T", 1 << 40),
        (" 7k\n", 7168),
        (str(SIZE_LIMIT_BYTES), SIZE_LIMIT_BYTES),
    ],
)
def test_sizes(text: str, size_bytes: int) -> None:
    assert parse_size(text) == size_bytes


@pytest.mark.parametrize("text", ["1.5MK", "??", "+-123M"])
def test_b16_what_is_not_a_size_is_refused(text: str) -> None:
    with pytest.raises(InputError) as raised:
        parse_size(text)
    assert repr(text) in raised.value.message
    assert raised.value.hint


@pytest.mark.parametrize(
    "text",
    [
        "",
        "M",
        "-1",
        "+1",
        "1,5M",
        "1e3",
        "0x10",
        "1_000",
        ".5M",
        "5.M",
        "1P",
        "5%",
        "\u0663",
        "1M\x00",
        "1 2",
        str(2**63),
    ],
)
def test_other_things_that_are_not_a_size(text: str) -> None:
    with pytest.raises(InputError):
        parse_size(text)


def test_a_size_beyond_what_the_kernel_counts_is_refused() -> None:
    assert parse_size("8388607.999999999T") < SIZE_LIMIT_BYTES
    with pytest.raises(InputError, match="too large"):
        parse_size("8388608T")


@FEW
@given(
    st.integers(0, 4_000_000),
    st.one_of(st.just(""), st.from_regex(r"\.[0-9]{1,9}", fullmatch=True)),
    st.sampled_from(sorted(SHIFTS)),
)
def test_a_size_is_exact_to_the_byte(whole: int, fraction: str, suffix: str) -> None:
    exact = Fraction(f"{whole}{fraction}") * (1 << SHIFTS[suffix])
    assert parse_size(f"{whole}{fraction}{suffix}") == int(exact)


@pytest.mark.parametrize(
    ("text", "usec"),
    [
        ("0s", 0),
        ("7us", 7),
        ("500ms", 500_000),
        ("10s", 10_000_000),
        ("2min", 120_000_000),
        ("2m", 120_000_000),
        ("1h", 3_600_000_000),
        ("0.25s", 250_000),
        (" 3 s ", 3_000_000),
    ],
)
def test_times(text: str, usec: int) -> None:
    assert parse_time(text) == usec


@pytest.mark.parametrize(
    "text", ["", "5", "s", "-1s", "1,5s", "1S", "1e3s", "1d", "1s 2", "\u0663s", "1s\x00", "9" * 13 + "s"]
)
def test_what_is_not_a_time(text: str) -> None:
    with pytest.raises(InputError) as raised:
        parse_time(text)
    assert repr(text) in raised.value.message
    assert raised.value.hint


@FEW
@given(st.integers(0, 10**9), st.sampled_from(sorted(TIMES)))
def test_a_whole_time_is_exact(count: int, unit: str) -> None:
    assert parse_time(f"{count}{unit}") == count * TIMES[unit]


@pytest.mark.parametrize(("text", "value"), [("0%", 0), ("5%", 5), ("3.14%", 3.14), ("100 %", 100), ("100.0%", 100)])
def test_percentages(text: str, value: float) -> None:
    assert parse_percent(text) == value


@pytest.mark.parametrize("text", ["", "%", "5", "-10%", "101%", "100.1%", "999%", "2147483648%", "5%%", "1e1%", "nan%"])
def test_what_is_not_a_percentage(text: str) -> None:
    with pytest.raises(InputError) as raised:
        parse_percent(text)
    assert repr(text) in raised.value.message


@FEW
@given(HOSTILE)
def test_hostile_text_is_read_or_refused_and_nothing_else(text: str) -> None:
    for parse, limit in ((parse_size, SIZE_LIMIT_BYTES), (parse_time, 10**12 * TIMES["h"]), (parse_percent, 100)):
        try:
            found = parse(text)
        except InputError:
            continue
        assert 0 <= found <= limit
        assert text.strip()[0] in "0123456789"


@pytest.mark.parametrize(
    ("size_bytes", "text"),
    [
        (0, "0B"),
        (999, "999B"),
        (812 << 10, "812K"),
        (int(96.3 * 2**20), "96.3M"),
        (3 << 29, "1.5G"),
        (250 << 30, "250G"),
    ],
)
def test_rendered_sizes(size_bytes: int, text: str) -> None:
    assert render_size(size_bytes) == text


@FEW
@given(st.integers(0, 900 << 40))
def test_a_rendered_size_is_short_and_reads_back_to_its_last_digit(size_bytes: int) -> None:
    text = render_size(size_bytes)
    shown = re.fullmatch(r"([0-9]+)(?:\.([0-9]))?([BKMGT])", text)
    assert shown is not None
    assert sum(character.isdigit() for character in text) <= 4
    unit = 1 << SHIFTS[shown.group(3).replace("B", "")]
    last_digit = Fraction(unit, 10 if shown.group(2) else 1)
    assert abs(parse_size(text) - size_bytes) <= last_digit / 2 + 1


@pytest.mark.parametrize(
    ("usec", "text"),
    [(0, "0us"), (850, "850us"), (12_300, "12.3ms"), (4_050_000, "4.05s"), (200_000_000, "3min20s")],
)
def test_rendered_times(usec: int, text: str) -> None:
    assert render_time(usec) == text


@FEW
@given(st.one_of(st.integers(0, 10**6), st.integers(0, 60_000_000 - 1)))
def test_a_rendered_time_below_a_minute_reads_back(usec: int) -> None:
    step = 1 if usec < 1_000 else 100 if usec < 1_000_000 else 10_000
    assert abs(parse_time(render_time(usec)) - usec) <= step / 2


@FEW
@given(st.integers(60_000_000, 10**12))
def test_a_rendered_time_from_a_minute_on_counts_whole_seconds(usec: int) -> None:
    shown = re.fullmatch(r"([0-9]+)min([0-9]{1,2})s", render_time(usec))
    assert shown is not None
    assert int(shown.group(2)) < 60
    assert int(shown.group(1)) * 60 + int(shown.group(2)) == usec // 1_000_000

"""Pressure files in the shapes that kernels have had."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cgoom.errors import FormatError, GoneError
from cgoom.kernel.psi import Pressure, PressureLine, parse_pressure, read_pressure

UPSTREAM = """\
some avg10=1.11 avg60=2.22 avg300=3.33 total=1234
full avg10=4.44 avg60=5.55 avg300=6.66 total=18446744073709551615
"""
EXPERIMENTAL = "aggr 316016073\nsome 0.00 0.03 0.05\nfull 0.00 0.03 0.05\n"


def test_b14_upstream() -> None:
    assert parse_pressure(UPSTREAM) == Pressure(
        PressureLine(1.11, 2.22, 3.33, 1234), PressureLine(4.44, 5.55, 6.66, 2**64 - 1)
    )


def test_no_full_line() -> None:
    assert parse_pressure(UPSTREAM.splitlines()[0]).full is None


@pytest.mark.parametrize(
    "text",
    [
        "",
        EXPERIMENTAL,
        UPSTREAM + "debug 1 2 3\n",
        UPSTREAM.splitlines()[1],
        UPSTREAM + UPSTREAM,
        UPSTREAM.replace("4.44", "-4.44"),
        UPSTREAM.replace("4.44", "nan"),
        UPSTREAM.replace("total=1234", "total="),
        UPSTREAM.replace("avg60=", "avg61="),
        UPSTREAM.replace("1.11", "\u0661.11"),
    ],
)
def test_b14_other_shapes_are_an_error(text: str) -> None:
    with pytest.raises(FormatError, match=r"^m: unexpected line"):
        parse_pressure(text, "m")


@given(st.text())
def test_one_error(text: str) -> None:
    with pytest.raises(FormatError):
        parse_pressure(text)


def test_no_such_file() -> None:
    with pytest.raises(GoneError):
        read_pressure("/proc/pressure/absent")

"""Cases of the peers' own tests that concern a policy: thresholds (B1, B2: earlyoom) and sizes (B16: oomd)."""

from __future__ import annotations

import pytest

from cgoom.model import Amount
from cgoom.policy.parse import parse_policy
from tests.policy.refusal import refuse

_UNIT = "write a part of the total, such as 5%, or a size, such as 500M"
_RANGE = "write a number from 0% to 100%"


def _document(amount: str) -> str:
    return f"host:\n  warn:\n    mem_available: {amount}\n  kill: {{mem_available: 1B}}\n"


def _refuse(amount: str, what: str, hint: str) -> None:
    error = refuse(_document(amount))
    assert error.message == f"p.yaml:3:20: host.warn.mem_available: {what}"
    assert error.hint == hint


@pytest.mark.parametrize("value", ["2,1", "5,9", "0,0", "22[,20]", "4,0,2,0", "1x,2x"])
def test_b1_a_tuple_is_not_an_amount(value: str) -> None:
    _refuse(f"'{value}'", f"not a size: '{value}'", _UNIT)


@pytest.mark.parametrize("value", ["30", "0", "2147483648", "4294967296", "9999999999999999", "3.14"])
def test_b1_b2_a_bare_number_has_no_unit(value: str) -> None:
    _refuse(value, f"'{value}' has no unit", _UNIT)
    _refuse(f'"{value}"', f"'{value}' has no unit", _UNIT)


def test_b1_a_fraction_of_300_digits() -> None:
    fraction = "1." + "3" * 300
    _refuse(f"{fraction}%", f"not an amount: '{fraction[:80]}...'", _UNIT)


@pytest.mark.parametrize(
    "value", ["-10%", "101%", "100.000001%", "2147483648%", "4294967296%", "9999999999999999%", "nan%", "1e1%", "+5%"]
)
def test_b2_thresholds_out_of_range(value: str) -> None:
    _refuse(value, f"not a percentage: '{value}'", _RANGE)


@pytest.mark.parametrize("value", ["0%", "0.0%", "0M", "0B"])
def test_b2_a_threshold_of_nothing_is_never_reached(value: str) -> None:
    _refuse(value, f"'{value}' is never reached", "write more than 0")


@pytest.mark.parametrize(("value", "pct"), [("3.14%", 3.14), ("100%", 100), ("0.000001%", 0.000001), ("007%", 7)])
def test_b2_thresholds_in_range(value: str, pct: float) -> None:
    policy = parse_policy(_document(value).encode(), "p.yaml")
    assert policy.host.warn.mem_available == Amount(pct, True)


def test_b2_an_unknown_extra_argument() -> None:
    error = refuse("host: {warn: {mem_available: 10%, extra: 1}}")
    assert error.message == "p.yaml:1:35: host.warn: unknown key 'extra'"
    assert error.hint == "use mem_available, swap_free"


@pytest.mark.parametrize(
    ("value", "size_bytes"),
    [("8K", 8192), ("1.5M", 1572864), ("32K", 32768), ("512B", 512), ("2GiB", 2 << 30), ("1t", 1 << 40)],
)
def test_b16_sizes(value: str, size_bytes: int) -> None:
    policy = parse_policy(_document(value).encode(), "p.yaml")
    assert policy.host.warn.mem_available == Amount(size_bytes, False)


# oomd adds the parts of "1.5M 32K 512" up; here one amount is one number.
@pytest.mark.parametrize("value", ["1.5M 32K 512", "1.5MK", "??", "+-123M", "-1M", "1P", "M", ""])
def test_b16_not_sizes(value: str) -> None:
    _refuse(f"'{value}'", f"not a size: '{value}'", _UNIT)


@pytest.mark.parametrize("value", ["8388608T", "99999999999999999999B"])
def test_b16_a_size_above_what_the_kernel_counts(value: str) -> None:
    _refuse(value, f"too large a size: '{value}'", _UNIT)


@pytest.mark.parametrize(
    ("value", "found"),
    [
        ("true", "a boolean, 'true'"),
        ("null", "nothing"),
        ("", "nothing"),
        ("2026-01-01", "a date, '2026-01-01'"),
        ("-5", "an integer, '-5'"),
        (".inf", "a number with a fraction, '.inf'"),
        ("[5%]", "a list"),
        ("{a: 5%}", "a mapping"),
    ],
)
def test_other_types_are_not_amounts(value: str, found: str) -> None:
    error = refuse(_document(value))
    assert error.message.startswith("p.yaml:3:")
    assert error.message.endswith(
        f"host.warn.mem_available: '{value}' has no unit" if value == "-5" else f"expected an amount, found {found}"
    )
    assert error.hint == _UNIT

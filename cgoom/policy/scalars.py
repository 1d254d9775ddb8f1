"""Amounts, times, integers and booleans: one parser each, and the exact text that parses back to the same value."""

from __future__ import annotations

import re

from cgoom.errors import InputError
from cgoom.model import Amount
from cgoom.policy.node import Kind, Node, Scalar, describe, fault, quote
from cgoom.units import USEC_PER_MSEC, USEC_PER_SEC, parse_percent, parse_size, parse_time

# Decimals of a percentage, as many as `parse_percent` reads.
PERCENT_DECIMALS = 6
# Characters: no amount or time that can be parsed is longer, so nothing longer is given to the parsers' patterns.
_LENGTH_LIMIT = 40

_BYTES_UNITS = ((40, "T"), (30, "G"), (20, "M"), (10, "K"))
_TIME_UNITS = ((60 * USEC_PER_SEC, "min"), (USEC_PER_SEC, "s"), (USEC_PER_MSEC, "ms"))
# Plain decimal: YAML would read 0100 as 64 and 1:30 as 90.
_INTEGER = re.compile(r"-?(?:0|[1-9][0-9]{0,9})", re.ASCII)
_AMOUNT_HINT = "write a part of the total, such as 5%, or a size, such as 500M"


def parse_amount(node: Node) -> Amount:
    """`5%` or `500M`, above nothing and at most 100% or 2^63-1 bytes. Raises PolicyError.

    A bare number is refused: it is percent to one reader and bytes to the next.
    """
    if isinstance(node, Scalar) and (node.kind is Kind.INTEGER or re.fullmatch(r"\s*[0-9.]+\s*", node.text, re.ASCII)):
        raise fault(node.spot, f"{quote(node.text)} has no unit", _AMOUNT_HINT)
    text = _require_text(node, "an amount", _AMOUNT_HINT)
    is_pct = text.rstrip().endswith("%")
    try:
        amount = Amount(parse_percent(text) if is_pct else parse_size(text), is_pct)
    except InputError as error:
        raise fault(node.spot, error.message, error.hint if is_pct else _AMOUNT_HINT) from None
    if not amount.value:
        raise fault(node.spot, f"{quote(text)} is never reached", "write more than 0")
    return amount


def parse_duration(node: Node, least_usec: int, most_usec: int) -> int:
    """`500ms`, `10s`: microseconds, within the bounds. Raises PolicyError."""
    text = _require_text(node, "a time", "write a number with us, ms, s, min or h, such as 500ms")
    try:
        usec = parse_time(text)
    except InputError as error:
        raise fault(node.spot, error.message, error.hint) from None
    if not least_usec <= usec <= most_usec:
        bounds = f"{render_duration(least_usec)} to {render_duration(most_usec)}"
        raise fault(node.spot, f"{quote(text)} is out of range", f"write a time from {bounds}")
    return usec


def parse_integer(node: Node, least: int, most: int) -> int:
    """A plain decimal integer within the bounds. Raises PolicyError."""
    want = f"an integer from {least} to {most}" if least < most else f"{least}"
    hint = f"write {want}"
    if not isinstance(node, Scalar) or node.kind is not Kind.INTEGER:
        raise fault(node.spot, f"expected an integer, found {describe(node)}", hint)
    if not _INTEGER.fullmatch(node.text) or not least <= int(node.text) <= most:
        raise fault(node.spot, f"not {want}: {quote(node.text)}", hint)
    return int(node.text)


def parse_boolean(node: Node) -> bool:
    """`true` or `false`; the other spellings of YAML 1.1 (`yes`, `on`) are refused. Raises PolicyError."""
    if not isinstance(node, Scalar) or node.kind is not Kind.BOOLEAN or node.text not in ("true", "false"):
        raise fault(node.spot, f"expected true or false, found {describe(node)}", "in small letters, no quotes")
    return node.text == "true"


def render_amount(amount: Amount) -> str:
    """`10%`, `3.14%`, `500M`, `1001B`: exact, with PERCENT_DECIMALS for a percentage."""
    if amount.is_pct:
        return f"{amount.value:.{PERCENT_DECIMALS}f}".rstrip("0").rstrip(".") + "%"
    size_bytes = int(amount.value)
    for shift, suffix in _BYTES_UNITS:
        if size_bytes and not size_bytes % (1 << shift):
            return f"{size_bytes >> shift}{suffix}"
    return f"{size_bytes}B"


def render_duration(usec: int) -> str:
    """`10s`, `500ms`, `1500us`: exact, in the largest unit that leaves no fraction."""
    for unit_usec, suffix in _TIME_UNITS:
        if usec and not usec % unit_usec:
            return f"{usec // unit_usec}{suffix}"
    return f"{usec}us"


def _require_text(node: Node, want: str, hint: str) -> str:
    if not isinstance(node, Scalar) or node.kind is not Kind.TEXT:
        raise fault(node.spot, f"expected {want}, found {describe(node)}", hint)
    if len(node.text) > _LENGTH_LIMIT:
        raise fault(node.spot, f"not {want}: {quote(node.text)}", hint)
    return node.text

"""`host`: when the machine is short, and the order that its three lines must have."""

from __future__ import annotations

from dataclasses import dataclass

from cgoom.model import Amount, HostPolicy, Threshold
from cgoom.policy.node import Node, Spot, fault
from cgoom.policy.scalars import PERCENT_DECIMALS, parse_amount, render_amount
from cgoom.policy.section import Section
from cgoom.units import SIZE_LIMIT_BYTES

_FIELDS = ("mem_available", "swap_free")
# Percent points between the warning's line and the one where it ends, where the file does not say. Chosen: on a host
# of 8 GiB that is 160 MiB, more than MemAvailable wanders between two samples of an idle host.
RECOVER_POINTS = 2
# The same for a line in bytes: a quarter of it on top. Chosen: relative, because 2 points of an unknown total are not.
RECOVER_DIVISOR = 4


@dataclass(frozen=True, slots=True)
class _Line:
    """One threshold of one file: where it stands, None for a default, and what it is called."""

    name: str
    amount: Amount
    spot: Spot | None

    def __str__(self) -> str:
        return f"{render_amount(self.amount)} of {self.name}" + ("" if self.spot else ", its default")


def parse_host(node: Node) -> HostPolicy:
    """`host`. What the file leaves out is the default; `recover` then follows the warning. Raises PolicyError."""
    section = Section(node, ("warn", "kill", "recover"))
    default = HostPolicy()
    warn = _parse_lines(section.find("warn"), "warn", (default.warn.mem_available, default.warn.swap_free))
    kill = _parse_lines(section.find("kill"), "kill", (default.kill.mem_available, default.kill.swap_free))
    after = (_above(warn[0].amount), _above(warn[1].amount))
    recover = _parse_lines(section.find("recover"), "recover", after)
    for lower, upper in (*zip(kill, warn, strict=True), *zip(warn, recover, strict=True)):
        _require_order(lower, upper)
    return HostPolicy(_threshold(warn), _threshold(kill), _threshold(recover))


def _parse_lines(node: Node | None, level: str, defaults: tuple[Amount, Amount]) -> tuple[_Line, _Line]:
    section = Section(node, _FIELDS) if node is not None else None
    first, second = (
        _parse_line(section.find(field) if section else None, f"host.{level}.{field}", default)
        for field, default in zip(_FIELDS, defaults, strict=True)
    )
    return first, second


def _parse_line(node: Node | None, name: str, default: Amount) -> _Line:
    return _Line(name, default, None) if node is None else _Line(name, parse_amount(node), node.spot)


def _above(warn: Amount) -> Amount:
    """Where a warning ends when the file does not say."""
    if warn.is_pct:
        return Amount(min(100.0, round(warn.value + RECOVER_POINTS, PERCENT_DECIMALS)), True)
    return Amount(min(SIZE_LIMIT_BYTES, int(warn.value) + int(warn.value) // RECOVER_DIVISOR), False)


def _require_order(lower: _Line, upper: _Line) -> None:
    """kill <= warn <= recover; a percentage and a size cannot be compared before the host is known."""
    if lower.amount.is_pct != upper.amount.is_pct or lower.amount.value <= upper.amount.value:
        return
    if lower.spot is not None:
        hint = f"lower it, or set {upper.name} to {render_amount(lower.amount)} or more; kill <= warn <= recover"
        raise fault(lower.spot, f"{render_amount(lower.amount)} is above the {upper}", hint)
    if upper.spot is not None:
        hint = f"raise it, or set {lower.name} to {render_amount(upper.amount)} or less; kill <= warn <= recover"
        raise fault(upper.spot, f"{render_amount(upper.amount)} is below the {lower}", hint)


def _threshold(lines: tuple[_Line, _Line]) -> Threshold:
    return Threshold(lines[0].amount, lines[1].amount)

"""`victim`: who of those with the same priority dies first, and how long the host may take to recover."""

from __future__ import annotations

from cgoom.model import TieBreak, VictimPolicy
from cgoom.policy.node import Node, fault
from cgoom.policy.scalars import parse_duration
from cgoom.policy.section import Section, parse_word, require_items
from cgoom.units import USEC_PER_MSEC, USEC_PER_SEC

# Microseconds. MemAvailable trails behind a death: pages and per-CPU counters come back late, and a decision on a stale
# reading is a needless kill. Chosen: the least that still separates two decisions.
COOLDOWN_LEAST_USEC = 10 * USEC_PER_MSEC
# Microseconds. Chosen: longer is a host without a guard, so longer is a slip of the unit.
COOLDOWN_MOST_USEC = 600 * USEC_PER_SEC

_OPPOSITE = {
    TieBreak.LARGEST: TieBreak.SMALLEST,
    TieBreak.SMALLEST: TieBreak.LARGEST,
    TieBreak.NEWEST: TieBreak.OLDEST,
    TieBreak.OLDEST: TieBreak.NEWEST,
}


def parse_victim(node: Node) -> VictimPolicy:
    """`victim`. An empty tie_break leaves the decision to the cgroup id. Raises PolicyError."""
    section = Section(node, ("tie_break", "cooldown"))
    tie_break, cooldown = section.find("tie_break"), section.find("cooldown")
    default = VictimPolicy()
    return VictimPolicy(
        default.tie_break if tie_break is None else _parse_tie_break(tie_break),
        default.cooldown_usec
        if cooldown is None
        else parse_duration(cooldown, COOLDOWN_LEAST_USEC, COOLDOWN_MOST_USEC),
    )


def _parse_tie_break(node: Node) -> tuple[TieBreak, ...]:
    chosen: list[TieBreak] = []
    for item in require_items(node, "[largest, newest]"):
        word = TieBreak(parse_word(item, tuple(tie.value for tie in TieBreak)))
        if word in chosen:
            raise fault(item.spot, f"'{word.value}' a second time", "remove it")
        if _OPPOSITE[word] in chosen:
            what = f"'{word.value}' after '{_OPPOSITE[word].value}' decides nothing"
            raise fault(item.spot, what, "keep one of the two")
        chosen.append(word)
    return tuple(chosen)

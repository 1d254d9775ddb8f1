"""`ladder`: what is done to a victim at each level, mild before final."""

from __future__ import annotations

from cgoom.model import Kill, Ladder, Rung, Term
from cgoom.policy.node import Listing, Mapping, Node, fault
from cgoom.policy.scalars import parse_duration
from cgoom.policy.section import Section, parse_word, require_items
from cgoom.units import USEC_PER_MSEC, USEC_PER_SEC

# Microseconds. Below a millisecond no process gets to run its handler: that is a kill, and should say so.
GRACE_LEAST_USEC = USEC_PER_MSEC
# Microseconds. Chosen: longer than any host stays short of memory, so longer is a slip of the unit.
GRACE_MOST_USEC = 3600 * USEC_PER_SEC

_EXAMPLE = "[{term: {grace: 10s}}] or [kill]"


def parse_ladder(node: Node) -> Ladder:
    """`ladder`. A level that the file leaves out has its default. Raises PolicyError."""
    section = Section(node, ("warn", "kill"))
    warn, kill = section.find("warn"), section.find("kill")
    default = Ladder()
    return Ladder(
        default.warn if warn is None else _parse_rungs(warn),
        default.kill if kill is None else _parse_kill_level(kill),
    )


def _parse_kill_level(node: Node) -> tuple[Rung, ...]:
    rungs = _parse_rungs(node)
    if Kill() not in rungs:
        raise fault(
            node.spot, "the kill level has no 'kill'", "add it: the last level must be able to end the shortage"
        )
    return rungs


def _parse_rungs(node: Node) -> tuple[Rung, ...]:
    rungs: list[Rung] = []
    for item in require_items(node, _EXAMPLE):
        rung = _parse_rung(item)
        word = "kill" if isinstance(rung, Kill) else "term"
        if any(type(rung) is type(earlier) for earlier in rungs):
            raise fault(item.spot, f"'{word}' a second time", "remove it: each step stands once in a level")
        if isinstance(rung, Term) and rungs:
            raise fault(item.spot, "'term' after 'kill'", "put term first: nothing is left to ask after a kill")
        rungs.append(rung)
    return tuple(rungs)


def _parse_rung(node: Node) -> Rung:
    if isinstance(node, Mapping):
        settings = Section(node, ("term",)).require("term", "term: {grace: 10s}")
        grace = Section(settings, ("grace",)).find("grace")
        return Term() if grace is None else Term(parse_duration(grace, GRACE_LEAST_USEC, GRACE_MOST_USEC))
    if isinstance(node, Listing):
        raise fault(node.spot, "a list within the list of steps", f"write {_EXAMPLE}")
    return Kill() if parse_word(node, ("term", "kill")) == "kill" else Term()

"""The checked tree between a text and its meaning: the same nodes come from YAML (with line and column) and from JSON.

Rule: whatever an error quotes goes through `printable` first, so that a message is one line whatever the file holds.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

from cgoom.errors import PolicyError

# Characters of a value that a message repeats. Chosen: enough to recognise a cgroup path, short enough for one line.
QUOTE_LIMIT = 80
# Characters of the file name that a message repeats. Chosen: any sane path in full.
FILE_LIMIT = 512


class Kind(Enum):
    """What a scalar is before anybody asks for a meaning."""

    TEXT = "text"
    INTEGER = "integer"
    FLOAT = "float"
    BOOLEAN = "boolean"
    NULL = "null"
    DATE = "date"


_KIND_WORDS = {
    Kind.INTEGER: "an integer",
    Kind.FLOAT: "a number with a fraction",
    Kind.BOOLEAN: "a boolean",
    Kind.DATE: "a date",
}


@dataclass(frozen=True, slots=True)
class Spot:
    """Where a node is: `at` is the printable `file:line:column`, `path` its keys (`host.warn`; empty at the top)."""

    at: str
    path: str = ""


@dataclass(frozen=True, slots=True)
class Scalar:
    """One value as it was written, without its quotes."""

    spot: Spot
    kind: Kind
    text: str


@dataclass(frozen=True, slots=True)
class Listing:
    """A list."""

    spot: Spot
    items: tuple[Node, ...]


@dataclass(frozen=True, slots=True)
class Mapping:
    """A mapping; no key occurs twice."""

    spot: Spot
    entries: tuple[tuple[Scalar, Node], ...]


Node = Scalar | Listing | Mapping


def printable(text: str, limit: int = QUOTE_LIMIT) -> str:
    """At most `limit` characters of `text` and `...` where it was longer; what cannot be printed is escaped."""
    shown = "".join(c if c.isprintable() else c.encode("unicode_escape").decode("ascii") for c in text[:limit])
    return shown + "..." if len(text) > limit else shown


def quote(text: str) -> str:
    """`text` between quotes, printable and bounded."""
    return f"'{printable(text)}'"


def place(file: str, line: int, column: int) -> str:
    """`file:line:column`, both from 1, printable whatever the file is called."""
    return f"{printable(file, FILE_LIMIT)}:{line}:{column}"


def fault(spot: Spot, what: str, hint: str) -> PolicyError:
    """The error for `spot`: `file:line:column: key.path: what`."""
    return PolicyError(f"{spot.at}: {spot.path}: {what}" if spot.path else f"{spot.at}: {what}", hint)


def describe(node: Node) -> str:
    """What a node is, as a message says it: `a list`, `the boolean 'yes'`, `nothing`."""
    if isinstance(node, Listing):
        return "a list"
    if isinstance(node, Mapping):
        return "a mapping"
    if node.kind is Kind.NULL:
        return "nothing"
    return quote(node.text) if node.kind is Kind.TEXT else f"{_KIND_WORDS[node.kind]}, {quote(node.text)}"


def key_spot(key: Scalar, parent: Spot) -> Spot:
    """Where an error about the key itself is: the place of the key, the path of the mapping around it."""
    return Spot(key.spot.at, parent.path)


def item_path(parent: str, index: int) -> str:
    """The path of a list's item: `workloads[2]`, counted from 0."""
    return f"{parent}[{index}]"


def key_path(parent: str, key: str) -> str:
    """The path of a key's value: `host.warn`."""
    name = printable(key)
    return f"{parent}.{name}" if parent else name

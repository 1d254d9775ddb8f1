"""YAML text to a tree of nodes, from the parser's events: nothing is constructed, resolved by name or expanded.

The pure Python loader is used on purpose: the C one words its errors in another way, and a policy is read once.
"""

from __future__ import annotations

from typing import Any

import yaml

from cgoom.policy.node import (
    Kind,
    Listing,
    Mapping,
    Node,
    Scalar,
    Spot,
    fault,
    item_path,
    key_path,
    key_spot,
    place,
    printable,
    quote,
)

# Containers within containers. A policy needs 5: the file, `ladder`, `warn`, a rung, its settings.
DEPTH_LIMIT = 8
# Nodes in one file. Chosen: 256 rules spend 8 each; far below what would make the parser slow.
NODE_LIMIT = 10_000

_KINDS = {
    "tag:yaml.org,2002:int": Kind.INTEGER,
    "tag:yaml.org,2002:float": Kind.FLOAT,
    "tag:yaml.org,2002:bool": Kind.BOOLEAN,
    "tag:yaml.org,2002:null": Kind.NULL,
    "tag:yaml.org,2002:timestamp": Kind.DATE,
}
_MERGE = "tag:yaml.org,2002:merge"
_NOT_YAML = "look at the quotes, the colons and the indentation around this place"


def parse_tree(text: str, file: str) -> Node | None:
    """The one document of `text`; None where there is none, or an empty one. Raises PolicyError."""
    events = _Events(text, file)
    try:
        return events.parse_stream()
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        words = " ".join(part for part in (error.problem, error.context) if part)
        spot = events.spot(mark) if mark is not None else events.here()
        raise fault(spot, f"not YAML: {printable(words, 200)}", _NOT_YAML) from None
    except (ValueError, OverflowError):
        # ValueError and OverflowError: PyYAML passes any number to int() and chr(), such as that of "\UFFFFFFFF".
        raise fault(events.here(), "not YAML: a number or an escape out of range", _NOT_YAML) from None


class _Events:
    """The event stream of one text. Depth and nodes are counted, so recursion and memory are bounded."""

    def __init__(self, text: str, file: str) -> None:
        self._loader = yaml.SafeLoader(text)
        self._file = file
        self._nodes = 0

    def spot(self, mark: Any, path: str = "") -> Spot:
        return Spot(place(self._file, mark.line + 1, mark.column + 1), path)

    def here(self) -> Spot:
        return self.spot(self._loader.get_mark())

    def parse_stream(self) -> Node | None:
        self._next()  # the start of the stream
        if isinstance(self._next(), yaml.StreamEndEvent):
            return None
        event = self._next()
        empty = isinstance(event, yaml.ScalarEvent) and not event.value and event.style is None
        node = self._parse_node(event, "", 0)
        self._next()  # the end of the document
        event = self._next()
        if not isinstance(event, yaml.StreamEndEvent):
            raise fault(self.spot(event.start_mark), "a second document", "one file holds one policy: remove the ---")
        return None if empty else node

    def _next(self) -> Any:
        return self._loader.get_event()  # type: ignore[no-untyped-call]

    def _parse_node(self, event: Any, path: str, depth: int) -> Node:
        spot = self.spot(event.start_mark, path)
        self._nodes += 1
        if self._nodes > NODE_LIMIT:
            raise fault(
                spot, f"more than {NODE_LIMIT} values", "a policy has at most 256 rules; is this the right file?"
            )
        if isinstance(event, yaml.AliasEvent):
            raise fault(spot, f"the alias {quote('*' + str(event.anchor))}", "write the value again in full")
        if event.anchor is not None:
            raise fault(spot, f"the anchor {quote('&' + event.anchor)}", "remove it; aliases are not read either")
        if event.tag is not None:
            raise fault(spot, f"the tag {quote(event.tag)}", "remove it; a policy needs no tags")
        if isinstance(event, yaml.ScalarEvent):
            return Scalar(spot, self._kind(event, spot), event.value)
        if depth == DEPTH_LIMIT:
            raise fault(spot, f"nested more than {DEPTH_LIMIT} deep", "a policy is at most 5 deep")
        if isinstance(event, yaml.SequenceStartEvent):
            return self._parse_listing(spot, depth)
        return self._parse_mapping(spot, depth)

    def _kind(self, event: Any, spot: Spot) -> Kind:
        if not event.implicit[0]:
            return Kind.TEXT  # quoted or a block: text whatever it looks like
        tag = self._loader.resolve(yaml.ScalarNode, event.value, (True, False))  # type: ignore[no-untyped-call]
        if tag == _MERGE:
            raise fault(spot, "the merge key '<<'", "write the keys again in full")
        return _KINDS.get(tag, Kind.TEXT)

    def _parse_listing(self, spot: Spot, depth: int) -> Listing:
        items: list[Node] = []
        while not isinstance(event := self._next(), yaml.SequenceEndEvent):
            items.append(self._parse_node(event, item_path(spot.path, len(items)), depth + 1))
        return Listing(spot, tuple(items))

    def _parse_mapping(self, spot: Spot, depth: int) -> Mapping:
        entries: dict[str, tuple[Scalar, Node]] = {}
        while not isinstance(event := self._next(), yaml.MappingEndEvent):
            key = self._parse_node(event, spot.path, depth + 1)
            if not isinstance(key, Scalar):
                raise fault(key.spot, "a key that is not a word", "write key: value")
            if key.text in entries:
                first = entries[key.text][0].spot.at.rsplit(":", 2)[1]
                what = f"the key {quote(key.text)} a second time"
                raise fault(key_spot(key, spot), what, f"keep one of them; the first is on line {first}")
            entries[key.text] = (key, self._parse_node(self._next(), key_path(spot.path, key.text), depth + 1))
        return Mapping(spot, tuple(entries.values()))

"""Nodes of an expected shape: mappings whose keys are all known, lists, and what to suggest for a key that is not."""

from __future__ import annotations

from collections.abc import Iterable

from cgoom.policy.node import Kind, Listing, Mapping, Node, Scalar, describe, fault, key_spot, quote

# Characters of a word that are compared with the known ones: difflib is quadratic, and no key is longer than this.
_COMPARE_LIMIT = 32


class Section:
    """A mapping with none but the known keys. Raises PolicyError otherwise."""

    def __init__(self, node: Node, known: tuple[str, ...]) -> None:
        if not isinstance(node, Mapping):
            raise fault(node.spot, f"expected a mapping, found {describe(node)}", _mapping_hint(node, known))
        for key, _ in node.entries:
            if key.text not in known:
                raise fault(key_spot(key, node.spot), f"unknown key {quote(key.text)}", suggest(key.text, known))
        self.node = node
        self._values = {key.text: value for key, value in node.entries}

    def find(self, key: str) -> Node | None:
        """The value of `key`, None where the file does not have it."""
        return self._values.get(key)

    def require(self, key: str, example: str) -> Node:
        """The value of `key`. Raises PolicyError, at the mapping, where the file does not have it."""
        found = self._values.get(key)
        if found is None:
            raise fault(self.node.spot, f"the key {quote(key)} is missing", f"add {example}")
        return found


def require_items(node: Node, example: str) -> tuple[Node, ...]:
    """The items of a list. Raises PolicyError with `example` as its hint."""
    if not isinstance(node, Listing):
        raise fault(node.spot, f"expected a list, found {describe(node)}", f"write a list, such as {example}")
    return node.items


def parse_word(node: Node, known: tuple[str, ...]) -> str:
    """One of the known words. Raises PolicyError."""
    if not isinstance(node, Scalar) or node.kind is not Kind.TEXT:
        raise fault(node.spot, f"expected a word, found {describe(node)}", suggest("", known))
    if node.text not in known:
        raise fault(node.spot, f"unknown word {quote(node.text)}", suggest(node.text, known))
    return node.text


def suggest(word: str, known: Iterable[str]) -> str:
    """A hint: the known word that looks most like `word`, or all of them."""
    import difflib  # noqa: PLC0415 - 200 KiB (measured) that only a refusal needs; the daemon loads this file

    known = tuple(known)
    near = difflib.get_close_matches(word[:_COMPARE_LIMIT].lower().replace("-", "_"), known, 1)
    return f"did you mean '{near[0]}'?" if near else f"use {', '.join(known)}"


def _mapping_hint(node: Node, known: tuple[str, ...]) -> str:
    if isinstance(node, Scalar) and node.kind is Kind.NULL:
        return f"remove the empty key, or give it one of {', '.join(known)}"
    return f"its keys are {', '.join(known)}"

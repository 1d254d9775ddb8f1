"""The one way from a policy file to a `Policy`."""

from __future__ import annotations

from cgoom.model import Policy
from cgoom.policy.document import parse_document
from cgoom.policy.text import parse_text
from cgoom.policy.tree import parse_tree


def parse_policy(text: bytes, file: str) -> Policy:
    """The policy in `text`; `file` is only its name in messages. An empty file is the defaults.

    Raises PolicyError: one line, `file:line:column: key.path: what`, and a hint that names the remedy.
    """
    return parse_document(parse_tree(parse_text(text, file), file))

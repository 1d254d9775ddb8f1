"""A `Policy` between two processes: JSON, with the words and the checks of the YAML language, and without yaml."""

from __future__ import annotations

import json
from typing import Any

from cgoom.model import Policy
from cgoom.policy.document import parse_document, render_plain
from cgoom.policy.node import Kind, Listing, Mapping, Node, Scalar, Spot, fault, item_path, key_path, quote

# Characters. A policy file of 1 MiB is at most three times as long with every character escaped; chosen with room.
MESSAGE_LIMIT = 4 * 2**20

_AT = "policy message"
_HINT = "this is not what the other cgoom process wrote; are both of the same version?"


def encode_policy(policy: Policy) -> str:
    """One line of ASCII that `decode_policy` reads back as an equal policy."""
    return json.dumps(render_plain(policy))


def decode_policy(text: str) -> Policy:
    """The policy of `encode_policy`. Raises PolicyError, `policy message: key.path: what`, on anything else."""
    if len(text) > MESSAGE_LIMIT:
        raise fault(Spot(_AT), f"longer than {MESSAGE_LIMIT} characters", _HINT)
    try:
        policy = parse_document(_node(json.loads(text, object_pairs_hook=tuple), ""))
    except json.JSONDecodeError as error:
        raise fault(Spot(_AT), f"not JSON: {error.msg} at {error.pos}", _HINT) from None
    except (ValueError, RecursionError):
        # An integer of thousands of digits, or containers within containers.
        raise fault(Spot(_AT), "not JSON of a sane size", _HINT) from None
    if encode_policy(policy) != text:
        raise fault(Spot(_AT), "not in the form that cgoom writes", _HINT)
    return policy


def _node(value: Any, path: str) -> Node:
    """What `json.loads` made: a tuple of pairs for an object, a list, or a scalar."""
    spot = Spot(_AT, path)
    if isinstance(value, list):
        return Listing(spot, tuple(_node(item, item_path(path, index)) for index, item in enumerate(value)))
    if isinstance(value, tuple):
        entries: dict[str, tuple[Scalar, Node]] = {}
        for key, inner in value:
            if key in entries:
                raise fault(spot, f"the key {quote(key)} a second time", _HINT)
            entries[key] = (Scalar(spot, Kind.TEXT, key), _node(inner, key_path(path, key)))
        return Mapping(spot, tuple(entries.values()))
    if isinstance(value, bool):
        return Scalar(spot, Kind.BOOLEAN, "true" if value else "false")
    if isinstance(value, int | float):
        return Scalar(spot, Kind.INTEGER if isinstance(value, int) else Kind.FLOAT, str(value))
    return Scalar(spot, Kind.NULL, "") if value is None else Scalar(spot, Kind.TEXT, value)

"""A `Policy` as YAML: every setting, in a stable order, no comments."""

from __future__ import annotations

from cgoom.model import Policy
from cgoom.policy.document import Plain, render_plain


def render_policy(policy: Policy) -> str:
    """YAML text that `parse_policy` reads back as an equal policy, whatever the defaults are by then."""
    lines: list[str] = []
    for key, value in render_plain(policy).items():
        if isinstance(value, dict):
            lines += [f"{key}:", *(f"  {inner}: {_flow(setting)}" for inner, setting in value.items())]
        elif isinstance(value, list) and value:
            lines += [f"{key}:", *(f"  - {_flow(item)}" for item in value)]
        else:
            lines.append(f"{key}: {_flow(value)}")
    return "\n".join(lines) + "\n"


def _flow(value: Plain, key: str = "") -> str:
    if isinstance(value, dict):
        return "{" + ", ".join(f"{inner}: {_flow(setting, inner)}" for inner, setting in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(_flow(item) for item in value) + "]"
    if isinstance(value, bool):
        return "true" if value else "false"
    if key == "cgroup":
        # A path may look like a number or a boolean. Single quotes keep a backslash as it is, as in dev-disk-by\x2did.
        return "'" + str(value).replace("'", "''") + "'"
    return str(value)

"""Text of unknown origin, made fit for one line of a terminal or a log."""

from __future__ import annotations


def escape_text(text: str, *, ascii_only: bool = False) -> str:
    """`text` on one line: what is not printable (controls, C1, bidi overrides, surrogates) becomes `\\n`, `\\u202e`.

    A workload's name or a cgroup's path must not forge a second line nor move a terminal's cursor.
    """
    if text.isprintable() and (not ascii_only or text.isascii()):
        return text
    return "".join(
        one if one.isprintable() and (not ascii_only or one.isascii()) else one.encode("unicode_escape").decode("ascii")
        for one in text
    )


def clip_bytes(text: str, limit_bytes: int) -> bytes:
    """`text` in UTF-8, at most `limit_bytes` (3 or more); `...` stands for the rest, no character is halved."""
    encoded = text.encode("utf-8", "backslashreplace")
    if len(encoded) <= limit_bytes:
        return encoded
    return encoded[: limit_bytes - 3].decode("utf-8", "ignore").encode("utf-8") + b"..."

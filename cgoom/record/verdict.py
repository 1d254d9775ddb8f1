"""The one line that the person who started a victim gets to see."""

from __future__ import annotations

from cgoom.model import Record
from cgoom.record.text import clip_bytes, escape_text

VERDICT_LIMIT_BYTES = 512  # chosen: half of what the xattr takes, six lines of a terminal
_ID_LIMIT = 64  # characters; chosen: more than any id has, so that a strange one cannot push the reasons out


def render_verdict(record: Record, deed: str = "killed") -> str:
    """One line of printable ASCII, at most VERDICT_LIMIT_BYTES: who killed it, why, why it and no other, and the id.

    `killed by cgoom: the host was short of memory (MemAvailable 4.8% (762M) <= 5%), 'batch' priority 100 was first of
    3 (priority 100 over 10); history 1a20aba5cc2`. Reasons that are too long are cut; the id, by which the whole story
    is found, never is. `deed` is what was done to the victim.
    """
    head = escape_text(_render_reasons(record, deed), ascii_only=True)
    tail = "; history " + escape_text(record.record_id[:_ID_LIMIT], ascii_only=True)
    return clip_bytes(head, VERDICT_LIMIT_BYTES - len(tail)).decode("ascii") + tail


def _render_reasons(record: Record, deed: str) -> str:
    why, victim = record.why, record.victim
    if record.kind == "shortage":
        place = f"'{victim.name}' priority {victim.priority} was first of {record.candidates} ({why.choice})"
        return f"{deed} by cgoom: the host was short of memory ({why.shortage}), {place}"
    by = "the kernel" if record.kind == "kernel-oom" else "cgoom"
    return f"{deed} by {by}: " + ", ".join(reason for reason in (why.shortage, why.choice) if reason)

"""Record <-> one line of JSON: what the history and the stage hold.

Text is escaped to ASCII, so that names which are not UTF-8 (surrogateescape) come back as they were.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from dataclasses import replace
from typing import TypeVar

from cgoom.errors import FormatError
from cgoom.model import (
    PRIORITY_MOST,
    CgroupRef,
    Considered,
    HostMemory,
    Level,
    Origin,
    Outcome,
    Record,
    Step,
    Why,
    Workload,
)

VERSION = 1
# Bytes of one encoded record; chosen: some 600 candidates, and with its 16 byte header one 64 KiB bank of the stage.
RECORD_LIMIT_BYTES = 64 * 1024 - 16
# What an oversize record is cut to. Characters: the 9 texts and 5 steps then need 57 KiB at 12 bytes each, the worst.
_TEXT_LIMIT = 256
_STEPS_LIMIT = 5
_COUNT_LIMIT = 2**64 - 1  # what an inode number or a byte count may be

_dumps = json.JSONEncoder(separators=(",", ":")).encode
_T = TypeVar("_T")


def encode_record(record: Record) -> str:
    """One line of ASCII JSON without its newline, at most RECORD_LIMIT_BYTES.

    A record that would be longer loses the end of `considered` (who would have died last; `candidates` keeps the true
    count), and only if that is not enough its oldest steps and the ends of its texts.
    """
    head, tail = _encode_ends(record)
    if len(head) + len(tail) > RECORD_LIMIT_BYTES:
        record = _cut(record)
        head, tail = _encode_ends(record)
    kept = _encode_considered(record.considered, RECORD_LIMIT_BYTES - len(head) - len(tail))
    return head + ",".join(kept) + tail


def decode_record(line: str) -> Record:
    """The record that `encode_record` made this line from. Raises FormatError; unknown keys are passed over."""
    try:
        fields = Fields(json.loads(line))
    except (ValueError, RecursionError) as error:  # ValueError: not JSON, or a number of thousands of digits
        raise FormatError(f"not a record: {line[:80]!r}") from error
    if fields.count("v") != VERSION:
        raise FormatError(f"a record of version {fields.count('v')}; this cgoom reads version {VERSION}")
    victim, memory = Fields(fields.raw("victim")), Fields(fields.raw("memory"))
    return Record(
        record_id=fields.text("id"),
        boot_id=fields.text("boot_id"),
        time_usec=fields.count("time_usec"),
        kind=fields.text("kind"),
        by=fields.text("by"),
        level=fields.word("level", lambda word: Level[word.upper()]),
        victim=decode_victim(victim),
        usage_bytes=victim.count_or_none("usage_bytes"),
        memory=HostMemory(
            memory.count("total_bytes"),
            memory.count("available_bytes"),
            memory.count("swap_total_bytes"),
            memory.count("swap_free_bytes"),
        ),
        why=Why(fields.text("shortage"), fields.text("choice")),
        considered=tuple(_decode_considered(one) for one in fields.items("considered")),
        candidates=fields.count("candidates"),
        steps=tuple(_decode_step(one) for one in fields.items("steps")),
        outcome=fields.word("outcome", Outcome),
        note=fields.text("note"),
        available_after_bytes=fields.count_or_none("available_after_bytes"),
    )


def _encode_ends(record: Record) -> tuple[str, str]:
    """The line up to the first of `considered`, and from behind its last."""
    memory = record.memory
    head = {
        "v": VERSION,
        "id": record.record_id,
        "boot_id": record.boot_id,
        "time_usec": record.time_usec,
        "kind": record.kind,
        "by": record.by,
        "level": record.level.name.lower(),
        "victim": encode_victim(record.victim, record.usage_bytes),
        "memory": {
            "total_bytes": memory.total_bytes,
            "available_bytes": memory.available_bytes,
            "swap_total_bytes": memory.swap_total_bytes,
            "swap_free_bytes": memory.swap_free_bytes,
        },
        "shortage": record.why.shortage,
        "choice": record.why.choice,
    }
    tail = {
        "candidates": record.candidates,
        "steps": [
            {"what": step.what, "at_usec": step.at_usec, "outcome": step.outcome.value, "note": step.note}
            for step in record.steps
        ],
        "outcome": record.outcome.value,
        "note": record.note,
        "available_after_bytes": record.available_after_bytes,
    }
    return _dumps(head)[:-1] + ',"considered":[', "]," + _dumps(tail)[1:]


def encode_victim(victim: Workload, usage_bytes: int | None) -> dict[str, object]:
    """A workload as one JSON object."""
    return {
        "name": victim.name,
        "cgroup": victim.ref.path,
        "cgroup_id": victim.ref.cgroup_id,
        "priority": victim.priority,
        "protect": victim.protect,
        "origin": victim.origin.value,
        "grace_usec": victim.grace_usec,
        "usage_bytes": usage_bytes,
    }


def _encode_considered(considered: Iterable[Considered], room_bytes: int) -> list[str]:
    kept: list[str] = []
    for one in considered:
        item = _dumps(
            {"name": one.name, "priority": one.priority, "usage_bytes": one.usage_bytes, "why": one.why},
        )
        room_bytes -= len(item) + 1
        if room_bytes < 0:
            break
        kept.append(item)
    return kept


def _cut(record: Record) -> Record:
    victim = record.victim
    return replace(
        record,
        record_id=record.record_id[:_TEXT_LIMIT],
        boot_id=record.boot_id[:_TEXT_LIMIT],
        kind=record.kind[:_TEXT_LIMIT],
        by=record.by[:_TEXT_LIMIT],
        victim=replace(
            victim,
            name=victim.name[:_TEXT_LIMIT],
            ref=CgroupRef(victim.ref.path[:_TEXT_LIMIT], victim.ref.cgroup_id),
        ),
        why=Why(record.why.shortage[:_TEXT_LIMIT], record.why.choice[:_TEXT_LIMIT]),
        steps=tuple(
            replace(step, what=step.what[:_TEXT_LIMIT], note=step.note[:_TEXT_LIMIT])
            for step in record.steps[-_STEPS_LIMIT:]
        ),
        note=record.note[:_TEXT_LIMIT],
    )


def decode_victim(fields: Fields) -> Workload:
    """The workload of `encode_victim`, without its usage. Raises FormatError."""
    return Workload(
        ref=CgroupRef(fields.text("cgroup"), fields.count("cgroup_id")),
        name=fields.text("name"),
        priority=fields.count("priority", PRIORITY_MOST),
        protect=fields.flag("protect"),
        origin=fields.word("origin", Origin),
        grace_usec=fields.count_or_none("grace_usec"),
    )


def _decode_considered(fields: Fields) -> Considered:
    return Considered(
        name=fields.text("name"),
        priority=fields.count("priority", PRIORITY_MOST),
        usage_bytes=fields.count_or_none("usage_bytes"),
        why=fields.text("why"),
    )


def _decode_step(fields: Fields) -> Step:
    return Step(
        what=fields.text("what"),
        at_usec=fields.count("at_usec"),
        outcome=fields.word("outcome", Outcome),
        note=fields.text("note"),
    )


class Fields:
    """One JSON object whose readers raise FormatError with the key that they did not like."""

    def __init__(self, value: object) -> None:
        if not isinstance(value, dict):
            raise FormatError(f"not a record: {str(value)[:80]!r}")
        self._object: dict[str, object] = value

    def raw(self, key: str) -> object:
        """The value of the key, whatever it is. Raises FormatError where it is missing."""
        if key not in self._object:
            raise FormatError(f"a record without {key!r}")
        return self._object[key]

    def text(self, key: str) -> str:
        """A string. Raises FormatError."""
        value = self.raw(key)
        if not isinstance(value, str):
            raise FormatError(f"a record whose {key!r} is not text")
        return value

    def count(self, key: str, most: int = _COUNT_LIMIT) -> int:
        """A number from 0 to `most`. Raises FormatError."""
        value = self.raw(key)
        if not isinstance(value, int) or isinstance(value, bool) or not 0 <= value <= most:
            raise FormatError(f"a record whose {key!r} is not a number from 0 to {most}")
        return value

    def count_or_none(self, key: str) -> int | None:
        """A number or null. Raises FormatError."""
        return None if self.raw(key) is None else self.count(key)

    def flag(self, key: str) -> bool:
        """True or false. Raises FormatError."""
        value = self.raw(key)
        if not isinstance(value, bool):
            raise FormatError(f"a record whose {key!r} is neither true nor false")
        return value

    def word(self, key: str, parse: Callable[[str], _T]) -> _T:
        """What `parse` makes of a string. Raises FormatError."""
        word = self.text(key)
        try:
            return parse(word)
        except (KeyError, ValueError) as error:
            raise FormatError(f"a record whose {key!r} is {word[:80]!r}") from error

    def items(self, key: str) -> list[Fields]:
        """The objects of a list. Raises FormatError."""
        value = self.raw(key)
        if not isinstance(value, list):
            raise FormatError(f"a record whose {key!r} is not a list")
        return [Fields(one) for one in value]

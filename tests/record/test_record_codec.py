"""One record, one line, and back."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cgoom.errors import FormatError
from cgoom.model import CgroupRef, Considered, Outcome, Record, Step, Why
from cgoom.record.codec import RECORD_LIMIT_BYTES, decode_record, encode_record
from cgoom.record.ids import make_record_id
from tests.record.examples import USUAL, records


@settings(deadline=None)
@given(records)
def test_codec_round_trip(record: Record) -> None:
    line = encode_record(record)
    assert line.isascii()
    assert line.isprintable()
    assert decode_record(line) == record


def test_codec_shape_is_the_documented_one() -> None:
    shape = json.loads(encode_record(USUAL))
    assert list(shape) == [
        *("v", "id", "boot_id", "time_usec", "kind", "by", "level", "victim", "memory", "shortage", "choice"),
        *("considered", "candidates", "steps", "outcome", "note", "available_after_bytes"),
    ]
    assert shape["v"] == 1
    assert shape["level"] == "kill"
    assert shape["victim"]["cgroup"] == "cgoom.slice/cgoom-batch.scope"
    assert shape["considered"][1] == {"name": "db", "priority": 10, "usage_bytes": None, "why": "priority 10"}
    assert shape["steps"][0] == {"what": "kill", "at_usec": 210, "outcome": "done", "note": ""}


@settings(deadline=None, max_examples=40)
@given(st.integers(0, 20_000), st.integers(0, 200))
def test_codec_cuts_the_end_of_a_huge_order_list(length: int, width: int) -> None:
    considered = tuple(Considered(f"w{number}", number % 1001, number, "x" * width) for number in range(length))
    record = replace(USUAL, considered=considered, candidates=length)
    line = encode_record(record)
    assert len(line) <= RECORD_LIMIT_BYTES
    found = decode_record(line)
    kept = len(found.considered)
    assert found == replace(record, considered=considered[:kept])
    # Nothing is cut without need: one more would not have fitted (no entry is longer than 80 bytes and its text).
    assert kept == length or len(line) + 80 + width > RECORD_LIMIT_BYTES


def test_codec_cuts_old_steps_and_long_texts_last() -> None:
    # Four bytes of UTF-8 are the worst: 12 bytes of JSON.
    long = "\U0001f480" * 100_000
    steps = tuple(Step(f"{number}{long}", number, Outcome.DONE, long) for number in range(50))
    record = replace(
        USUAL,
        record_id=long,
        boot_id=long,
        kind=long,
        by=long,
        victim=replace(USUAL.victim, name=long, ref=CgroupRef(long, 4711)),
        why=Why(long, long),
        steps=steps,
        note=long,
    )
    line = encode_record(record)
    assert len(line) <= RECORD_LIMIT_BYTES
    found = decode_record(line)
    assert found.victim.ref.cgroup_id == 4711
    assert [step.at_usec for step in found.steps] == [45, 46, 47, 48, 49]
    assert found.considered == USUAL.considered
    assert long.startswith(found.note)
    assert found.note


@settings(deadline=None)
@given(st.text() | st.binary().map(lambda raw: raw.decode("latin-1")))
def test_codec_refuses_other_text(text: str) -> None:
    with pytest.raises(FormatError):
        decode_record(text)


@settings(deadline=None)
@given(st.integers(0, len(encode_record(USUAL)) - 1))
def test_codec_refuses_a_torn_line(length: int) -> None:
    with pytest.raises(FormatError):
        decode_record(encode_record(USUAL)[:length])


@pytest.mark.parametrize("text", ["[" * 60_000, "9" * 10_000, "NaN", "{}", '{"v":1}', "null", "[1]"])
def test_codec_refuses_hostile_json(text: str) -> None:
    with pytest.raises(FormatError):
        decode_record(text)


def _set(key: str, value: object) -> Callable[[dict[str, Any]], None]:
    return lambda shape: shape.__setitem__(key, value)


def _drop(key: str) -> Callable[[dict[str, Any]], None]:
    return lambda shape: shape.__delitem__(key)


@pytest.mark.parametrize(
    "spoil",
    [
        _set("v", 2),
        _set("v", True),
        _drop("note"),
        _drop("considered"),
        _set("time_usec", -1),
        _set("time_usec", 1.5),
        _set("time_usec", 2**64),
        _set("candidates", True),
        _set("level", "panic"),
        _set("level", 2),
        _set("outcome", "maybe"),
        _set("victim", None),
        _set("steps", {}),
        _set("steps", [1]),
        _set("note", None),
        lambda shape: shape["victim"].__setitem__("priority", 1001),
        lambda shape: shape["victim"].__setitem__("protect", 0),
        lambda shape: shape["victim"].__setitem__("origin", "forged"),
    ],
)
def test_codec_refuses_wrong_fields(spoil: Callable[[dict[str, Any]], None]) -> None:
    shape = json.loads(encode_record(USUAL))
    spoil(shape)
    with pytest.raises(FormatError):
        decode_record(json.dumps(shape))


def test_codec_passes_over_unknown_keys() -> None:
    shape = json.loads(encode_record(USUAL))
    shape["later"] = [1, 2]
    assert decode_record(json.dumps(shape)) == USUAL


@settings(deadline=None)
@given(st.integers(0, 2**60), st.integers(1, 1 << 43), st.integers(0, 2**64 - 1))
def test_ids_of_one_cgroup_differ(time_usec: int, later_usec: int, cgroup_id: int) -> None:
    one = make_record_id(time_usec, cgroup_id)
    assert len(one) == 11
    assert set(one) <= set("0123456789abcdef")
    assert one != make_record_id(time_usec + later_usec, cgroup_id)


def test_ids_of_many_cgroups_differ() -> None:
    ids = {make_record_id(1_790_000_000_000_000 + number % 7, 4000 + number) for number in range(20_000)}
    assert len(ids) == 20_000

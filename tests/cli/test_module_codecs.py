"""Two codecs of one protocol, the daemon's own and pyroute2's, held against each other in both directions."""

from __future__ import annotations

import struct
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from cgoom.cli.module_message import GET_STATS, ModuleMessage, list_attributes
from cgoom.kernel import memory_info
from cgoom.kernel.memory_info import Answer, encode_order, encode_thresholds, parse_answer, parse_event
from cgoom.kernel.netlink import encode_request, parse_generic, parse_messages
from cgoom.model import Amount, HostPolicy, Threshold

U32, U64 = st.integers(0, 2**32 - 1), st.integers(0, 2**64 - 1)
KIB = st.integers(0, 2**53)
LEVEL = st.integers(0, 2)
STATS = st.fixed_dictionaries(
    dict.fromkeys(("total_kib", "available_kib", "free_kib", "swap_total_kib", "swap_free_kib"), KIB)
    | {"page_size": U32, "level": LEVEL, "seq": U64, "time_ns": U64}
)
AMOUNT = st.tuples(st.just("ppm"), st.integers(0, 1_000_000)) | st.tuples(st.just("kib"), KIB)
THRESHOLD = st.tuples(AMOUNT, AMOUNT).map(lambda two: {f"mem_{two[0][0]}": two[0][1], f"swap_{two[1][0]}": two[1][1]})
KILL = st.fixed_dictionaries({"cgroup_id": U64, "processes": U32, "seq": U64, "time_ns": U64})
ANSWER = st.fixed_dictionaries(
    {"warn": THRESHOLD, "kill": THRESHOLD, "recover": THRESHOLD, "fill_kib_per_sec": U64, "armed": U32}
    | {"ooms": U64, "looks": U64, "look_ns": U64, "kills": st.lists(KILL, max_size=memory_info.KILLS_MAX)}
)
EVENT = st.sampled_from(
    [
        (memory_info.LEVEL, {"previous_level": LEVEL}),
        (memory_info.OOM, {"ooms": U64}),
        (memory_info.ARMED_KILL, {"cgroup_id": U64, "processes": U32}),
    ]
).flatmap(lambda one: st.tuples(st.just(one[0]), st.fixed_dictionaries(one[1])))
OUR_AMOUNT = st.integers(0, 1_000_000).map(lambda ppm: Amount(ppm / 10_000, True)) | KIB.map(
    lambda kib: Amount(1024 * kib, False)
)
OUR_THRESHOLD = st.builds(Threshold, OUR_AMOUNT, OUR_AMOUNT)


def encode_theirs(command: int, found: dict[str, Any]) -> bytes:
    """A message as pyroute2 writes it."""
    message = ModuleMessage()
    message["cmd"], message["version"] = command, 1
    message["header"]["type"] = 30
    message["attrs"] = _cells(found, "MEMORY_INFO_A_")
    message.encode()
    return bytes(message.data)


def _cells(found: dict[str, Any], prefix: str) -> list[list[Any]]:
    cells: list[list[Any]] = []
    for name, value in found.items():
        if isinstance(value, list):
            entries = [["MEMORY_INFO_A_ENTRY", {"attrs": _cells(each, prefix)}] for each in value]
            cells.append([prefix + name.upper(), {"attrs": entries}])
        elif isinstance(value, dict):
            cells.append([prefix + name.upper(), {"attrs": _cells(value, "MEMORY_INFO_T_")}])
        else:
            cells.append([prefix + name.upper(), value])
    return cells


def decode_theirs(datagram: bytes) -> tuple[int, dict[str, Any]]:
    """Command and attributes of a message as pyroute2 reads it."""
    message = ModuleMessage(datagram)
    message.decode()
    return message["cmd"], list_attributes(message)


def threshold_of(threshold: Threshold) -> dict[str, int]:
    """Ours in the words of the protocol."""
    found = {}
    for name, amount in (("mem", threshold.mem_available), ("swap", threshold.swap_free)):
        if amount.is_pct:
            found[f"{name}_ppm"] = round(amount.value * 10_000)
        else:
            found[f"{name}_kib"] = int(amount.value) // 1024
    return found


def stats_of(stats: memory_info.Stats) -> dict[str, int]:
    """Ours in the words of the protocol."""
    memory = stats.memory
    return {
        "total_kib": memory.total_bytes // 1024,
        "available_kib": memory.available_bytes // 1024,
        "free_kib": stats.free_bytes // 1024,
        "swap_total_kib": memory.swap_total_bytes // 1024,
        "swap_free_kib": memory.swap_free_bytes // 1024,
        "page_size": stats.page_size_bytes,
        "level": stats.level.value,
        "seq": stats.seq,
        "time_ns": stats.time_ns,
    }


def answer_of(answer: Answer) -> dict[str, Any]:
    """Ours in the words of the protocol."""
    host = answer.host
    return stats_of(answer.stats) | {
        **{name: threshold_of(getattr(host, name)) for name in ("warn", "kill", "recover")},
        **{name: getattr(answer, name) for name in ("fill_kib_per_sec", "armed", "ooms", "looks", "look_ns")},
        "kills": [{name: getattr(kill, name) for name in kill.__slots__} for kill in answer.kills],
    }


@given(STATS, ANSWER)
def test_we_read_the_answers_that_they_write(stats: dict[str, int], answer: dict[str, Any]) -> None:
    datagram = encode_theirs(GET_STATS, stats | answer)
    (message,) = parse_messages(datagram)
    command, attributes = parse_generic(message, "x")
    assert command == GET_STATS
    assert answer_of(parse_answer(attributes)) == stats | answer
    assert decode_theirs(datagram) == (GET_STATS, stats | answer)


@given(STATS, EVENT)
def test_we_read_the_events_that_they_write(stats: dict[str, int], event: tuple[int, dict[str, int]]) -> None:
    command, own = event
    (message,) = parse_messages(encode_theirs(command, stats | own))
    read: Any = parse_event(message)
    assert stats_of(read.stats) == stats
    if command == memory_info.LEVEL:
        assert read.previous == own["previous_level"]
    else:
        assert {name: getattr(read, name) for name in own} == own


@given(st.builds(HostPolicy, OUR_THRESHOLD, OUR_THRESHOLD, OUR_THRESHOLD), st.integers(1, 2**50), st.integers(1, 2**31))
def test_they_read_the_thresholds_that_we_write(host: HostPolicy, fill_kib: int, sequence: int) -> None:
    body = encode_thresholds(host, 1024 * fill_kib)
    told = {name: threshold_of(getattr(host, name)) for name in ("warn", "kill", "recover")}
    command = memory_info.SET_THRESHOLDS
    datagram = encode_request(30, command, 1, sequence, body, ack=True)
    assert decode_theirs(datagram) == (command, told | {"fill_kib_per_sec": fill_kib})


@given(st.lists(U64, min_size=1, max_size=memory_info.ORDER_MAX))
def test_they_read_the_order_that_we_write(ids: list[int]) -> None:
    datagram = encode_request(30, memory_info.ARM, 1, 1, encode_order(ids), ack=True)
    order = decode_theirs(datagram)[1]["order"]
    assert list(struct.unpack(f"={len(ids)}Q", order)) == ids

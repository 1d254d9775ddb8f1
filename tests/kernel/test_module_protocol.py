"""The words of the module's protocol, as kmod/uapi/memory_info.h numbers them, and what becomes of wrong ones."""

from __future__ import annotations

import re
import struct
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cgoom.core.detect import is_below
from cgoom.errors import FormatError, GoneError
from cgoom.kernel import memory_info, module_answer
from cgoom.kernel.memory_info import (
    Module,
    encode_order,
    encode_thresholds,
    parse_answer,
    parse_event,
)
from cgoom.kernel.netlink import Attributes, Family, Message, Socket, encode_nest, encode_u32, encode_u64
from cgoom.model import Amount, HostMemory, HostPolicy, Threshold

HEADER = Path(__file__).resolve().parents[2] / "kmod/uapi/memory_info.h"
SIZES = range(2, 7)  # the five sizes of STATS


def make_stats(level: int = 1) -> bytes:
    """STATS with a number of its own for each size."""
    sizes = b"".join(encode_u64(number, 1000 * number) for number in SIZES)
    return sizes + encode_u32(7, 4096) + encode_u32(8, level) + encode_u64(9, 77) + encode_u64(10, 88)


def numbers_of(enum: str) -> dict[str, int]:
    """The members of an enum of the header, counted as C counts them."""
    body = re.search(rf"enum {enum} {{(.*?)}};", HEADER.read_text(encoding="utf-8"), re.DOTALL)
    assert body is not None
    names = [name.strip() for name in body[1].split(",") if name.strip()]
    return {name: number for number, name in enumerate(names) if not name.startswith("__")}


def test_every_number_is_that_of_the_header() -> None:
    for enum, prefix, ours in (
        ("memory_info_cmd", "MEMORY_INFO_CMD_", ""),
        ("memory_info_attr", "MEMORY_INFO_A_", "A_"),
        ("memory_info_threshold_attr", "MEMORY_INFO_T_", "T_"),
    ):
        numbers = numbers_of(enum)
        assert len(numbers) > 5
        for name, number in numbers.items():
            short = name.removeprefix(prefix)
            if short not in ("UNSPEC", "PAD"):
                assert getattr(memory_info, ours + short) == number, name


def test_every_constant_is_that_of_the_header() -> None:
    found = dict(re.findall(r"#define MEMORY_INFO_(\w+) (\S+)$", HEADER.read_text(encoding="utf-8"), re.MULTILINE))
    assert found["FAMILY"].strip('"') == memory_info.FAMILY
    assert found["GROUP"].strip('"') == memory_info.GROUP
    assert int(found["VERSION"]) == memory_info.VERSION
    assert (int(found["ORDER_MAX"]), int(found["KILLS_MAX"])) == (memory_info.ORDER_MAX, memory_info.KILLS_MAX)


def test_thresholds_are_shares_or_sizes() -> None:
    policy = HostPolicy(
        warn=Threshold(Amount(12.5, True), Amount(3_000_000, False)),
        kill=Threshold(Amount(0.1234467, True), Amount(0, True)),
    )
    told = Attributes(encode_thresholds(policy, 5_000_000), "x")
    assert told.nest(memory_info.A_WARN).u32(memory_info.T_MEM_PPM) == 125_000
    assert told.nest(memory_info.A_WARN).u64(memory_info.T_SWAP_KIB) == 2930  # rounded up
    assert told.nest(memory_info.A_KILL).u32(memory_info.T_MEM_PPM) == 1234  # to the nearest
    assert told.nest(memory_info.A_KILL).u32(memory_info.T_SWAP_PPM) == 0
    assert told.nest(memory_info.A_RECOVER).u32(memory_info.T_MEM_PPM) == 120_000
    assert told.u64(memory_info.A_FILL_KIB_PER_SEC) == 4882
    assert Attributes(encode_thresholds(policy, 0), "x").u64(memory_info.A_FILL_KIB_PER_SEC) == 1


AMOUNTS = st.one_of(
    st.floats(0, 100).map(lambda pct: Amount(pct, True)),
    st.integers(0, 2**40).map(lambda size: Amount(size, False)),
)


@given(AMOUNTS, st.integers(1, 2**32), st.data())
def test_the_module_never_wakes_us_too_late(amount: Amount, total_kib: int, data: st.DataObject) -> None:
    """Whatever we call short is short for the module, too; it compares whole KiB."""
    available_kib = data.draw(st.integers(0, total_kib))
    policy = HostPolicy(warn=Threshold(amount, Amount(0, True)))
    told = Attributes(encode_thresholds(policy, 1), "x").nest(memory_info.A_WARN)
    if memory_info.T_MEM_PPM in told:
        limit_kib = total_kib * told.u32(memory_info.T_MEM_PPM) // 1_000_000
    else:
        limit_kib = told.u64(memory_info.T_MEM_KIB)
    if is_below(policy.warn, HostMemory(total_kib * 1024, available_kib * 1024, 0, 0)):
        assert available_kib <= limit_kib


@given(AMOUNTS, AMOUNTS)
def test_what_the_module_answers_is_what_it_was_told(mem: Amount, swap: Amount) -> None:
    """However it was rounded, or somebody else would seem to have set it."""
    told = encode_thresholds(HostPolicy(kill=Threshold(mem, swap)), 5_000_000)
    counts = encode_u32(memory_info.A_ARMED, 0) + b"".join(
        encode_u64(number, 0) for number in (memory_info.A_OOMS, memory_info.A_LOOKS, memory_info.A_LOOK_NS)
    )
    answer = parse_answer(Attributes(make_stats() + told + counts, "x"))
    assert encode_thresholds(answer.host, answer.fill_kib_per_sec * 1024) == told


def test_an_order_ends_at_the_limit_and_nobody_is_no_order() -> None:
    assert encode_order([]) == b""
    assert len(encode_order(range(1000))) == 4 + 8 * memory_info.ORDER_MAX


def test_an_unknown_event_and_an_unknown_attribute_are_passed_over() -> None:
    assert parse_event(Message(30, 0, 0, 0, b"\x63\x01\0\0" + make_stats())) is None
    event = parse_event(Message(30, 0, 0, 0, b"\x06\x01\0\0" + make_stats() + encode_u64(17, 3) + encode_u32(99, 1)))
    assert isinstance(event, memory_info.OomEvent)
    assert event.ooms == 3


@pytest.mark.parametrize("command", [memory_info.LEVEL, memory_info.OOM, memory_info.ARMED_KILL])
@pytest.mark.parametrize("body", [b"", make_stats(), make_stats(3) + encode_u64(17, 1), make_stats()[:-4], b"\x01"])
def test_an_event_that_lacks_something_is_an_error(command: int, body: bytes) -> None:
    with pytest.raises(FormatError, match=r"^memory_info: "):
        parse_event(Message(30, 0, 0, 0, bytes([command, 1, 0, 0]) + body))


@given(st.binary(max_size=300))
def test_garbage_is_one_error(body: bytes) -> None:
    with pytest.raises(FormatError):
        parse_answer(Attributes(body, "memory_info"))


def test_a_level_that_there_is_not_is_an_error() -> None:
    nests = b"".join(encode_nest(number, encode_u32(2, 1) + encode_u32(4, 1)) for number in (11, 12, 13))
    rest = encode_u64(14, 1) + encode_u32(16, 0) + b"".join(encode_u64(number, 0) for number in (17, 18, 19))
    assert parse_answer(Attributes(make_stats(2) + nests + rest, "x")).kills == ()
    with pytest.raises(FormatError, match="level 3"):
        parse_answer(Attributes(make_stats(3) + nests + rest, "x"))


FAMILY_ID = 30


def make_event(command: int, stats: bytes, family_id: int = FAMILY_ID) -> bytes:
    """A whole datagram."""
    body = bytes([command, 1, 0, 0]) + stats
    return struct.pack("=IHHII", 16 + len(body), family_id, 0, 0, 0) + body


def read_look(datagram: bytes, monkeypatch: pytest.MonkeyPatch) -> tuple[HostMemory, int] | None:
    """What it is taken for when it is the next event."""
    module = Module()
    try:
        monkeypatch.setattr(module, "_family", Family("memory_info", FAMILY_ID, 1, {}))
        monkeypatch.setattr(Socket, "peek", lambda _, size: bytearray(datagram) if len(datagram) >= size else None)
        return module.read_look()
    finally:
        module.close()


def test_a_change_of_level_is_read_at_once_as_at_length(monkeypatch: pytest.MonkeyPatch) -> None:
    stats = make_stats(2)
    event = parse_event(Message(FAMILY_ID, 0, 0, 0, b"\x05\x01\0\0" + stats + encode_u32(24, 1)))
    assert isinstance(event, memory_info.LevelEvent)
    datagram = make_event(memory_info.LEVEL, stats + encode_u32(24, 1))
    assert read_look(datagram, monkeypatch) == (event.stats.memory, event.stats.time_ns // 1000)


@pytest.mark.parametrize(
    "datagram",
    [
        make_event(memory_info.NEAR, make_stats()),
        make_event(memory_info.LEVEL, make_stats(), FAMILY_ID + 1),
        make_event(memory_info.LEVEL, make_stats()[:-4]),
        make_event(memory_info.LEVEL, encode_u64(1, 0) + make_stats()),
        make_event(memory_info.LEVEL, make_stats()[12:24] + make_stats()[:12] + make_stats()[24:]),
        make_event(memory_info.LEVEL, make_stats()[:-24] + encode_u64(11, 77) + encode_u64(10, 88)),
    ],
    ids=["another event", "another family", "short", "padded", "another order", "another attribute"],
)
def test_what_is_written_in_another_way_is_left_to_who_reads_at_length(
    datagram: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert read_look(datagram, monkeypatch) is None


def test_a_module_that_is_not_there_is_not_asked(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """The kernel would look for it; and one that goes meanwhile has no answer."""
    level, asked = tmp_path / "oom_notifier", list[Module]()

    def refuse(module: Module) -> None:
        asked.append(module)
        raise GoneError("memory_info: the module is not loaded")

    monkeypatch.setattr(module_answer, "LEVEL_PATH", str(level))
    monkeypatch.setattr(Module, "read_stats", refuse)
    assert module_answer.find_answer() is None
    assert not asked
    level.touch()
    assert module_answer.find_answer() is None
    assert [module.fd for module in asked] == [-1], "it is closed again"


def test_without_the_module_nothing_can_be_asked() -> None:
    module = Module()
    try:
        if module.is_present:
            pytest.skip("the module is loaded here: unload it to run this test")
        for ask in (module.read_stats, module.disarm, lambda: module.arm([1])):
            with pytest.raises(GoneError, match="not loaded"):
                ask()
        assert module.drain() == []
    finally:
        module.close()

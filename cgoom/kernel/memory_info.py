"""The kernel module `memory_info`: its level, its thresholds, its armed order. The protocol is kmod/uapi/memory_info.h.

The module may come and go under us; that is an event, too, so that nothing here is ever polled.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable
from dataclasses import dataclass, replace

from cgoom.errors import FormatError, GoneError
from cgoom.kernel.netlink import (
    CONTROL_FAMILY,
    CONTROL_GROUP,
    DELETED_FAMILY,
    NEW_FAMILY,
    Attributes,
    Family,
    Message,
    Socket,
    encode_attribute,
    encode_nest,
    encode_u32,
    encode_u64,
    is_control,
    parse_control,
    parse_generic,
)
from cgoom.model import Amount, HostMemory, HostPolicy, Level, Threshold

FAMILY = "memory_info"
LEVEL_PATH = "/proc/oom_notifier"
VERSION = 1
GROUP = "events"
# Cgroups in the armed order, and armed kills that the module remembers.
ORDER_MAX, KILLS_MAX = 256, 64
# enum memory_info_cmd
GET_STATS, SET_THRESHOLDS, ARM, DISARM, LEVEL, OOM, ARMED_KILL, NEAR = range(1, 9)
# enum memory_info_attr, from MEMORY_INFO_A_TOTAL_KIB on
# fmt: off
(
    A_TOTAL_KIB, A_AVAILABLE_KIB, A_FREE_KIB, A_SWAP_TOTAL_KIB, A_SWAP_FREE_KIB, A_PAGE_SIZE, A_LEVEL, A_SEQ, A_TIME_NS,
    A_WARN, A_KILL, A_RECOVER, A_FILL_KIB_PER_SEC, A_ORDER, A_ARMED, A_OOMS, A_LOOKS, A_LOOK_NS, A_KILLS, A_ENTRY,
    A_CGROUP_ID, A_PROCESSES, A_PREVIOUS_LEVEL,
) = range(2, 25)
# fmt: on
# enum memory_info_threshold_attr
T_MEM_PPM, T_MEM_KIB, T_SWAP_PPM, T_SWAP_KIB = range(2, 6)
# An event as the module writes it where 64 bits need no padding: type, command, then the header of each attribute of
# STATS and its value. Measured in an emulated guest: to take it apart attribute by attribute takes 0.5 - 0.7 ms there.
_EVENT = struct.Struct("=4xH10xB3x" + "4sQ" * 5 + "4sI" * 2 + "4sQ" * 2)
_EVENT_HEADERS = tuple(
    struct.pack("=HH", size, number)
    for number, size in zip(range(A_TOTAL_KIB, A_WARN), (12,) * 5 + (8,) * 2 + (12,) * 2, strict=True)
)
_BYTES_PER_KIB = 1024
_PPM_PER_PCT = 10_000


@dataclass(frozen=True, slots=True)
class Stats:
    """The module's look at the host. `seq`: of the newest event; `time_ns`: CLOCK_MONOTONIC of the look."""

    memory: HostMemory
    free_bytes: int
    page_size_bytes: int
    level: Level
    seq: int
    time_ns: int


@dataclass(frozen=True, slots=True)
class ArmedKill:
    """One cgroup of the armed order that the module made die. `time_ns`: CLOCK_MONOTONIC."""

    cgroup_id: int
    processes: int
    seq: int
    time_ns: int


@dataclass(frozen=True, slots=True)
class Answer:
    """The answer to GET_STATS: what the module sees, what it goes by, what it has done since it was inserted."""

    stats: Stats
    host: HostPolicy
    fill_kib_per_sec: int
    armed: int
    ooms: int
    looks: int
    look_ns: int
    kills: tuple[ArmedKill, ...]


@dataclass(frozen=True, slots=True)
class LevelEvent:
    """The level changed; or, where it is the `previous` one, somebody set the thresholds."""

    stats: Stats
    previous: Level


@dataclass(frozen=True, slots=True)
class OomEvent:
    """The kernel was about to run its OOM killer, for the `ooms`th time."""

    stats: Stats
    ooms: int


@dataclass(frozen=True, slots=True)
class ArmedKillEvent:
    """The module made a cgroup of the armed order die."""

    stats: Stats
    cgroup_id: int
    processes: int


@dataclass(frozen=True, slots=True)
class NearEvent:
    """The host is not short, and could be within moments."""

    stats: Stats


@dataclass(frozen=True, slots=True)
class Appeared:
    """The module was inserted: it has its own thresholds, and no order."""


@dataclass(frozen=True, slots=True)
class Vanished:
    """The module was removed."""


@dataclass(frozen=True, slots=True)
class Lost:
    """Events are missing, perhaps the newest: GET_STATS tells how things stand."""


Event = LevelEvent | OomEvent | ArmedKillEvent | NearEvent | Appeared | Vanished | Lost


class Module:
    """The module over one socket; `is_present` says whether it can be asked anything."""

    def __init__(self) -> None:
        """Raises NotPermittedError, KernelError: no netlink here at all, and so no word of a module that comes."""
        self._socket = Socket()
        self._family: Family | None = None
        try:
            control = self._socket.read_family(CONTROL_FAMILY)
            self._socket.join(control.groups[CONTROL_GROUP])
            self._find()
        except KeyError as error:
            raise FormatError(f"{CONTROL_FAMILY}: no group {CONTROL_GROUP}") from error

    @property
    def fd(self) -> int:
        """Readable when something happened."""
        return self._socket.fd

    @property
    def is_present(self) -> bool:
        """Whether the module was there when we last heard of it, in a version that we know."""
        return self._family is not None

    def close(self) -> None:
        """Hear of it no more; what it was told stays in force."""
        self._socket.close()

    def read_stats(self) -> Answer:
        """What the module sees now. Raises GoneError without it, KernelError, FormatError."""
        return parse_answer(self._request(GET_STATS, b"", ack=False))

    def write_thresholds(self, host: HostPolicy, fill_bytes_per_sec: int) -> None:
        """Make the module judge as `host` says. Raises GoneError, NotPermittedError, KernelError."""
        self._request(SET_THRESHOLDS, encode_thresholds(host, fill_bytes_per_sec), ack=True)

    def arm(self, cgroup_ids: Iterable[int]) -> None:
        """Replace the armed order, the next victim first; nobody in it is DISARM.

        Raises GoneError, NotPermittedError, KernelError.
        """
        body = encode_order(cgroup_ids)
        self._request(ARM if body else DISARM, body, ack=True)

    def disarm(self) -> None:
        """Forget the armed order. Raises GoneError, NotPermittedError, KernelError."""
        self._request(DISARM, b"", ack=True)

    def drain(self) -> list[Event]:
        """Every event that is there, without waiting. Raises KernelError, FormatError."""
        events: list[Event] = []
        for message in self._socket.drain():
            event = self._take_control(message) if is_control(message) else self._take_own(message)
            if event is not None:
                events.append(event)
        if self._socket.take_lossy():
            self._find()  # that the module came or went may be among what is lost
            events.append(Lost())
        return events

    def read_look(self) -> tuple[HostMemory, int] | None:
        """What the module saw at the change of level that is the next event, and when (CLOCK_MONOTONIC, microseconds).

        The event is left to `drain`. None: there is no such event, or it is written in another way.
        """
        family = self._family
        if family is None:
            return None
        found = self._socket.peek(_EVENT.size)
        if found is None:
            return None
        kind, command, *words = _EVENT.unpack_from(found)
        if kind != family.family_id or command != LEVEL or tuple(words[::2]) != _EVENT_HEADERS:
            return None
        total, available, _, swap_total, swap_free, _, _, _, time_ns = words[1::2]
        kib = _BYTES_PER_KIB
        return HostMemory(total * kib, available * kib, swap_total * kib, swap_free * kib), time_ns // 1000

    def _request(self, command: int, body: bytes, ack: bool) -> Attributes:
        if self._family is None:
            raise GoneError(f"{FAMILY}: the module is not loaded", "modprobe memory_info")
        return self._socket.request(self._family, command, body, ack)

    def _find(self) -> bool:
        """Look the family up and join its events; whether it is there."""
        self._family = None
        try:
            family = self._socket.read_family(FAMILY)
            if family.version >= VERSION and GROUP in family.groups:
                self._socket.join(family.groups[GROUP])
                self._family = replace(family, version=VERSION)  # what we speak, whatever else it may know
        except GoneError:
            return False
        return self._family is not None

    def _take_control(self, message: Message) -> Event | None:
        command, name = parse_control(message)
        if name != FAMILY:
            return None
        if command == NEW_FAMILY and self._find():
            return Appeared()
        if command == DELETED_FAMILY:
            self._family = None
            return Vanished()
        return None

    def _take_own(self, message: Message) -> Event | None:
        if self._family is None or message.type != self._family.family_id:
            return None  # from before the module went, or the answer to something given up
        return parse_event(message)


def parse_event(message: Message) -> Event | None:
    """An event of the module; None: one that this cgoom does not know. Raises FormatError."""
    command, attributes = parse_generic(message, FAMILY)
    if command == LEVEL:
        return LevelEvent(parse_stats(attributes), _parse_level(attributes, A_PREVIOUS_LEVEL))
    if command == OOM:
        return OomEvent(parse_stats(attributes), attributes.u64(A_OOMS))
    if command == ARMED_KILL:
        return ArmedKillEvent(parse_stats(attributes), attributes.u64(A_CGROUP_ID), attributes.u32(A_PROCESSES))
    return NearEvent(parse_stats(attributes)) if command == NEAR else None


def parse_stats(attributes: Attributes) -> Stats:
    """STATS, which every answer and every event has. Raises FormatError."""
    total, available = attributes.u64(A_TOTAL_KIB), attributes.u64(A_AVAILABLE_KIB)
    swap_total, swap_free = attributes.u64(A_SWAP_TOTAL_KIB), attributes.u64(A_SWAP_FREE_KIB)
    return Stats(
        HostMemory(*(kib * _BYTES_PER_KIB for kib in (total, available, swap_total, swap_free))),
        attributes.u64(A_FREE_KIB) * _BYTES_PER_KIB,
        attributes.u32(A_PAGE_SIZE),
        _parse_level(attributes, A_LEVEL),
        attributes.u64(A_SEQ),
        attributes.u64(A_TIME_NS),
    )


def parse_answer(attributes: Attributes) -> Answer:
    """The answer to GET_STATS. Raises FormatError."""
    return Answer(
        parse_stats(attributes),
        HostPolicy(*(_parse_threshold(attributes.nest(number)) for number in (A_WARN, A_KILL, A_RECOVER))),
        attributes.u64(A_FILL_KIB_PER_SEC),
        attributes.u32(A_ARMED),
        attributes.u64(A_OOMS),
        attributes.u64(A_LOOKS),
        attributes.u64(A_LOOK_NS),
        tuple(
            ArmedKill(each.u64(A_CGROUP_ID), each.u32(A_PROCESSES), each.u64(A_SEQ), each.u64(A_TIME_NS))
            for each in (attributes.listing(A_KILLS) if A_KILLS in attributes else ())
        ),
    )


def encode_thresholds(host: HostPolicy, fill_bytes_per_sec: int) -> bytes:
    """The body of SET_THRESHOLDS."""
    return (
        encode_nest(A_WARN, _encode_threshold(host.warn))
        + encode_nest(A_KILL, _encode_threshold(host.kill))
        + encode_nest(A_RECOVER, _encode_threshold(host.recover))
        + encode_u64(A_FILL_KIB_PER_SEC, max(1, fill_bytes_per_sec // _BYTES_PER_KIB))
    )


def encode_order(cgroup_ids: Iterable[int]) -> bytes:
    """The body of ARM: the first ORDER_MAX of them; nothing for nobody."""
    ids = list(cgroup_ids)[:ORDER_MAX]
    return encode_attribute(A_ORDER, struct.pack(f"={len(ids)}Q", *ids)) if ids else b""


def _encode_threshold(threshold: Threshold) -> bytes:
    return _encode_amount(threshold.mem_available, T_MEM_PPM, T_MEM_KIB) + _encode_amount(
        threshold.swap_free, T_SWAP_PPM, T_SWAP_KIB
    )


def _encode_amount(amount: Amount, ppm: int, kib: int) -> bytes:
    """A size is rounded up: the module may wake us a page too early, never too late."""
    if amount.is_pct:
        return encode_u32(ppm, amount.ppm)
    return encode_u64(kib, -(-int(amount.value) // _BYTES_PER_KIB))


def _parse_threshold(attributes: Attributes) -> Threshold:
    return Threshold(
        _parse_amount(attributes, T_MEM_PPM, T_MEM_KIB),
        _parse_amount(attributes, T_SWAP_PPM, T_SWAP_KIB),
    )


def _parse_amount(attributes: Attributes, ppm: int, kib: int) -> Amount:
    if ppm in attributes:
        return Amount(attributes.u32(ppm) / _PPM_PER_PCT, True)
    return Amount(attributes.u64(kib) * _BYTES_PER_KIB, False)


def _parse_level(attributes: Attributes, number: int) -> Level:
    value = attributes.u32(number)
    if value > Level.KILL:
        raise FormatError(f"{FAMILY}: level {value}")
    return Level(value)

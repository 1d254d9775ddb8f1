"""The netlink family with pyroute2, which knows nothing of cgoom, and with bytes, for what pyroute2 refuses."""

from __future__ import annotations

import os
import select
import socket
import struct
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

# pyroute2 has no types.
from pyroute2.netlink import NLM_F_ACK, NLM_F_REQUEST, genlmsg, nla  # type: ignore[import-untyped,unused-ignore]
from pyroute2.netlink.generic import GenericNetlinkSocket  # type: ignore[import-untyped,unused-ignore]

GET_STATS, SET_THRESHOLDS, ARM, DISARM, LEVEL, OOM, ARMED_KILL = range(1, 8)
WARN, KILL, RECOVER, FILL, ORDER = 11, 12, 13, 14, 15  # attributes of requests
MEM_PPM, MEM_KIB, SWAP_PPM, SWAP_KIB = 2, 3, 4, 5
_SOL_NETLINK, _NETLINK_CAP_ACK, _NETLINK_EXT_ACK = 270, 10, 11
_NLMSG_ERROR, _NLMSGERR_ATTR_MSG = 2, 1
_CAPPED_ERROR_BYTES = 20  # struct nlmsgerr with the header of the request alone
NESTED = 1 << 15
# Seconds for an answer in a guest that is out of memory.
LIMIT = 60.0


class ThresholdAttributes(nla):  # type: ignore[misc,unused-ignore]
    """THRESHOLD of the header."""

    nla_flags = NESTED
    prefix = "MEMORY_INFO_T_"
    nla_map = tuple(
        (f"MEMORY_INFO_T_{name}", kind)
        for name, kind in (
            ("UNSPEC", "none"),
            ("PAD", "none"),
            ("MEM_PPM", "uint32"),
            ("MEM_KIB", "uint64"),
            ("SWAP_PPM", "uint32"),
            ("SWAP_KIB", "uint64"),
        )
    )


class Message(genlmsg):  # type: ignore[misc,unused-ignore]
    """Any message of the family; the order of the names is their numbers."""

    prefix = "MEMORY_INFO_A_"
    nla_map = tuple(
        (f"MEMORY_INFO_A_{name}", kind)
        for name, kind in (
            ("UNSPEC", "none"),
            ("PAD", "none"),
            ("TOTAL_KIB", "uint64"),
            ("AVAILABLE_KIB", "uint64"),
            ("FREE_KIB", "uint64"),
            ("SWAP_TOTAL_KIB", "uint64"),
            ("SWAP_FREE_KIB", "uint64"),
            ("PAGE_SIZE", "uint32"),
            ("LEVEL", "uint32"),
            ("SEQ", "uint64"),
            ("TIME_NS", "uint64"),
            ("WARN", "threshold"),
            ("KILL", "threshold"),
            ("RECOVER", "threshold"),
            ("FILL_KIB_PER_SEC", "uint64"),
            ("ORDER", "cdata"),
            ("ARMED", "uint32"),
            ("OOMS", "uint64"),
            ("LOOKS", "uint64"),
            ("LOOK_NS", "uint64"),
            ("KILLS", "kills"),
            ("ENTRY", "none"),
            ("CGROUP_ID", "uint64"),
            ("PROCESSES", "uint32"),
            ("PREVIOUS_LEVEL", "uint32"),
        )
    )
    threshold = ThresholdAttributes

    class kills(nla):  # type: ignore[misc,unused-ignore] # noqa: N801 - pyroute2 finds it by this name
        """KILLS of the header: ENTRY after ENTRY, 21 in the family's numbering."""

        prefix = "MEMORY_INFO_A_"
        nla_map = ((21, "MEMORY_INFO_A_ENTRY", "entry"),)

        class entry(nla):  # type: ignore[misc,unused-ignore] # noqa: N801
            """One kill."""

            prefix = "MEMORY_INFO_A_"
            nla_map = (
                (9, "MEMORY_INFO_A_SEQ", "uint64"),
                (10, "MEMORY_INFO_A_TIME_NS", "uint64"),
                (22, "MEMORY_INFO_A_CGROUP_ID", "uint64"),
                (23, "MEMORY_INFO_A_PROCESSES", "uint32"),
            )


@dataclass(frozen=True)
class Event:
    """A message from the module: its command and its attributes by their short names."""

    cmd: int
    fields: dict[str, Any]

    def __getitem__(self, name: str) -> Any:
        return self.fields[name]

    def kills(self) -> list[dict[str, int]]:
        """The remembered kills of an answer to GET_STATS, oldest first."""
        return [
            {key.removeprefix("MEMORY_INFO_A_").lower(): value for key, value in entry["attrs"]}
            for _, entry in self.fields["KILLS"]["attrs"]
        ]


def make_event(message: Any) -> Event:
    """What pyroute2 decoded."""
    return Event(message["cmd"], {key.removeprefix("MEMORY_INFO_A_"): value for key, value in message["attrs"]})


class Family:
    """A socket bound to the family; a context manager."""

    def __init__(self, *, listen: bool = False, receive_bytes: int | None = None) -> None:
        self._socket = GenericNetlinkSocket()
        self._socket.bind("memory_info", Message)
        self.number: int = self._socket.prid
        if receive_bytes is not None:
            self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_bytes)
        if listen:
            self._socket.add_membership("events")

    def __enter__(self) -> Family:
        return self

    def __exit__(self, *_: object) -> None:
        self._socket.close()

    def _request(self, cmd: int, attributes: list[tuple[str, Any]], flags: int) -> list[Any]:
        message = Message()
        message["cmd"], message["version"], message["attrs"] = cmd, 1, attributes
        return list(self._socket.nlm_request(message, msg_type=self.number, msg_flags=NLM_F_REQUEST | flags))

    def stats(self) -> Event:
        """GET_STATS."""
        return make_event(self._request(GET_STATS, [], 0)[0])

    def set_thresholds(self, *pairs: tuple[str, int, str, int], fill_kib_per_sec: int | None = None) -> None:
        """SET_THRESHOLDS of warn, kill and recover, each `("MEM_PPM", 100000, "SWAP_KIB", 2048)`."""
        attributes: list[tuple[str, Any]] = [
            (f"MEMORY_INFO_A_{name}", {"attrs": [(f"MEMORY_INFO_T_{m}", mem), (f"MEMORY_INFO_T_{s}", swap)]})
            for name, (m, mem, s, swap) in zip(("WARN", "KILL", "RECOVER"), pairs, strict=True)
        ]
        if fill_kib_per_sec is not None:
            attributes.append(("MEMORY_INFO_A_FILL_KIB_PER_SEC", fill_kib_per_sec))
        self._request(SET_THRESHOLDS, attributes, NLM_F_ACK)

    def arm(self, cgroup_ids: Sequence[int]) -> None:
        """ARM."""
        packed = struct.pack(f"={len(cgroup_ids)}Q", *cgroup_ids)
        self._request(ARM, [("MEMORY_INFO_A_ORDER", packed)], NLM_F_ACK)

    def disarm(self) -> None:
        """DISARM."""
        self._request(DISARM, [], NLM_F_ACK)

    def events(self, until: Callable[[list[Event]], bool], timeout: float = LIMIT) -> list[Event]:
        """The events from now on until they satisfy `until`. Raises AssertionError, and OSError as recv(2) does."""
        seen: list[Event] = []
        deadline = time.monotonic() + timeout
        while not until(seen):
            left = deadline - time.monotonic()
            assert left > 0, f"the events did not come: {seen}"
            if select.select([self._socket.fileno()], [], [], left)[0]:
                seen += [make_event(message) for message in self._socket.get()]
        return seen


def pack_attribute(kind: int, payload: bytes, *, length: int | None = None) -> bytes:
    """One attribute, padded; `length` is what it claims instead of the truth."""
    claimed = 4 + len(payload) if length is None else length
    return struct.pack("=HH", claimed, kind) + payload + bytes(-len(payload) % 4)


def send_raw(
    number: int, cmd: int, body: bytes, *, version: int = 1, reserved: int = 0, flags: int = 0, header: bool = True
) -> tuple[int, str]:
    """Send bytes as a request for an ack; the errno (0: accepted) and the kernel's sentence."""
    payload = (struct.pack("=BBH", cmd, version, reserved) if header else b"") + body
    request = struct.pack("=IHHII", 16 + len(payload), number, NLM_F_REQUEST | NLM_F_ACK | flags, 1, 0) + payload
    with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, 16) as raw:
        raw.settimeout(LIMIT)
        for option in (_NETLINK_CAP_ACK, _NETLINK_EXT_ACK):
            raw.setsockopt(_SOL_NETLINK, option, 1)
        raw.send(request)
        while True:
            answer = raw.recv(1 << 16)
            if struct.unpack_from("=H", answer, 4)[0] == _NLMSG_ERROR:
                return parse_ack(answer)


def parse_ack(answer: bytes) -> tuple[int, str]:
    """The errno and the sentence of an NLMSG_ERROR."""
    length, error = struct.unpack_from("=I", answer)[0], struct.unpack_from("=i", answer, 16)[0]
    at = 16 + _CAPPED_ERROR_BYTES
    while at + 4 <= length:
        size, kind = struct.unpack_from("=HH", answer, at)
        if kind == _NLMSGERR_ATTR_MSG:
            return -error, answer[at + 4 : at + size].rstrip(b"\0").decode()
        at += (size + 3) & ~3
    return -error, ""


def as_user(uid: int, question: Callable[[], tuple[int, str]]) -> tuple[int, str]:
    """The answer to a question asked by a child that has become `uid`."""
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        os.setgroups([])
        os.setgid(uid)
        os.setuid(uid)
        code, text = question()
        os.write(writing, f"{code} {text}".encode())
        os._exit(0)
    os.close(writing)
    with os.fdopen(reading, "rb") as pipe:
        said = pipe.read().decode()
    assert os.waitpid(child, 0)[1] == 0
    code_text, _, text = said.partition(" ")
    return int(code_text), text

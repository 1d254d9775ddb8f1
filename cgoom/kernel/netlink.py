"""Generic netlink over one socket: messages and attributes as bytes, families by name, the kernel's refusals in words.

Pure apart from `Socket`. What the kernel sends is read strictly (a length that does not fit is a FormatError) and
tolerantly (an attribute that nobody asked for is passed over), so that a newer module does not silence an older cgoom.
"""

from __future__ import annotations

import errno
import os
import socket
import struct
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass

from cgoom.errors import FormatError
from cgoom.kernel.fault import kernel_errors

_HEADER = struct.Struct("=IHHII")  # struct nlmsghdr: length, type, flags, sequence, port
_GENERIC = struct.Struct("=BBH")  # struct genlmsghdr: command, version, reserved
_ATTRIBUTE = struct.Struct("=HH")  # struct nlattr: length, type
_ERRNO = struct.Struct("=i")
_U16, _U32, _U64 = struct.Struct("=H"), struct.Struct("=I"), struct.Struct("=Q")
# include/uapi/linux/netlink.h
_NLMSG_ERROR = 2
_NLM_F_REQUEST, _NLM_F_ACK = 0x01, 0x04
_NLM_F_CAPPED, _NLM_F_ACK_TLVS = 0x100, 0x200
_NLA_F_NESTED = 0x8000
_NLA_TYPE_MASK = 0x3FFF
_NLMSGERR_ATTR_MSG = 1
_SOL_NETLINK = 270
_ADD_MEMBERSHIP, _CAP_ACK, _EXT_ACK = 1, 10, 11
_NETLINK_GENERIC = 16
_SO_RCVBUFFORCE = 33
# include/uapi/linux/genetlink.h
CONTROL_FAMILY, CONTROL_GROUP = "nlctrl", "notify"
_CONTROL_ID = 0x10
NEW_FAMILY, DELETED_FAMILY = 1, 2
_GET_FAMILY = 3
_CTRL_FAMILY_ID, _CTRL_FAMILY_NAME, _CTRL_VERSION, _CTRL_GROUPS = 1, 2, 3, 7
_GROUP_NAME, _GROUP_ID = 1, 2
# Bytes. The kernel makes no generic netlink message longer than NLMSG_GOODSIZE (8 KiB); chosen with room.
_RECEIVE_BYTES = 32 * 1024
# Bytes of messages that wait while we are stopped; chosen: thousands of events, where the default holds 166 of them.
QUEUE_BYTES = 4 << 20


@dataclass(frozen=True, slots=True)
class Message:
    """One netlink message; `body` is what stands behind its header. `port`: whose request it answers; 0: an event."""

    type: int
    flags: int
    sequence: int
    port: int
    body: bytes


@dataclass(frozen=True, slots=True)
class Family:
    """A generic netlink family as the kernel numbers it now: the numbers change when its module is loaded again."""

    name: str
    family_id: int
    version: int
    groups: dict[str, int]


class Attributes:
    """The attributes of one message or nest by number; the last of a number counts, as in the kernel."""

    __slots__ = ("_found", "_what")

    def __init__(self, body: bytes, what: str) -> None:
        """Raises FormatError that names `what`."""
        self._what = what
        self._found = dict(parse_attributes(body, what))

    def __contains__(self, number: int) -> bool:
        return number in self._found

    def raw(self, number: int) -> bytes:
        """The bytes of it. Raises FormatError where it is missing."""
        found = self._found.get(number)
        if found is None:
            raise FormatError(f"{self._what}: attribute {number} is missing")
        return found

    def u16(self, number: int) -> int:
        """A number of 16 bits. Raises FormatError."""
        return self._unpack(_U16, number)

    def u32(self, number: int) -> int:
        """A number of 32 bits. Raises FormatError."""
        return self._unpack(_U32, number)

    def u64(self, number: int) -> int:
        """A number of 64 bits. Raises FormatError."""
        return self._unpack(_U64, number)

    def text(self, number: int) -> str:
        """A string that ends with its NUL. Raises FormatError where it is missing."""
        return self.raw(number).partition(b"\0")[0].decode("utf-8", "backslashreplace")

    def nest(self, number: int) -> Attributes:
        """The attributes within it. Raises FormatError."""
        return Attributes(self.raw(number), self._what)

    def listing(self, number: int) -> Iterator[Attributes]:
        """Each nest within it, whatever its own number. Raises FormatError."""
        for _, body in parse_attributes(self.raw(number), self._what):
            yield Attributes(body, self._what)

    def _unpack(self, layout: struct.Struct, number: int) -> int:
        body = self.raw(number)
        if len(body) != layout.size:
            raise FormatError(f"{self._what}: attribute {number} has {len(body)} bytes, not {layout.size}")
        value: int = layout.unpack(body)[0]
        return value


def encode_u32(number: int, value: int) -> bytes:
    """The attribute `number` with 32 bits."""
    return encode_attribute(number, _U32.pack(value))


def encode_u64(number: int, value: int) -> bytes:
    """The attribute `number` with 64 bits."""
    return encode_attribute(number, _U64.pack(value))


def encode_attribute(number: int, body: bytes) -> bytes:
    """Header, body, and what rounds it up to four bytes."""
    length = _ATTRIBUTE.size + len(body)
    return _ATTRIBUTE.pack(length, number) + body + bytes(-length % 4)


def encode_nest(number: int, body: bytes) -> bytes:
    """Attributes within an attribute, marked as a nest, without which a strict family refuses it."""
    return encode_attribute(number | _NLA_F_NESTED, body)


def encode_request(family_id: int, command: int, version: int, sequence: int, body: bytes, ack: bool) -> bytes:
    """A whole message for the kernel; `ack`: it shall answer although there is nothing to tell."""
    flags = _NLM_F_REQUEST | (_NLM_F_ACK if ack else 0)
    length = _HEADER.size + _GENERIC.size + len(body)
    return _HEADER.pack(length, family_id, flags, sequence, 0) + _GENERIC.pack(command, version, 0) + body


def parse_messages(datagram: bytes) -> list[Message]:
    """The messages of one datagram. Raises FormatError."""
    found, at = [], 0
    while at < len(datagram):
        if len(datagram) - at < _HEADER.size:
            raise FormatError(f"netlink: {len(datagram) - at} bytes behind the last message")
        length, kind, flags, sequence, port = _HEADER.unpack_from(datagram, at)
        if not _HEADER.size <= length <= len(datagram) - at:
            raise FormatError(f"netlink: a message of {length} bytes in {len(datagram) - at}")
        found.append(Message(kind, flags, sequence, port, datagram[at + _HEADER.size : at + length]))
        at += length + -length % 4
    return found


def parse_attributes(body: bytes, what: str) -> list[tuple[int, bytes]]:
    """(number, bytes) of each attribute. Raises FormatError that names `what`."""
    found, at = [], 0
    while at < len(body):
        if len(body) - at < _ATTRIBUTE.size:
            raise FormatError(f"{what}: {len(body) - at} bytes behind the last attribute")
        length, number = _ATTRIBUTE.unpack_from(body, at)
        if not _ATTRIBUTE.size <= length <= len(body) - at:
            raise FormatError(f"{what}: an attribute of {length} bytes in {len(body) - at}")
        found.append((number & _NLA_TYPE_MASK, body[at + _ATTRIBUTE.size : at + length]))
        at += length + -length % 4
    return found


def parse_generic(message: Message, what: str) -> tuple[int, Attributes]:
    """Command and attributes of a generic netlink message. Raises FormatError that names `what`."""
    if len(message.body) < _GENERIC.size:
        raise FormatError(f"{what}: a message of {len(message.body)} bytes")
    command: int = _GENERIC.unpack_from(message.body)[0]
    return command, Attributes(message.body[_GENERIC.size :], what)


def parse_refusal(message: Message) -> tuple[int, str]:
    """(errno, the kernel's own sentence or nothing) of an NLMSG_ERROR; errno 0 is an ack. Raises FormatError."""
    body = message.body
    if len(body) < _ERRNO.size + _HEADER.size:
        raise FormatError(f"netlink: an answer of {len(body)} bytes")
    code = -_ERRNO.unpack_from(body)[0]
    if not 0 <= code < 4096:  # MAX_ERRNO, include/linux/err.h
        raise FormatError(f"netlink: an answer with errno {code}")
    if not message.flags & _NLM_F_ACK_TLVS:
        return code, ""
    start = _ERRNO.size + _HEADER.size
    if not message.flags & _NLM_F_CAPPED:
        start += max(0, _HEADER.unpack_from(body, _ERRNO.size)[0] - _HEADER.size)
    said = Attributes(body[start:], "netlink")
    return code, said.text(_NLMSGERR_ATTR_MSG) if _NLMSGERR_ATTR_MSG in said else ""


def parse_family(attributes: Attributes) -> Family:
    """What nlctrl says of a family. Raises FormatError."""
    groups = {}
    if _CTRL_GROUPS in attributes:
        for group in attributes.listing(_CTRL_GROUPS):
            groups[group.text(_GROUP_NAME)] = group.u32(_GROUP_ID)
    return Family(
        attributes.text(_CTRL_FAMILY_NAME),
        attributes.u16(_CTRL_FAMILY_ID),
        attributes.u32(_CTRL_VERSION) if _CTRL_VERSION in attributes else 0,
        groups,
    )


def parse_control(message: Message) -> tuple[int, str]:
    """(command, name of the family) of a message of nlctrl. Raises FormatError."""
    command, attributes = parse_generic(message, CONTROL_FAMILY)
    return command, attributes.text(_CTRL_FAMILY_NAME) if _CTRL_FAMILY_NAME in attributes else ""


def is_control(message: Message) -> bool:
    """Whether nlctrl sent it."""
    return message.type == _CONTROL_ID


class Socket:
    """One non-blocking generic netlink socket for requests and events.

    The kernel answers a request before send(2) returns, so that an answer is never waited for. Events that arrive
    meanwhile are kept for `drain`. `is_lossy`: the queue overflowed since it was last asked, and the newest are lost.
    """

    def __init__(self) -> None:
        """Raises NotPermittedError, KernelError (a kernel or a sandbox without netlink)."""
        with kernel_errors("netlink"):
            kind = socket.SOCK_RAW | socket.SOCK_CLOEXEC | socket.SOCK_NONBLOCK
            self._socket = socket.socket(socket.AF_NETLINK, kind, _NETLINK_GENERIC)
            self._socket.bind((0, 0))
            for option in (_EXT_ACK, _CAP_ACK):
                self._socket.setsockopt(_SOL_NETLINK, option, 1)
            try:
                self._socket.setsockopt(socket.SOL_SOCKET, _SO_RCVBUFFORCE, QUEUE_BYTES)
            except PermissionError:  # without CAP_NET_ADMIN as much as net.core.rmem_max allows
                self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, QUEUE_BYTES)
            self._port = self._socket.getsockname()[0]
        self._buffer = bytearray(_RECEIVE_BYTES)
        self._kept: list[Message] = []
        self._sequence = 0
        self._lossy = False

    @property
    def fd(self) -> int:
        """Readable when an event waits in the kernel; what a request has met meanwhile does not show."""
        return self._socket.fileno()

    def close(self) -> None:
        """Leave every group and give the descriptor back."""
        self._socket.close()

    def join(self, group_id: int) -> None:
        """Be sent the events of a multicast group. Raises NotPermittedError, KernelError."""
        with kernel_errors("netlink"):
            self._socket.setsockopt(_SOL_NETLINK, _ADD_MEMBERSHIP, group_id)

    def read_family(self, name: str) -> Family:
        """Raises GoneError where the kernel has no such family, FormatError, KernelError."""
        body = encode_attribute(_CTRL_FAMILY_NAME, name.encode() + b"\0")
        answer = self.request(Family(CONTROL_FAMILY, _CONTROL_ID, 2, {}), _GET_FAMILY, body, ack=False)
        return parse_family(answer)

    def request(self, family: Family, command: int, body: bytes, ack: bool) -> Attributes:
        """Ask the family and take its answer: its attributes, or none of them for an ack.

        Raises GoneError, NotPermittedError, KernelError with the kernel's own sentence, FormatError.
        """
        self._sequence += 1
        message = encode_request(family.family_id, command, family.version, self._sequence, body, ack)
        with kernel_errors(family.name):
            self._socket.send(message)
            # A queue that was full took no answer either: it is empty now, and nothing is done twice by asking again.
            answer = self._receive_answer() or self._send_again(message)
            if answer is None:
                raise OSError(errno.ETIMEDOUT, "no answer")
            if answer.type != _NLMSG_ERROR:
                return parse_generic(answer, family.name)[1]
            code, said = parse_refusal(answer)
            if code:
                raise OSError(code, f"{os.strerror(code)}: {said}" if said else os.strerror(code))
        return Attributes(b"", family.name)

    def drain(self) -> list[Message]:
        """Every event that is there, without waiting. Raises KernelError, FormatError."""
        with kernel_errors("netlink"):
            while (messages := self._receive()) is not None:
                self._kept += messages
        kept, self._kept = self._kept, []
        return kept

    def peek(self, size: int) -> bytearray | None:
        """The event that `drain` takes next, at least `size` bytes of it; None: there is no such event.

        It stands there until anything else is asked for.
        """
        try:
            found, (port, _groups) = self._socket.recvfrom_into(self._buffer, 0, socket.MSG_PEEK)
        except OSError as error:
            self._lossy = self._lossy or not isinstance(error, BlockingIOError)  # the kernel tells it once
            return None
        return self._buffer if port == 0 and found >= size and not self._kept else None

    def take_lossy(self) -> bool:
        """Whether events were lost since the last call."""
        lossy, self._lossy = self._lossy, False
        return lossy

    def _send_again(self, message: bytes) -> Message | None:
        self._socket.send(message)
        return self._receive_answer()

    def _receive_answer(self) -> Message | None:
        found = None
        while (messages := self._receive()) is not None:
            for message in messages:
                if message.port != self._port:
                    self._kept.append(message)
                elif message.sequence == self._sequence:
                    found = message
        return found

    def _receive(self) -> list[Message] | None:
        """The messages of the next datagram, none of one that the kernel did not send; None: there is no more."""
        with suppress(BlockingIOError):
            try:
                size, (port, _groups) = self._socket.recvfrom_into(self._buffer)
            except OSError as error:
                if error.errno != errno.ENOBUFS:
                    raise
                self._lossy = True
                return []
            # Anybody may send to a netlink port; what is not from the kernel (port 0) is not a word of the family.
            return parse_messages(bytes(self._buffer[:size])) if port == 0 else []
        return None

"""Generic netlink: against this host's own kernel, and against bytes that no kernel sends."""

from __future__ import annotations

import errno
import socket
import struct
from collections.abc import Callable, Iterator
from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cgoom.errors import FormatError, GoneError, KernelError
from cgoom.kernel.netlink import (
    CONTROL_FAMILY,
    CONTROL_GROUP,
    Attributes,
    Family,
    Message,
    Socket,
    encode_attribute,
    encode_nest,
    encode_request,
    encode_u32,
    encode_u64,
    parse_attributes,
    parse_control,
    parse_family,
    parse_generic,
    parse_messages,
    parse_refusal,
)

GET_FAMILY = 3


@pytest.fixture
def netlink() -> Iterator[Socket]:
    """A socket of this host."""
    opened = Socket()
    yield opened
    opened.close()


def test_the_control_family_tells_of_itself(netlink: Socket) -> None:
    family = netlink.read_family(CONTROL_FAMILY)
    assert (family.name, family.family_id) == (CONTROL_FAMILY, 16)
    netlink.join(family.groups[CONTROL_GROUP])
    assert netlink.drain() == []
    assert not netlink.take_lossy()


def test_an_unknown_family_is_gone(netlink: Socket) -> None:
    with pytest.raises(GoneError, match=r"^nlctrl: No such file or directory"):
        netlink.read_family("cgoom_nothing")


def test_a_refusal_has_the_words_of_the_kernel(netlink: Socket) -> None:
    family = netlink.read_family(CONTROL_FAMILY)
    with pytest.raises(KernelError, match=r"^nlctrl: Invalid argument: .*policy"):
        netlink.request(family, GET_FAMILY, encode_attribute(2, b"a name without its end" * 9), ack=True)
    # The socket is as good as before.
    assert netlink.read_family(CONTROL_FAMILY) == family


def test_an_unknown_command_is_refused(netlink: Socket) -> None:
    with pytest.raises(KernelError, match="not supported"):
        netlink.request(Family(CONTROL_FAMILY, 16, 2, {}), 200, b"", ack=True)


def test_what_another_process_sends_is_dropped(netlink: Socket) -> None:
    forger = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, 16)
    forger.bind((0, 0))
    port = _port_of(netlink)
    try:
        forger.sendto(encode_request(16, 2, 1, 0, b"", ack=False), (port, 0))
        forger.sendto(b"garbage", (port, 0))
    except PermissionError:
        pytest.skip("only root may send to another process: run as root")
    finally:
        forger.close()
    assert netlink.peek(1) is None
    assert netlink.drain() == []


def test_what_comes_next_is_seen_and_still_comes(netlink: Socket) -> None:
    assert netlink.peek(1) is None
    body = encode_attribute(2, CONTROL_FAMILY.encode() + b"\0")
    netlink._socket.send(encode_request(16, GET_FAMILY, 2, 77, body, ack=False))
    seen = netlink.peek(20)
    assert seen is not None
    shown, drained = parse_messages(bytes(seen[: int.from_bytes(seen[:4], "little")])), netlink.drain()
    assert drained == shown
    assert [message.sequence for message in drained] == [77]
    netlink._socket.send(encode_request(16, GET_FAMILY, 2, 78, body, ack=False))
    assert netlink.peek(8192) is None, "it is not as long"
    netlink._kept = drained
    assert netlink.peek(20) is None, "another one comes before it"
    assert [message.sequence for message in netlink.drain()] == [77, 78]
    assert not netlink.take_lossy()


def test_that_events_were_lost_is_not_lost_itself(netlink: Socket, monkeypatch: pytest.MonkeyPatch) -> None:
    """The kernel tells it to whoever reads next."""

    class Full:
        """A socket whose queue overflowed."""

        def recvfrom_into(self, *_: object) -> None:
            raise OSError(errno.ENOBUFS, "No buffer space available")

    with monkeypatch.context() as patch:
        patch.setattr(netlink, "_socket", Full())
        assert netlink.peek(1) is None
    assert netlink.peek(1) is None
    assert netlink.take_lossy()


def _port_of(netlink: Socket) -> int:
    """The netlink port of an open socket."""
    again = socket.fromfd(netlink.fd, socket.AF_NETLINK, socket.SOCK_RAW, 16)
    try:
        return int(again.getsockname()[0])
    finally:
        again.close()


def test_a_request_is_read_back() -> None:
    body = encode_u32(3, 7) + encode_nest(4, encode_u64(5, 2**64 - 1)) + encode_attribute(6, b"abc\0def")
    (message,) = parse_messages(encode_request(30, 2, 1, 9, body, ack=True))
    assert (message.type, message.sequence, message.flags & 5) == (30, 9, 5)
    command, attributes = parse_generic(message, "x")
    assert command == 2
    assert attributes.u32(3) == 7
    assert attributes.nest(4).u64(5) == 2**64 - 1
    assert attributes.text(6) == "abc"
    assert 7 not in attributes


@pytest.mark.parametrize("size", range(16))
def test_half_a_header_is_an_error(size: int) -> None:
    whole = encode_request(30, 2, 1, 9, b"", ack=True)
    if size:
        with pytest.raises(FormatError):
            parse_messages(whole[:size])
    with pytest.raises(FormatError):
        parse_messages(whole + whole[: size or 1])


def test_a_number_of_another_size_is_an_error() -> None:
    attributes = Attributes(encode_attribute(1, b"123"), "x")
    for read in (attributes.u16, attributes.u32, attributes.u64):
        with pytest.raises(FormatError, match="attribute 1 has 3 bytes"):
            read(1)
        with pytest.raises(FormatError, match="attribute 2 is missing"):
            read(2)


def test_a_refusal_is_taken_apart() -> None:
    request = encode_request(30, 2, 1, 9, encode_u32(1, 1), ack=True)
    said = encode_attribute(1, b"no such thing\0")
    capped = Message(2, 0x300, 9, 1, struct.pack("=i", -22) + request[:16] + said)
    assert parse_refusal(capped) == (22, "no such thing")
    whole = Message(2, 0x200, 9, 1, struct.pack("=i", -22) + request + said)
    assert parse_refusal(whole) == (22, "no such thing")
    assert parse_refusal(Message(2, 0x100, 9, 1, struct.pack("=i", 0) + request[:16])) == (0, "")
    for body in (b"", struct.pack("=i", -22), struct.pack("=i", 5) + request[:16]):
        with pytest.raises(FormatError):
            parse_refusal(Message(2, 0, 9, 1, body))


PARSERS = (
    parse_messages,
    lambda body: parse_attributes(body, "x"),
    lambda body: parse_generic(Message(30, 0, 0, 0, body), "x"),
    lambda body: parse_refusal(Message(2, 0x200, 0, 0, body)),
    lambda body: parse_control(Message(16, 0, 0, 0, body)),
    lambda body: parse_family(Attributes(body, "x")),
)


@given(st.binary(max_size=200), st.sampled_from(PARSERS))
def test_garbage_is_read_or_is_one_error(body: bytes, parse: Callable[[bytes], object]) -> None:
    with suppress(FormatError):
        parse(body)

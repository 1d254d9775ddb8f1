"""The D-Bus client of a launch against jeepney, which was written by others after the same specification."""

from __future__ import annotations

import socket
import threading
from contextlib import suppress
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from jeepney import (  # type: ignore[import-untyped]
    DBusAddress,
    Endianness,
    HeaderFields,
    Message,
    Parser,
    new_error,
    new_method_return,
    new_signal,
)

from cgoom.place.bus import BUS, Address, Bus, BusError, make_call, parse_message, read_message_size
from cgoom.place.request import LaunchRequest, Limits
from cgoom.place.systemd import _marshal_unit, _wait_job, list_properties

ADDRESS = Address("a.b", "/a/b", "a.b.C")
TEXT = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=40)
NUMBER = st.none() | st.integers(0, 2**64 - 1)


def parse(sent: bytes) -> Message:
    """The one message that jeepney reads."""
    parser = Parser()
    parser.add_data(sent)
    message = parser.get_next_message()
    assert message is not None
    return message


@given(TEXT, NUMBER, NUMBER, st.integers(1, 2**32 - 1), st.integers(1, 2**32 - 1))
def test_the_call_is_what_jeepney_reads(
    name: str, memory: int | None, weight: int | None, pid: int, serial: int
) -> None:
    request = LaunchRequest(name, ("x",), limits=Limits(memory, None, weight))
    properties = list_properties(request, "s.slice", pid)
    body = _marshal_unit(f"{name}.scope", properties)
    read = parse(make_call(serial, ADDRESS, "Start", "ssa(sv)a(sa(sv))", body))
    assert read.body == (f"{name}.scope", "fail", properties, [])
    assert read.header.serial == serial
    assert read.header.fields[HeaderFields.destination] == "a.b"
    assert (read.header.fields[HeaderFields.path], read.header.fields[HeaderFields.member]) == ("/a/b", "Start")


@pytest.mark.parametrize("endianness", list(Endianness))
@given(number=st.integers(0, 2**32 - 1), text=TEXT, serial=st.integers(1, 2**32 - 1))
def test_what_jeepney_sends_is_read(endianness: Endianness, number: int, text: str, serial: int) -> None:
    emitter = DBusAddress("/a/b", interface="a.b.C")
    signal = new_signal(emitter, "Gone", "uos", (number, "/x", text))
    signal.header.fields[HeaderFields.sender] = ":1.7"
    signal.header.endianness = endianness
    sent = signal.serialise(serial=serial)
    assert read_message_size(sent[:16]) == len(sent)
    read = parse_message(sent)
    assert (read.sender, read.member, read.body, read.reply_serial) == (":1.7", "Gone", (number, "/x", text), 0)


@given(st.binary(min_size=16, max_size=200))
def test_rubbish_is_refused_or_read_but_nothing_else(content: bytes) -> None:
    assert read_message_size(content[:16]) >= 16
    with suppress(ConnectionAbortedError):
        assert parse_message(content).kind == content[1]


def test_a_field_of_another_type_is_refused() -> None:
    sent = new_signal(DBusAddress("/a/b", interface="a.b.C"), "Gone").serialise(serial=1)
    member, reply_serial = b"\x03\x01s\0", b"\x05\x01s\0"
    assert sent.count(member) == 1
    with pytest.raises(ConnectionAbortedError):
        parse_message(sent.replace(member, reply_serial))


class Peer(threading.Thread):
    """One connection of a bus: it sends `before` as it is, then what `answer` makes of every call."""

    def __init__(self, before: bytes, answer: Any) -> None:
        super().__init__(daemon=True)
        self.connection, self._client = socket.socketpair()
        self._before, self._answer = before, answer

    def run(self) -> None:
        """Serve the client until it hangs up."""
        with self._client as client:
            client.sendall(self._before)
            parser, lines = Parser(), b""
            while piece := client.recv(4096):
                lines += piece
                _, begun, messages = lines.partition(b"BEGIN\r\n")
                if not begun:
                    continue
                parser.add_data(messages)
                lines = b"BEGIN\r\n"
                while (call := parser.get_next_message()) is not None:
                    for serial, message in enumerate(self._answer(call), 1):
                        with suppress(BrokenPipeError):  # the client has seen enough
                            client.sendall(message.serialise(serial=serial))


def start_peer(before: bytes, answer: Any) -> socket.socket:
    """The client's end of a connection to such a bus."""
    peer = Peer(before, answer)
    peer.start()
    return peer.connection


def test_a_refused_call_is_an_error_with_its_name() -> None:
    def refuse(call: Message) -> list[Message]:
        known = call.header.fields[HeaderFields.member] == "Hello"
        return [new_method_return(call) if known else new_error(call, "a.b.No", "s", ("why",))]

    with Bus(start_peer(b"OK 1234\r\n", refuse), 20) as bus:
        bus.send(BUS, "AddMatch")
        with pytest.raises(BusError) as caught:
            bus.wait_answer(bus.send(ADDRESS, "Start"))
    assert (caught.value.name, caught.value.text) == ("a.b.No", "why")


def test_a_signal_before_the_answer_is_kept_and_others_are_passed_over() -> None:
    def answer(call: Message) -> list[Message]:
        emitter = DBusAddress("/a/b", interface="a.b.C")
        signals = [new_signal(emitter, member, "s", (member,)) for member in ("NameAcquired", "Gone")]
        return [*signals, new_method_return(call, "s", ("yes",))]

    with Bus(start_peer(b"OK 1234\r\n", answer), 20) as bus:
        assert bus.wait_answer(bus.send(ADDRESS, "Start")).body == ("yes",)
        assert bus.wait_signal("Gone").body == ("Gone",)


def send_as(sender: str, message: Message) -> Message:
    """The message as a bus passes it on."""
    message.header.fields[HeaderFields.sender] = sender
    return message


def test_only_who_was_asked_says_how_the_job_ended() -> None:
    def answer(call: Message) -> list[Message]:
        emitter = DBusAddress("/a/b", interface="a.b.C")
        forged = [
            new_signal(emitter, "JobRemoved"),
            new_signal(emitter, "JobRemoved", "uoss", (1, "/1", "u", "failed")),
        ]
        other = new_signal(emitter, "JobRemoved", "uoss", (2, "/2", "u", "failed"))
        short = new_signal(emitter, "JobRemoved", "uo", (1, "/1"))
        done = new_signal(emitter, "JobRemoved", "uoss", (1, "/1", "u", "done"))
        own = [short, other, new_method_return(call, "o", ("/1",)), done]
        return [*(send_as(":1.66", message) for message in forged), *(send_as(":1.1", message) for message in own)]

    with Bus(start_peer(b"OK 1234\r\n", answer), 20) as bus:
        assert _wait_job(bus, bus.wait_answer(bus.send(ADDRESS, "Start"))) == "done"


def test_an_answer_without_a_job_is_an_os_error() -> None:
    with (
        Bus(start_peer(b"OK 1234\r\n", lambda call: [new_method_return(call)]), 20) as bus,
        pytest.raises(ConnectionAbortedError),
    ):
        _wait_job(bus, bus.wait_answer(bus.send(ADDRESS, "Start")))


@pytest.mark.parametrize(
    ("before", "error"),
    [(b"REJECTED EXTERNAL\r\n", ConnectionRefusedError), (b"OK 1\r\n" + b"l" + b"\xff" * 40, ConnectionAbortedError)],
    ids=["rejected", "too-long"],
)
def test_a_bus_that_is_none_is_an_os_error(before: bytes, error: type[OSError]) -> None:
    with Bus(start_peer(before, lambda _call: []), 20) as bus, pytest.raises(error):
        bus.wait_answer(1)


def test_silence_ends_with_the_time_limit() -> None:
    with Bus(start_peer(b"", lambda _call: []), 0.1) as bus, pytest.raises(TimeoutError):
        bus.wait_answer(1)

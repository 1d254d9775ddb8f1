"""A stand-in for systemd on a bus of its own: `fake_systemd.py ADDRESS MOUNT MODE`. Prints the properties it is given.

It moves the process as systemd does. MODE: `new`; `old` knows no OOMPolicy; `stale` has a failed unit of that name;
`taken` has a living one; `denied` refuses; `silent` never ends its job; `wrong` moves nothing; with `forged` another
connection claims first that the job ended otherwise.
"""

from __future__ import annotations

import os
import sys
from typing import Any

from jeepney import (  # type: ignore[import-untyped]
    DBusAddress,
    HeaderFields,
    Message,
    message_bus,
    new_error,
    new_method_return,
    new_signal,
)
from jeepney.io.blocking import DBusConnection, open_dbus_connection  # type: ignore[import-untyped]

PATH = "/org/freedesktop/systemd1"
INTERFACE = "org.freedesktop.systemd1.Manager"
JOB = f"{PATH}/job/1"


def forge_signals(address: str, caller: str, unit: str) -> None:
    """JobRemoved from somebody else, to everybody and to the caller alone, without arguments and with wrong ones."""
    forger = open_dbus_connection(address)
    destinations: list[dict[HeaderFields, str]] = [{}, {HeaderFields.destination: caller}]
    for destination in destinations:
        for signature, body in (("", ()), ("uoss", (1, JOB, unit, "failed"))):
            signal = new_signal(DBusAddress(PATH, interface=INTERFACE), "JobRemoved", signature, body)
            signal.header.fields |= destination
            forger.send(signal)
    forger.send_and_get_reply(message_bus.GetId())  # the bus has passed on what it was sent before
    forger.close()


def start_unit(bus: DBusConnection, call: Message, mount: str, mode: str) -> None:
    """Answer StartTransientUnit."""
    unit, _, properties, _ = call.body
    given: dict[str, Any] = {name: value for name, (_, value) in properties}
    print(given, flush=True)
    refusal = {"taken": "systemd1.UnitExists", "stale": "systemd1.UnitExists", "denied": "DBus.Error.AccessDenied"}
    if mode == "old" and "OOMPolicy" in given:
        refusal["old"] = "DBus.Error.PropertyReadOnly"
    if mode in refusal:
        bus.send(new_error(call, f"org.freedesktop.{refusal[mode]}", "s", ("no",)))
        return
    directory = f"{mount}/{given['Slice']}/{unit}"
    os.makedirs(directory, exist_ok=True)
    signal = new_signal(DBusAddress(PATH, interface=INTERFACE), "JobRemoved", "uoss", (1, JOB, unit, "done"))
    if mode != "wrong":
        with open(f"{directory}/cgroup.procs", "w", encoding="ascii") as procs:
            procs.write(str(given["PIDs"][0]))
    if mode != "silent":
        bus.send(signal)  # before the answer: the client must not miss it
    bus.send(new_method_return(call, "o", (JOB,)))


def main(address: str, mount: str, mode: str) -> None:
    """Serve until killed."""
    bus = open_dbus_connection(address)
    bus.send_and_get_reply(message_bus.RequestName("org.freedesktop.systemd1"))
    print("ready", flush=True)
    while True:
        call = bus.receive()
        member = call.header.fields.get(HeaderFields.member)
        if member == "StartTransientUnit":
            if mode == "forged":
                forge_signals(address, call.header.fields[HeaderFields.sender], call.body[0])
            start_unit(bus, call, mount, mode)
        elif member == "ResetFailedUnit":
            mode = "new" if mode == "stale" else mode
            bus.send(new_method_return(call))


if __name__ == "__main__":
    main(*sys.argv[1:])

"""sd_notify(3): what systemd learns of the daemon. Without NOTIFY_SOCKET nothing is sent."""

from __future__ import annotations

import os
import socket
from collections.abc import Mapping
from contextlib import suppress

from cgoom.daemon.sources import NEVER_USEC

# Microseconds; chosen: while the module watches a calm host, one wake-up in six minutes. Who sleeps cannot hang; a
# daemon that was stopped, or that hangs in a turn that no shortage caused, is started anew after that.
ASLEEP_LIMIT_USEC = 600_000_000
# The part of the limit that a sign of life waits for a turn that something else asks for; chosen: with the 30 s of our
# unit 3.75, and on a calm host every other look, a second after the one before, is a whole turn.
LATE_PARTS = 8
# Microseconds until what the service manager had no room for is sent again; chosen.
AGAIN_USEC = 1_000_000


class Notifier:
    """Datagrams to the socket that the service manager named, sent without waiting: one may be lost."""

    def __init__(self, environ: Mapping[str, str] = os.environ) -> None:
        address = environ.get("NOTIFY_SOCKET", "")
        self._socket: socket.socket | None = None
        if address[:1] in ("/", "@"):
            self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC | socket.SOCK_NONBLOCK)
            with suppress(OSError):
                self._socket.connect("\0" + address[1:] if address[0] == "@" else address)
        limit_usec = environ.get("WATCHDOG_USEC", "")
        mine = environ.get("WATCHDOG_PID", str(os.getpid())) == str(os.getpid())
        self._limit_usec = int(limit_usec) if mine and limit_usec.isdecimal() else 0
        self._is_asleep = False
        self._told = ""
        self._from_usec = 0  # who is awake anyway gives the next sign of life after that
        # When somebody has to be awake for it; NEVER_USEC: nobody expects one.
        self.due_usec = 0 if self._limit_usec else NEVER_USEC

    def send(self, *lines: str) -> bool:
        """Send `KEY=value` lines as one message, never waiting. False: nobody had room for it."""
        if self._socket is None:
            return True
        with suppress(OSError):
            return self._socket.send("\n".join(lines).encode("utf-8", "replace")) > 0
        return False

    def beat(self, now_usec: int, status: str, *, is_asleep: bool) -> None:
        """Send a status that changed, and a sign of life when one is due.

        `is_asleep`: no look is due while nothing changes; the next sign is due later then.
        """
        lines = [f"STATUS={status}"] if status != self._told else []
        limit_usec, is_other = self._limit_usec, is_asleep != self._is_asleep
        is_due = limit_usec > 0 and (is_other or now_usec >= self._from_usec)
        if is_asleep:
            limit_usec = max(limit_usec, ASLEEP_LIMIT_USEC)
        if is_due:
            lines += [f"WATCHDOG_USEC={limit_usec}"] * is_other + ["WATCHDOG=1"]
        if lines and self.send(*lines):
            self._told = status
            if is_due:  # again when half of the limit is over, as sd_watchdog_enabled(3) advises
                self._is_asleep, self._from_usec = is_asleep, now_usec + limit_usec // 2
                self.due_usec = self._from_usec + limit_usec // LATE_PARTS
        elif is_due:
            self._from_usec = self.due_usec = now_usec + min(AGAIN_USEC, self._limit_usec // LATE_PARTS)

    def send_ready(self, now_usec: int, status: str) -> None:
        """Started, or done with a reload. The time is what Type=notify-reload wants beside it."""
        self.send("READY=1", f"MONOTONIC_USEC={now_usec}", f"STATUS={status}")

    def send_reloading(self, now_usec: int) -> None:
        """A reload has begun."""
        self.send("RELOADING=1", f"MONOTONIC_USEC={now_usec}")

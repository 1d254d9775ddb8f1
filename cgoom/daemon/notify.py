"""sd_notify(3): what systemd learns of the daemon. Without NOTIFY_SOCKET nothing is sent."""

from __future__ import annotations

import os
import socket
from collections.abc import Mapping
from contextlib import suppress


class Notifier:
    """Datagrams to the socket that the service manager named, sent without waiting; a lost one is not an error."""

    def __init__(self, environ: Mapping[str, str] = os.environ) -> None:
        address = environ.get("NOTIFY_SOCKET", "")
        self._socket: socket.socket | None = None
        if address[:1] in ("/", "@"):
            self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC | socket.SOCK_NONBLOCK)
            with suppress(OSError):
                self._socket.connect("\0" + address[1:] if address[0] == "@" else address)
        limit_usec = environ.get("WATCHDOG_USEC", "")
        mine = environ.get("WATCHDOG_PID", str(os.getpid())) == str(os.getpid())
        # Half of the limit, as sd_watchdog_enabled(3) advises; None: nobody expects a sign of life.
        self.watchdog_usec = int(limit_usec) // 2 if mine and limit_usec.isdecimal() and int(limit_usec) else None

    def send(self, *lines: str) -> None:
        """Send `KEY=value` lines as one message, never waiting."""
        if self._socket is not None:
            with suppress(OSError):
                self._socket.send("\n".join(lines).encode("utf-8", "replace"))

    def send_ready(self, now_usec: int, status: str) -> None:
        """Started, or done with a reload. The time is what Type=notify-reload wants beside it."""
        self.send("READY=1", f"MONOTONIC_USEC={now_usec}", f"STATUS={status}")

    def send_reloading(self, now_usec: int) -> None:
        """A reload has begun."""
        self.send("RELOADING=1", f"MONOTONIC_USEC={now_usec}")

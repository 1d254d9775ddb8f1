"""A NOTIFY_SOCKET to listen at, as a service manager does."""

from __future__ import annotations

import contextlib
import os
import socket
import tempfile
import threading


class NotifySocket:
    """Collects the messages of sd_notify(3) until `close()`; `path` is for NOTIFY_SOCKET.

    A thread reads: a socket that nobody reads fills up and blocks its sender.
    """

    def __init__(self) -> None:
        # A directory of its own and a short name: a socket's path ends at 107 bytes.
        self._directory = tempfile.TemporaryDirectory(prefix="cgoom-notify-")
        self.path = os.path.join(self._directory.name, "s")
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.bind(self.path)
        self._fields: list[str] = []
        self._reader = threading.Thread(target=self._read, name="notify", daemon=True)
        self._reader.start()

    def _read(self) -> None:
        while message := self._socket.recv(4096):
            self._fields += message.decode(errors="replace").splitlines()

    def fields(self) -> list[str]:
        """Every `NAME=value` so far, in order."""
        return list(self._fields)

    def forget(self) -> None:
        """Drop what came so far."""
        self._fields.clear()

    def close(self) -> None:
        """End the thread with an empty message, and remove the socket."""
        with contextlib.closing(self._socket), socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sender:
            sender.sendto(b"", self.path)
            self._reader.join(timeout=10)
        self._directory.cleanup()

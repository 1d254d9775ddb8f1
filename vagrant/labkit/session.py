"""A conversation with the agent of one guest: hello, jobs, output, and what the kernel said meanwhile."""

from __future__ import annotations

import dataclasses
import json
import os
import secrets
import select
import socket
import sys
from collections.abc import Iterator
from pathlib import Path

from labkit import wire
from labkit.base import Deadline, GuestLostError, LabError, say
from labkit.complaints import Complaints

_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


def login_environment(**more: str) -> dict[str, str]:
    """Return the environment of a job: root's after a login, and nothing of ours."""
    environment = {"HOME": "/root", "USER": "root", "LOGNAME": "root", "SHELL": "/bin/bash", "PATH": _PATH}
    environment |= {"LANG": "C.UTF-8", "PYTHONDONTWRITEBYTECODE": "1", "TERM": os.environ.get("TERM", "dumb")}
    return environment | more


class Session:
    """A connection to the agent; the kernel log it forwards goes to a file and to the complaints."""

    def __init__(self, connection: socket.socket, kernel_log: Path) -> None:
        """Talk over `connection` and append the kernel log to `kernel_log`."""
        self._connection = connection
        self._kernel_log = kernel_log.open("a", encoding="utf-8")
        self._decoder = wire.Decoder()
        self._frames: list[tuple[bytes, bytes]] = []
        self.complaints = Complaints()

    def hello(self, setup: dict[str, object], deadline: Deadline) -> str:
        """Begin; return the guest's kernel release once it is set up."""
        nonce = secrets.token_hex(8)
        self._send(wire.HELLO, {"nonce": nonce, "setup": setup})
        # The stream may begin with the rest of a frame meant for an earlier lab: look for the answer to us.
        start = wire.encode(wire.READY, b"")[:1]
        marker = f'{{"nonce": "{nonce}"'.encode()
        received = bytearray()
        while (found := received.find(marker)) < 5 or received[found - 5 : found - 4] != start:
            received += self._receive(deadline)
        self._frames = self._decoder.feed(bytes(received[found - 5 :]))
        while not self._frames:
            self._frames = self._decoder.feed(self._receive(deadline))
        _, payload = self._frames.pop(0)
        return str(json.loads(payload)["release"])

    def run(self, job: wire.Job, deadline: Deadline, *, quiet: bool = False) -> tuple[int, bytes]:
        """Run a job; return its exit status and, when `quiet`, its output instead of showing it."""
        self._send(wire.JOB, dataclasses.asdict(job))
        kept = bytearray()
        for kind, payload in self._next_frames(deadline, typing=job.tty is not None):
            if kind in (wire.OUT, wire.ERR):
                if quiet:
                    kept += payload
                else:
                    stream = sys.stdout.buffer if kind == wire.OUT else sys.stderr.buffer
                    stream.write(payload)
                    stream.flush()
            elif kind == wire.KMSG:
                self._log_kernel(payload.decode(errors="replace"))
            elif kind == wire.FAULT:
                raise LabError(f"the agent in the guest says: {json.loads(payload)['message']}")
            elif kind == wire.DONE:
                return int(json.loads(payload)["status"]), bytes(kept)
        raise AssertionError("the frames never end without an exception")

    def close(self) -> None:
        """End the conversation; a job that still runs is killed by the agent."""
        self._connection.close()
        self._kernel_log.close()

    def _log_kernel(self, line: str) -> None:
        self._kernel_log.write(line + "\n")
        self._kernel_log.flush()
        known = len(self.complaints.lines)
        self.complaints.feed(line)
        for complaint in self.complaints.lines[known:]:
            say(f"the kernel complained: {complaint}")

    def _next_frames(self, deadline: Deadline, *, typing: bool) -> Iterator[tuple[bytes, bytes]]:
        while True:
            while self._frames:
                yield self._frames.pop(0)
            self._frames = self._decoder.feed(self._receive(deadline, typing=typing))

    def _send(self, kind: bytes, fields: dict[str, object]) -> None:
        try:
            self._connection.sendall(wire.encode(kind, json.dumps(fields).encode()))
        except OSError as error:
            raise GuestLostError(f"the guest vanished: {error.strerror}") from error

    def _receive(self, deadline: Deadline, *, typing: bool = False) -> bytes:
        """Return the next bytes of the agent, passing on what is typed meanwhile."""
        poller = select.poll()
        poller.register(self._connection, select.POLLIN)
        if typing:
            poller.register(sys.stdin.fileno(), select.POLLIN)
        while left := deadline.left():
            for fd, _ in poller.poll(left * 1000):
                if fd == self._connection.fileno():
                    return self._receive_now()
                typed = os.read(fd, wire.MAX_PAYLOAD_BYTES)
                if typed:
                    self._connection.sendall(wire.encode(wire.STDIN, typed))
                else:
                    poller.unregister(fd)
        raise GuestLostError(f"the {deadline.what} is not over after {deadline.limit_seconds:g} s")

    def _receive_now(self) -> bytes:
        try:
            data = self._connection.recv(1 << 16)
        except ConnectionResetError:
            data = b""
        if not data:
            raise GuestLostError("the guest vanished")
        return data

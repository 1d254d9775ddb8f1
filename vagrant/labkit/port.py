"""The guest's end of the virtio-serial port, and the kernel log that goes through it.

Rule of this file: every write to the port is non-blocking and waits in poll(2), so that a lab that went away is
noticed.
"""

from __future__ import annotations

import errno
import json
import os
import select
import time

from labkit import wire

# Seconds between two looks for a lab when none is connected (the port reports a hang-up all the while). Chosen.
IDLE_SECONDS = 0.05

# Kernel log records forwarded before the job's output gets its turn again. Chosen: an OOM report has about 100.
KMSG_BATCH = 200
# The same where nothing else waits to be sent. Chosen: more than the kernel keeps.
KMSG_ALL = 100 * KMSG_BATCH


class LabGoneError(Exception):
    """Nobody is connected to the other end of the port."""


class Port:
    """The virtio-serial port, as frames."""

    def __init__(self, path: str) -> None:
        """Open the port."""
        self.fd = os.open(path, os.O_RDWR | os.O_NONBLOCK | os.O_CLOEXEC)
        self._decoder = wire.Decoder()

    def connected(self) -> bool:
        """Tell whether a lab is connected, and forget half-received frames when not."""
        poller = select.poll()
        poller.register(self.fd, select.POLLOUT)
        gone = any(events & select.POLLHUP for _, events in poller.poll(0))
        if gone:
            self._decoder = wire.Decoder()
        return not gone

    def send(self, kind: bytes, payload: bytes) -> None:
        """Send one frame, waiting for the lab to take it."""
        data = memoryview(wire.encode(kind, payload))
        poller = select.poll()
        poller.register(self.fd, select.POLLOUT)
        while data:
            for _, events in poller.poll():
                if events & select.POLLHUP:
                    raise LabGoneError
            try:
                data = data[os.write(self.fd, data) :]
            except BlockingIOError:
                continue
            except OSError as error:
                # The kernel copies into a buffer of its own and has none to spare while the guest is out of memory.
                if error.errno != errno.ENOMEM:
                    raise
                time.sleep(IDLE_SECONDS)

    def send_json(self, kind: bytes, **fields: object) -> None:
        """Send one frame with a JSON object in it."""
        self.send(kind, json.dumps(fields).encode())

    def receive(self) -> list[tuple[bytes, bytes]]:
        """Return the frames that are there now."""
        try:
            data = os.read(self.fd, 65536)
        except BlockingIOError:
            return []
        return self._decoder.feed(data)


class KernelLog:
    """The kernel's log, record by record."""

    def __init__(self) -> None:
        """Start with the oldest record there is."""
        self.fd = os.open("/dev/kmsg", os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)

    def forward(self, port: Port, limit: int = KMSG_BATCH) -> None:
        """Send up to `limit` new records to the lab."""
        for _ in range(limit):
            try:
                record = os.read(self.fd, 8192).decode(errors="replace")
            except BlockingIOError:
                return
            except BrokenPipeError:  # the ring overwrote records that were not read yet
                port.send(wire.KMSG, b"lab-agent: kernel log records were lost")
                continue
            prefix, _, rest = record.partition(";")
            stamp_usec = int(prefix.split(",")[2])
            text = rest.split("\n", 1)[0]
            port.send(wire.KMSG, f"[{stamp_usec / 1e6:12.6f}] {text}".encode()[: wire.MAX_PAYLOAD_BYTES])

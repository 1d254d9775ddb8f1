"""The frames between the lab and its agent in the guest, over one virtio-serial port.

One port for everything keeps the order: when the status of a job arrives, all of its output has arrived before it.

Rules of this file:
- Both ends run it (the guest has its own copy in the image), so it needs nothing but the standard library.
- A frame is a kind (one byte), a length (four bytes, big endian) and that many bytes.
- It does no input or output; bytes in, frames out.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass

# Name of the virtio-serial port; udev makes /dev/virtio-ports/NAME of it.
PORT_NAME = "lab"

HELLO = b"H"  # lab -> guest: JSON {nonce, setup}; ends whatever an earlier connection left running
READY = b"R"  # guest -> lab: JSON {nonce, release}
JOB = b"J"  # lab -> guest: JSON, the fields of Job
STDIN = b"I"  # lab -> guest: bytes typed, for a job with a terminal
OUT = b"O"  # guest -> lab: bytes of stdout
ERR = b"E"  # guest -> lab: bytes of stderr
KMSG = b"L"  # guest -> lab: one kernel log record as text
DONE = b"D"  # guest -> lab: JSON {status}
FAULT = b"F"  # guest -> lab: JSON {message}; the lab itself failed, not the job

# Bytes in one frame. Chosen: half of the 32 KiB that the kernel's virtio_console takes in one write, so that a frame
# is one write and a lab that went away leaves no half frame in the queue.
MAX_PAYLOAD_BYTES = 16 * 1024

_HEADER = struct.Struct(">cI")
# Bytes a peer may announce. Chosen: far above any job description, far below what a stray length would say.
_MAX_ANNOUNCED_BYTES = 16 * 1024 * 1024


class WireError(Exception):
    """The byte stream is not made of frames."""


@dataclass(frozen=True)
class Job:
    """One command for the guest, exactly as execve(2) will see it."""

    argv: list[str]
    cwd: str
    env: dict[str, str]
    # Rows and columns of a terminal for the command; None runs it with two pipes.
    tty: tuple[int, int] | None = None
    # The kernel's log is sent with what the job writes, and at its end; otherwise at once.
    log_waits: bool = False


def encode(kind: bytes, payload: bytes) -> bytes:
    """Return one frame."""
    return _HEADER.pack(kind, len(payload)) + payload


class Decoder:
    """Collects bytes and hands out whole frames."""

    def __init__(self) -> None:
        """Start with nothing received."""
        self._buffer = bytearray()

    def feed(self, data: bytes) -> list[tuple[bytes, bytes]]:
        """Take bytes as they came and return the frames they complete, as (kind, payload)."""
        self._buffer += data
        frames = []
        while len(self._buffer) >= _HEADER.size:
            kind, length = _HEADER.unpack_from(self._buffer)
            if length > _MAX_ANNOUNCED_BYTES:
                raise WireError(f"a frame of kind {kind!r} announces {length} bytes")
            end = _HEADER.size + length
            if len(self._buffer) < end:
                break
            frames.append((kind, bytes(self._buffer[_HEADER.size : end])))
            del self._buffer[:end]
        return frames

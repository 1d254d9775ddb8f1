"""Kernel text: whole files as bytes, and numbers that are digits and nothing else."""

from __future__ import annotations

import os

from cgoom.errors import FormatError
from cgoom.kernel.fault import kernel_errors

# Bytes; chosen: larger than memory.stat and /proc/meminfo (2 KiB), so that those are one read.
_CHUNK = 16 * 1024
# Digits; 2^64-1 has 20. int() would take underscores, signs and, past 4300 digits, raise ValueError.
_DIGITS_MOST = 20
# Bytes of a bad line that an error repeats; chosen: one terminal line.
_SHOWN_MOST = 120


def read_all(fd: int) -> bytes:
    """Everything from the descriptor's position to its end. Raises OSError."""
    chunks = []
    while chunk := os.read(fd, _CHUNK):
        chunks.append(chunk)
    return b"".join(chunks)


def read_file(path: str) -> bytes:
    """The whole file. Raises GoneError, NotPermittedError, KernelError."""
    with kernel_errors(path):
        fd = os.open(path, os.O_RDONLY)
        try:
            return read_all(fd)
        finally:
            os.close(fd)


def make_format_error(what: str, line: bytes) -> FormatError:
    """The error for a line of `what` that is not as the kernel documents it."""
    return FormatError(f"{what}: unexpected line: {line[:_SHOWN_MOST].decode('utf-8', 'backslashreplace')!r}")


def parse_count(token: bytes, what: str, line: bytes) -> int:
    """`token` as a number of at most 20 digits. Raises FormatError that names `what` and `line`."""
    if len(token) > _DIGITS_MOST or not token.isdigit():
        raise make_format_error(what, line)
    return int(token)

"""/proc/meminfo: how short the host is."""

from __future__ import annotations

import os

from cgoom.errors import FormatError
from cgoom.kernel.fault import kernel_errors, make_kernel_error
from cgoom.kernel.text import make_format_error, parse_count
from cgoom.model import HostMemory

_PATH = "/proc/meminfo"
# Bytes; measured: 1.4 to 1.6 KiB on kernels 6.1 to 6.18. The four fields stand in the first 600.
_SIZE = 4096
_BYTES_PER_KIB = 1024


class MemInfo:
    """/proc/meminfo held open: one pread for each look."""

    __slots__ = ("_fd",)

    def __init__(self, path: str = _PATH) -> None:
        """Open it. Raises GoneError, NotPermittedError, KernelError."""
        with kernel_errors(path):
            self._fd = os.open(path, os.O_RDONLY)

    def read(self) -> HostMemory:
        """The host's memory now. Raises FormatError, KernelError."""
        try:
            text = os.pread(self._fd, _SIZE, 0)
        except OSError as error:
            raise make_kernel_error(_PATH, error) from error
        return parse_meminfo(text)

    def close(self) -> None:
        """Let go of the descriptor; a second call does nothing."""
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1


def parse_meminfo(text: bytes) -> HostMemory:
    """MemTotal, MemAvailable, SwapTotal, SwapFree in bytes; no swap lines mean no swap. Raises FormatError."""
    total = _find_bytes(text, b"MemTotal:")
    available = _find_bytes(text, b"MemAvailable:")
    if total is None or available is None:
        missing = "MemTotal" if total is None else "MemAvailable"
        raise FormatError(f"{_PATH}: no line {missing}", "Linux has it since 3.14; is /proc mounted?")
    return HostMemory(total, available, _find_bytes(text, b"SwapTotal:") or 0, _find_bytes(text, b"SwapFree:") or 0)


def _find_bytes(text: bytes, key: bytes) -> int | None:
    """Found rather than split: the other 50 lines are of no interest to somebody who looks 50 times a second."""
    start = 0 if text.startswith(key) else text.find(b"\n" + key) + 1
    if not text.startswith(key, start):
        return None
    end = text.find(b"\n", start)
    line = text[start : end if end >= 0 else len(text)]
    fields = line.split()
    if len(fields) != 3 or fields[2] != b"kB":
        raise make_format_error(_PATH, line)
    return parse_count(fields[1], _PATH, line) * _BYTES_PER_KIB

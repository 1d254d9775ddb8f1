"""inotify: cgroups that come and go, and counters that change, without asking."""

from __future__ import annotations

import ctypes
import errno
import os
import struct
from dataclasses import dataclass

from cgoom.kernel.fault import kernel_errors
from cgoom.kernel.libc import LIBC, require_result

# include/uapi/linux/inotify.h
IN_MODIFY = 0x00000002
IN_ATTRIB = 0x00000004
IN_MOVED_FROM = 0x00000040
IN_MOVED_TO = 0x00000080
IN_CREATE = 0x00000100
IN_DELETE = 0x00000200
IN_DELETE_SELF = 0x00000400
IN_Q_OVERFLOW = 0x00004000
IN_IGNORED = 0x00008000
IN_ONLYDIR = 0x01000000
IN_ISDIR = 0x40000000

_EVENT = struct.Struct("iIII")  # wd, mask, cookie, length of the name with its padding
# Bytes; chosen: about 300 events at once. One event with the longest name is 16 + 256.
_READ_SIZE = 16 * 1024
# Reads; chosen: more than a queue holds (fs.inotify.max_queued_events, 16,384), so that all of it has been seen.
_READS = 256


@dataclass(frozen=True, slots=True)
class Event:
    """`wd` is -1 for an overflow (IN_Q_OVERFLOW in `mask`); `name` is empty for the watched file itself."""

    wd: int
    mask: int
    name: str


class Inotify:
    """One inotify instance; its `fd` polls readable while events wait."""

    __slots__ = ("fd",)

    def __init__(self) -> None:
        """Raises KernelError (EMFILE: fs.inotify.max_user_instances)."""
        with kernel_errors("inotify"):
            self.fd = require_result(LIBC.inotify_init1(os.O_CLOEXEC | os.O_NONBLOCK))

    def add(self, path: str, mask: int) -> int:
        """Watch `path` and return the watch's number; `/proc/self/fd/N` watches what the descriptor N holds.

        Raises GoneError (also for ENOENT of a removed cgroup), NotPermittedError, KernelError (ENOSPC:
        fs.inotify.max_user_watches).
        """
        with kernel_errors(path):
            return require_result(LIBC.inotify_add_watch(self.fd, os.fsencode(path), ctypes.c_uint32(mask)))

    def remove(self, wd: int) -> None:
        """End a watch; one that the kernel ended itself, as it does when the file is removed, is no error."""
        with kernel_errors("inotify"):
            try:
                require_result(LIBC.inotify_rm_watch(self.fd, wd))
            except OSError as error:
                if error.errno != errno.EINVAL:
                    raise

    def drain(self) -> list[Event]:
        """What waits, each event once. Raises KernelError.

        Names that are not UTF-8 have surrogates. Who makes events faster than they are read has the descriptor stay
        readable.
        """
        events: dict[Event, None] = {}
        for _ in range(_READS):
            with kernel_errors("inotify"):
                try:
                    text = os.read(self.fd, _READ_SIZE)
                except BlockingIOError:
                    break
            start = 0
            while start < len(text):
                wd, mask, _cookie, length = _EVENT.unpack_from(text, start)
                start += _EVENT.size
                events[Event(wd, mask, os.fsdecode(text[start : start + length].rstrip(b"\0")))] = None
                start += length
        return list(events)

    def close(self) -> None:
        """End all watches; a second call does nothing."""
        if self.fd >= 0:
            os.close(self.fd)
            self.fd = -1

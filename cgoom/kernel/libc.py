"""The C library, for the system calls that Python does not have."""

from __future__ import annotations

import ctypes
import errno
import os

# PyDLL, not CDLL: it keeps the GIL, so that a child of clone3 holds it too. Nothing called through it may block.
LIBC = ctypes.PyDLL(None, use_errno=True)
LIBC.syscall.restype = ctypes.c_long
LIBC.getdents64.restype = ctypes.c_ssize_t

# Bytes; chosen: room for one directory entry of the longest name (24 + 256) without listing a large directory.
_ENTRIES_SIZE = 512


def require_result(result: int) -> int:
    """`result` of a C function; -1 raises OSError with its errno."""
    if result == -1:
        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code))
    return result


def syscall(number: int, *args: object) -> int:
    """The system call `number`; integers are passed as C long, bytes and ctypes objects as they are. Raises OSError."""
    passed = [ctypes.c_long(arg) if isinstance(arg, int) else arg for arg in args]
    return require_result(LIBC.syscall(ctypes.c_long(number), *passed))


def is_removed_directory(fd: int) -> bool:
    """Whether the directory behind `fd` was removed. Raises OSError.

    getdents64 answers ENOENT for a removed directory on every filesystem. readdir(3) hides that as an empty listing,
    and st_nlink stays 2 on cgroup2.
    """
    entries = ctypes.create_string_buffer(_ENTRIES_SIZE)
    os.lseek(fd, 0, os.SEEK_SET)
    removed: bool = LIBC.getdents64(fd, entries, ctypes.c_size_t(_ENTRIES_SIZE)) == -1
    code = ctypes.get_errno()
    if removed and code != errno.ENOENT:
        raise OSError(code, os.strerror(code))
    os.lseek(fd, 0, os.SEEK_SET)
    return removed

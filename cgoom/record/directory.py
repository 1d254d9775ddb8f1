"""cgoom's own directories and files: nobody else may plant anything in them."""

from __future__ import annotations

import errno
import os
import stat
from contextlib import suppress

from cgoom.errors import KernelError, RefusedError
from cgoom.kernel.fault import kernel_errors

_DIRECTORY_MODE = 0o750
_FILE_MODE = 0o640


def open_directory(path: str) -> int:
    """A read-only fd of directory `path`, which is made (0750) where it is missing.

    Raises RefusedError for a symbolic link, for a directory that everybody may write to and for one that belongs to
    another user (the owner could swap our files for links); OSError for the rest.
    """
    with suppress(FileExistsError):
        os.makedirs(path, _DIRECTORY_MODE)
    try:
        fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
    except OSError as error:
        if error.errno in (errno.ELOOP, errno.ENOTDIR):
            raise RefusedError(f"not a directory, or a symbolic link: {path!r}", "remove it") from error
        raise
    try:
        _require_own(path, os.fstat(fd))
    except RefusedError:
        os.close(fd)
        raise
    return fd


def open_file(name: str, flags: int, dir_fd: int) -> int:
    """An fd of the regular file `name` in `dir_fd`; with O_CREAT its mode is 0640. Follows no link, waits for nobody.

    Raises RefusedError where something else is in its place, OSError for the rest.
    """
    try:
        # O_NONBLOCK: a FIFO must not hold the open up; it changes nothing for a regular file.
        fd = os.open(name, flags | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, _FILE_MODE, dir_fd=dir_fd)
    except OSError as error:
        if error.errno in (errno.ELOOP, errno.EISDIR, errno.ENXIO):
            raise RefusedError(f"not a regular file: {name!r}", "remove it") from error
        raise
    if not stat.S_ISREG(os.fstat(fd).st_mode):
        os.close(fd)
        raise RefusedError(f"not a regular file: {name!r}", "remove it")
    return fd


def replace_file(directory: str, name: str, text: bytes) -> None:
    """Write the file (0644) beside and rename it, so that nobody ever reads half of it.

    Raises RefusedError, NotPermittedError, KernelError.
    """
    path = os.path.join(directory, name)
    with kernel_errors(path):
        fd = os.open(path + ".new", os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW | os.O_CLOEXEC, 0o644)
        try:
            if os.write(fd, text) != len(text):
                raise KernelError(f"{path}: written in part", "free space there")
        finally:
            os.close(fd)
        os.rename(path + ".new", path)


def _require_own(path: str, found: os.stat_result) -> None:
    if found.st_mode & stat.S_IWOTH:
        raise RefusedError(f"everybody may write to {path!r}", f"chmod o-w {path}")
    if found.st_uid not in (0, os.geteuid()):
        raise RefusedError(f"{path!r} belongs to uid {found.st_uid}", f"chown {os.geteuid()} {path}")

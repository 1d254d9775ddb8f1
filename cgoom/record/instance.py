"""One daemon per host: a lock that dies with its holder.

An open-file-description lock, not flock(2): F_OFD_GETLK tells that it is held without taking it, so that `cgoom status`
never stands in the way of a daemon that is just starting.
"""

from __future__ import annotations

import fcntl
import os
import struct

from cgoom.errors import ConflictError
from cgoom.kernel.fault import kernel_errors
from cgoom.record.directory import open_directory, open_file

FILE_NAME = "daemon.lock"
# struct flock of fcntl(2), 64 bit: type, whence, start, length (0: the whole file), pid (0 for this kind of lock).
_FLOCK = struct.Struct("@hhqqi4x")
_WHOLE_FILE = _FLOCK.pack(fcntl.F_WRLCK, os.SEEK_SET, 0, 0, 0)
_PID_DIGITS = 10


class Instance:
    """The right to be the daemon of `run_dir`; the lock file says whose pid has it."""

    def __init__(self, run_dir: str) -> None:
        self._dir = run_dir
        self._path = os.path.join(run_dir, FILE_NAME)
        self._fd: int | None = None

    def acquire(self) -> None:
        """Take the lock, which the kernel frees when this process ends however it ends.

        Raises ConflictError (another daemon has it), RefusedError, NotPermittedError, KernelError.
        """
        with kernel_errors(self._path):
            dir_fd = open_directory(self._dir)
            try:
                fd = open_file(FILE_NAME, os.O_RDWR | os.O_CREAT, dir_fd)
            finally:
                os.close(dir_fd)
            try:
                self._lock(fd)
                os.ftruncate(fd, 0)
                os.pwrite(fd, f"{os.getpid()}\n".encode("ascii"), 0)
            except BaseException:
                os.close(fd)
                raise
        self._fd = fd

    def release(self) -> None:
        """Give the lock back; without one nothing happens. The file stays: removing it would race with the next one."""
        if self._fd is not None:
            os.close(self._fd)
            self._fd = None

    def _lock(self, fd: int) -> None:
        try:
            fcntl.fcntl(fd, fcntl.F_OFD_SETLK, _WHOLE_FILE)
        except (BlockingIOError, PermissionError) as error:  # EAGAIN or EACCES, fcntl(2) allows both
            pid = _read_pid(fd)
            raise ConflictError(
                f"another cgoom daemon is running{'' if pid is None else f', pid {pid}'}",
                "see `systemctl status cgoom` or `cgoom status`",
            ) from error


def read_daemon_pid(run_dir: str) -> int | None:
    """The pid of the daemon that holds the lock; None: nobody does. Raises NotPermittedError, KernelError."""
    with kernel_errors(os.path.join(run_dir, FILE_NAME)):
        try:
            dir_fd = os.open(run_dir, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        except FileNotFoundError:
            return None
        try:
            fd = open_file(FILE_NAME, os.O_RDONLY, dir_fd)
        except FileNotFoundError:
            return None
        finally:
            os.close(dir_fd)
        try:
            answer = fcntl.fcntl(fd, fcntl.F_OFD_GETLK, _WHOLE_FILE)
            return None if _FLOCK.unpack(answer)[0] == fcntl.F_UNLCK else _read_pid(fd)
        finally:
            os.close(fd)


def _read_pid(fd: int) -> int | None:
    text = os.pread(fd, _PID_DIGITS + 2, 0).decode("ascii", "replace").strip()
    return int(text) if text.isascii() and text.isdigit() else None

"""The history of decisions: one JSON line each in `history.jsonl`, and `history.jsonl.1` with the older ones.

Writers lock the directory, not the file: a lock on a file that another writer has just renamed protects nothing.
Readers take no lock: lines are written whole, and what a power cut, a full disk or a SIGKILL in the middle of a write
left behind is counted, not believed.
"""

from __future__ import annotations

import fcntl
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager

from cgoom.errors import FormatError, KernelError
from cgoom.kernel.fault import kernel_errors
from cgoom.model import Record
from cgoom.record.codec import RECORD_LIMIT_BYTES, decode_record, encode_record
from cgoom.record.directory import open_directory, open_file

FILE_NAME = "history.jsonl"
OLD_NAME = "history.jsonl.1"
ROTATE_BYTES = 16 * 1024 * 1024  # chosen: some ten thousand decisions; with the older file twice that on disk
TAIL_BYTES = 256 * 1024  # chosen: four records of the largest size, as many as the stage has slots
_BLOCK_BYTES = 64 * 1024  # chosen: one read holds a line of the largest size
_LOCK_WAIT_SEC = 1.0  # chosen: another writer's fsync; longer than that the daemon has better things to do
_LOCK_POLL_SEC = 0.005  # chosen


class History:
    """The decisions kept in `state_dir`, which is made by the first `append`."""

    def __init__(self, state_dir: str) -> None:
        self._dir = state_dir
        self._path = os.path.join(state_dir, FILE_NAME)

    def append(self, record: Record) -> None:
        """Write one line and wait until it is on the disk.

        Raises RefusedError, NotPermittedError, KernelError (disk full, locked for too long). The file stays readable
        then; the line may be there all the same (its fsync failed), so ask `has` before trying again.
        """
        line = encode_record(record).encode("ascii") + b"\n"
        with kernel_errors(self._path), _open_locked(self._dir) as dir_fd:
            fd, size = _open_for_append(dir_fd, len(line))
            try:
                # A line that is torn is ended first, or it would swallow this one.
                if size and os.pread(fd, 1, size - 1) != b"\n":
                    line = b"\n" + line
                written = os.write(fd, line)
                if written != len(line):
                    raise KernelError(
                        f"{self._path}: {written} of {len(line)} bytes written", "the file system is full: free space"
                    )
                os.fdatasync(fd)
            finally:
                os.close(fd)
            if not size:
                os.fsync(dir_fd)

    def has(self, record_id: str) -> bool:
        """Whether the record is among the last TAIL_BYTES of the history. Raises NotPermittedError, KernelError."""
        wanted = record_id.encode("ascii", "backslashreplace")
        seen_bytes = 0
        for line in self._read_lines():
            seen_bytes += len(line) + 1
            if seen_bytes > TAIL_BYTES:
                return False
            # Most lines are dismissed without decoding; a torn line that has the id does not count.
            found = _parse_line(line) if wanted in line else None
            if found is not None and found.record_id == record_id:
                return True
        return False

    def read_records(self, limit: int | None = None, record_id: str | None = None) -> tuple[list[Record], int]:
        """The last `limit` records (None: all), newest last, and the count of broken lines met on the way.

        With `record_id` only the newest record of that id. Reads backwards and no further than needed. A history that
        does not exist is empty. Raises NotPermittedError, KernelError.
        """
        most = 1 if record_id is not None and limit is None else limit
        records: list[Record] = []
        broken = 0
        lines = self._read_lines() if most is None or most > 0 else iter(())
        for line in lines:
            record = _parse_line(line)
            if record is None:
                broken += 1
            elif record_id is None or record.record_id == record_id:
                records.append(record)
                if len(records) == most:
                    break
        records.reverse()
        return records, broken

    def _read_lines(self) -> Iterator[bytes]:
        """The lines of both files, newest first, without newlines; of one longer than a record only the end."""
        seen: set[tuple[int, int]] = set()
        for name in (FILE_NAME, OLD_NAME):
            with kernel_errors(os.path.join(self._dir, name)):
                fd = _open_for_read(self._dir, name)
                if fd is None:
                    continue
                try:
                    found = os.fstat(fd)
                    # A rotation between the two opens makes the old file the one that was just read.
                    if (found.st_dev, found.st_ino) not in seen:
                        seen.add((found.st_dev, found.st_ino))
                        yield from _read_backwards(fd, found.st_size)
                finally:
                    os.close(fd)


def _parse_line(line: bytes) -> Record | None:
    if len(line) > RECORD_LIMIT_BYTES:
        return None
    try:
        return decode_record(line.decode("ascii"))
    except (UnicodeDecodeError, FormatError):
        return None


def _read_backwards(fd: int, position: int) -> Iterator[bytes]:
    tail = b""
    while position > 0:
        start = max(0, position - _BLOCK_BYTES)
        block = os.pread(fd, position - start, start)
        if len(block) != position - start:
            return  # somebody truncates the file under us: what is left of it is no line
        position = start
        first, *lines = (block + tail).split(b"\n")
        yield from (line for line in reversed(lines) if line)
        # Bounded, and still too long to be taken for a record.
        tail = first[-(RECORD_LIMIT_BYTES + 1) :]
    if tail:
        yield tail


def _open_for_read(state_dir: str, name: str) -> int | None:
    try:
        dir_fd = os.open(state_dir, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    except FileNotFoundError:
        return None
    try:
        return open_file(name, os.O_RDONLY, dir_fd)
    except FileNotFoundError:
        return None
    finally:
        os.close(dir_fd)


def _open_for_append(dir_fd: int, more_bytes: int) -> tuple[int, int]:
    """(fd, size in bytes) of the file that takes the next line; one that is full is set aside."""
    flags = os.O_RDWR | os.O_APPEND | os.O_CREAT
    fd = open_file(FILE_NAME, flags, dir_fd)
    size = os.fstat(fd).st_size
    if size and size + more_bytes > ROTATE_BYTES:
        os.close(fd)
        os.rename(FILE_NAME, OLD_NAME, src_dir_fd=dir_fd, dst_dir_fd=dir_fd)
        fd = open_file(FILE_NAME, flags, dir_fd)
        size = 0
    return fd, size


@contextmanager
def _open_locked(state_dir: str) -> Iterator[int]:
    dir_fd = open_directory(state_dir)
    try:
        _lock(dir_fd, state_dir)
        yield dir_fd
    finally:
        os.close(dir_fd)


def _lock(dir_fd: int, state_dir: str) -> None:
    deadline = time.monotonic() + _LOCK_WAIT_SEC
    while True:
        try:
            fcntl.flock(dir_fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            if time.monotonic() >= deadline:
                raise KernelError(f"{state_dir}: locked by another process", f"fuser -v {state_dir}") from error
            time.sleep(_LOCK_POLL_SEC)
        else:
            return

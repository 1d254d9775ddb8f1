"""Decisions between the kill and the history: a memory-mapped file that survives the daemon's own SIGKILL.

A store to a shared mapping is in the page cache at once, so a decision is safe without any system call. Each slot has
two banks and one state byte that says which of them counts. A bank is filled completely before that byte names it, and
an update goes to the other bank: whenever the daemon dies, the state byte names a whole record, the old or the new one.
Checksums are for the other way to die, a power cut, which writes pages back in any order.
"""

from __future__ import annotations

import mmap
import os
import struct
import zlib

from cgoom.errors import FormatError
from cgoom.kernel.fault import kernel_errors
from cgoom.model import Record
from cgoom.record.codec import RECORD_LIMIT_BYTES, decode_record, encode_record
from cgoom.record.directory import open_directory, open_file

FILE_NAME = "stage"
SLOTS = 4  # chosen: one victim at a time, and a few decisions whose history was not writable
_VERSION = 1
_BANK_BYTES = 64 * 1024
_BANKS_AT = 4096  # a page of its own for the header and the state bytes
_STATES_AT = 64
_EMPTY = 0  # state byte; 1 and 2 name the bank that counts
_HEADER = struct.pack("<8sIII", b"cgoomstg", _VERSION, SLOTS, _BANK_BYTES)
_BANK = struct.Struct("<II8x")  # length and crc32 of the record behind it
_FILE_BYTES = _BANKS_AT + 2 * SLOTS * _BANK_BYTES
assert _BANK.size + RECORD_LIMIT_BYTES <= _BANK_BYTES


class Stage:
    """The staged decisions of the one daemon. `broken`: slots (or whole files) that could not be read at the start.

    `directory` is best on a tmpfs such as /run: on a disk's file system the first store after each writeback waits for
    that file system (page_mkwrite), which is where a host short of memory is slow.
    """

    def __init__(self, directory: str) -> None:
        """Open or make the file and touch every page, so that later stores neither fault nor find the disk full.

        A file of another size or version is begun anew. Raises RefusedError, NotPermittedError, KernelError.
        """
        self.broken = 0
        with kernel_errors(os.path.join(directory, FILE_NAME)):
            dir_fd = open_directory(directory)
            try:
                fd = open_file(FILE_NAME, os.O_RDWR | os.O_CREAT, dir_fd)
            finally:
                os.close(dir_fd)
            try:
                self._map = self._open_map(fd)
            finally:
                os.close(fd)  # the mapping has a duplicate of its own
        self._leftovers = self._read_slots()
        self._ready: int | None = None  # the slot whose banks hold a decision that is not made yet

    def open_slot(self, record: Record) -> int | None:
        """Stage a new decision: no system call, for the moment before the kill. None: every slot is taken.

        None is no reason to wait: the kill goes ahead and only the safety net is missing.
        """
        slot = self._find_empty()
        if slot is not None:
            self._write(slot, 1, record)
        return slot

    def ready_slot(self, record: Record, done: Record) -> bool:
        """Write the decision that is next to be made, so that `commit_ready` is one store; it replaces the one before.

        Until then it is nothing: a daemon that dies leaves no trace of it. False: every slot is taken.
        `done`: the same decision when it was carried out, so that `commit_done` is one store, too.
        """
        self._ready = None
        slot = self._find_empty()
        if slot is not None:
            self._fill(slot, 1, record)
            self._fill(slot, 2, done)
            self._ready = slot
        return slot is not None

    @property
    def is_ready(self) -> bool:
        """Whether `commit_ready` has something to stage."""
        return self._ready is not None

    def forget_ready(self) -> None:
        """What `ready_slot` wrote will not be decided."""
        self._ready = None

    def commit_ready(self) -> int | None:
        """Stage what `ready_slot` wrote. None: nothing is ready, or its slot has been needed since."""
        slot, self._ready = self._ready, None
        if slot is not None:
            self._map[_STATES_AT + slot] = 1
        return slot

    def commit_done(self, slot: int) -> None:
        """Stage that the decision of `commit_ready` was carried out; only right after it."""
        self._map[_STATES_AT + slot] = 2

    def update(self, slot: int, record: Record) -> None:
        """Replace the record of an open slot. Raises ValueError for a slot that is empty."""
        state = self._map[_STATES_AT + slot]
        if state == _EMPTY:
            raise ValueError(f"slot {slot} is empty")
        self._write(slot, 3 - state, record)

    def clear(self, slot: int) -> None:
        """Give the slot back; to be called when its record is in the history."""
        self._map[_STATES_AT + slot] = _EMPTY
        self._leftovers.pop(slot, None)

    def read_leftovers(self) -> list[tuple[int, Record]]:
        """(slot, record) of the decisions that an earlier daemon left and that are not cleared yet, oldest first.

        One that is in the history already was about to be cleared; `History.has` tells.
        """
        return sorted(self._leftovers.items(), key=lambda item: (item[1].time_usec, item[0]))

    def close(self) -> None:
        """Unmap the file; what is staged stays."""
        self._map.close()

    def _open_map(self, fd: int) -> mmap.mmap:
        size = os.fstat(fd).st_size
        known = size == _FILE_BYTES and os.pread(fd, len(_HEADER), 0) == _HEADER
        if not known:
            self.broken += size > 0
            os.ftruncate(fd, 0)
        # Blocks, not a hole: a store to a hole on a full file system is a SIGBUS.
        os.posix_fallocate(fd, 0, _FILE_BYTES)
        mapped = mmap.mmap(fd, _FILE_BYTES)
        for page in range(0, _FILE_BYTES, mmap.PAGESIZE):
            mapped[page] = mapped[page]
        mapped[: len(_HEADER)] = _HEADER
        return mapped

    def _read_slots(self) -> dict[int, Record]:
        found: dict[int, Record] = {}
        for slot in range(SLOTS):
            state = self._map[_STATES_AT + slot]
            if state == _EMPTY:
                continue
            try:
                found[slot] = self._read_bank(slot, state)
            except FormatError:
                self.broken += 1
                self._map[_STATES_AT + slot] = _EMPTY
        return found

    def _read_bank(self, slot: int, state: int) -> Record:
        if state not in (1, 2):
            raise FormatError(f"{FILE_NAME}: slot {slot} has state {state}")
        start = _bank_at(slot, state)
        length, checksum = _BANK.unpack_from(self._map, start)
        start += _BANK.size
        line = self._map[start : start + min(length, RECORD_LIMIT_BYTES)]
        if len(line) != length or zlib.crc32(line) != checksum:
            raise FormatError(f"{FILE_NAME}: slot {slot} is torn")
        return decode_record(line.decode("ascii", "replace"))

    def _find_empty(self) -> int | None:
        """A slot that is neither taken nor made ready; the one that was made ready where there is no other."""
        empty = [slot for slot in range(SLOTS) if self._map[_STATES_AT + slot] == _EMPTY]
        if empty and empty[0] == self._ready:
            if len(empty) == 1:
                self._ready = None
            else:
                del empty[0]
        return empty[0] if empty else None

    def _write(self, slot: int, state: int, record: Record) -> None:
        self._fill(slot, state, record)
        self._map[_STATES_AT + slot] = state

    def _fill(self, slot: int, state: int, record: Record) -> None:
        line = encode_record(record).encode("ascii")
        start = _bank_at(slot, state)
        self._map[start : start + _BANK.size + len(line)] = _BANK.pack(len(line), zlib.crc32(line)) + line


def _bank_at(slot: int, state: int) -> int:
    return _BANKS_AT + (2 * slot + state - 1) * _BANK_BYTES

"""The daemon's lines: whole, harmless, and never in its way."""

from __future__ import annotations

import fcntl
import os
import pty
import socket
import termios
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cgoom.record.journal import LINE_LIMIT_BYTES, Journal, Severity


@pytest.fixture
def pipe() -> Iterator[tuple[int, int]]:
    read_fd, write_fd = os.pipe()
    yield read_fd, write_fd
    for fd in (read_fd, write_fd):
        try:
            os.close(fd)
        except OSError:
            continue  # the test closed it


def test_journal_on_a_plain_stderr(pipe: tuple[int, int]) -> None:
    read_fd, write_fd = pipe
    assert Journal(write_fd, {}).write(Severity.NOTICE, "watching 3 workloads")
    assert os.read(read_fd, 4096) == b"cgoom: watching 3 workloads\n"


def test_journal_stream_of_systemd() -> None:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        found = os.fstat(ours.fileno())
        journal = Journal(ours.fileno(), {"JOURNAL_STREAM": f"{found.st_dev}:{found.st_ino}"})
        assert journal.write(Severity.ERR, "no cgroup2")
        assert theirs.recv(4096) == b"<3>no cgroup2\n"


@pytest.mark.parametrize("stream", ["", "8:1", "x", "0:0:0"])
def test_journal_stream_of_somebody_else(pipe: tuple[int, int], stream: str) -> None:
    read_fd, write_fd = pipe
    assert Journal(write_fd, {"JOURNAL_STREAM": stream}).write(Severity.INFO, "here")
    assert os.read(read_fd, 4096) == b"cgoom: here\n"


def test_journal_escapes_what_moves_a_terminal(pipe: tuple[int, int]) -> None:
    read_fd, write_fd = pipe
    Journal(write_fd, {}).write(Severity.INFO, "a\nb\x1b[2J\x9b1m\u202ec\u2028d\udc80\u0000 käse")
    assert os.read(read_fd, 4096).decode() == ("cgoom: a\\nb\\x1b[2J\\x9b1m\\u202ec\\u2028d\\udc80\\x00 käse\n")


@settings(deadline=None)
@given(st.text(st.characters(), max_size=40), st.integers(1, 400))
def test_journal_line_is_one_and_bounded(text: str, times: int) -> None:
    read_fd, write_fd = os.pipe()
    try:
        assert Journal(write_fd, {}).write(Severity.INFO, text * times)
        line = os.read(read_fd, 65536)
    finally:
        os.close(read_fd)
        os.close(write_fd)
    assert len(line) <= LINE_LIMIT_BYTES
    assert line.endswith(b"\n")
    assert line.decode()[:-1].isprintable()


def _fill(journal: Journal) -> int:
    """Write until a line is lost; how many got through."""
    count = 0
    while journal.write(Severity.INFO, "x" * 1500):
        count += 1
        assert count < 10_000, "the reader that never reads takes everything"
    return count


def test_journal_with_a_reader_that_never_reads(pipe: tuple[int, int]) -> None:
    read_fd, write_fd = pipe
    journal = Journal(write_fd, {})
    assert _fill(journal) > 0
    assert not journal.write(Severity.INFO, "lost as well")
    assert journal.dropped == 2
    while len(os.read(read_fd, 65536)) == 65536:
        pass
    assert journal.write(Severity.WARNING, "heard again")
    assert os.read(read_fd, 4096).endswith(b"cgoom: heard again (2 lines before this one were lost)\n")
    assert journal.write(Severity.WARNING, "all is well")
    assert os.read(read_fd, 4096) == b"cgoom: all is well\n"
    assert os.get_blocking(write_fd)


def test_journal_with_a_socket_that_nobody_reads() -> None:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        ours.setblocking(True)
        assert _fill(Journal(ours.fileno(), {})) > 0


def test_journal_with_a_stopped_terminal() -> None:
    main_fd, tty_fd = pty.openpty()
    try:
        journal = Journal(tty_fd, {})
        assert journal.write(Severity.INFO, "running")
        assert os.read(main_fd, 4096).rstrip() == b"cgoom: running"
        termios.tcflow(tty_fd, termios.TCOOFF)
        assert not journal.write(Severity.INFO, "stopped")
        termios.tcflow(tty_fd, termios.TCOON)
        assert _fill(journal) > 0
        assert not fcntl.fcntl(tty_fd, fcntl.F_GETFL) & os.O_NONBLOCK
    finally:
        os.close(main_fd)
        os.close(tty_fd)


def test_journal_with_a_reader_that_is_gone(pipe: tuple[int, int]) -> None:
    read_fd, write_fd = pipe
    journal = Journal(write_fd, {})
    os.close(read_fd)
    assert not journal.write(Severity.ERR, "to nobody")
    assert journal.dropped == 1


def test_journal_with_a_full_disk() -> None:
    with Path("/dev/full").open("wb", buffering=0) as full:
        journal = Journal(full.fileno(), {})
        assert not journal.write(Severity.ERR, "to nobody")


def test_journal_of_a_closed_stderr_never_writes_to_that_number_again(tmp_path: Path) -> None:
    victim = os.open(tmp_path / "later", os.O_RDWR | os.O_CREAT)
    os.close(victim)
    journal = Journal(victim, {})
    reused = os.open(tmp_path / "later", os.O_RDWR)
    try:
        assert reused == victim
        assert not journal.write(Severity.ERR, "into somebody's file")
        assert os.fstat(reused).st_size == 0
    finally:
        os.close(reused)

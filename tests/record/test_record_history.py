"""The history: whole lines, whatever happens to the writer, the disk and the file."""

from __future__ import annotations

import fcntl
import os
import resource
import subprocess
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from cgoom.errors import CgoomError, KernelError, RefusedError
from cgoom.model import Considered, Record
from cgoom.record import history as history_module
from cgoom.record.codec import RECORD_LIMIT_BYTES, encode_record
from cgoom.record.history import TAIL_BYTES, History
from tests.record.examples import USUAL, make_record, records


def _lines(directory: Path) -> bytes:
    return (directory / "history.jsonl").read_bytes()


def _big_record(number: int) -> Record:
    considered = tuple(Considered("w" * 80, 500, number, "x" * 80) for number in range(280))
    return replace(make_record(number), considered=considered)


def _run_child(child: Callable[[], None]) -> int:
    """Run `child` in a forked process; its pid. Exit status 0 if it returned, 1 if it raised."""
    pid = os.fork()
    if pid == 0:
        status = 1
        try:
            child()
            status = 0
        finally:
            os._exit(status)
    return pid


def test_history_that_does_not_exist_is_empty(tmp_path: Path) -> None:
    history = History(str(tmp_path / "none"))
    assert history.read_records() == ([], 0)
    assert not history.has("1a20aba5cc2")
    assert not (tmp_path / "none").exists()


def test_history_keeps_order_and_finds(tmp_path: Path) -> None:
    history = History(str(tmp_path / "state"))
    kept = [make_record(number) for number in range(5)]
    for record in kept:
        history.append(record)
    assert history.read_records() == (kept, 0)
    assert history.read_records(limit=2) == (kept[3:], 0)
    assert history.read_records(limit=0) == ([], 0)
    assert history.read_records(record_id=kept[1].record_id) == ([kept[1]], 0)
    assert history.read_records(record_id="0") == ([], 0)
    assert history.has(kept[0].record_id)
    assert not history.has("0")
    assert (tmp_path / "state").stat().st_mode & 0o007 == 0
    assert (tmp_path / "state" / "history.jsonl").stat().st_mode & 0o137 == 0


@settings(deadline=None, max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(records, max_size=5))
def test_history_returns_what_was_appended(tmp_path_factory: pytest.TempPathFactory, kept: list[Record]) -> None:
    history = History(str(tmp_path_factory.mktemp("state")))
    for record in kept:
        history.append(record)
    assert history.read_records() == (kept, 0)


def test_history_after_a_power_cut_at_every_byte(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # The disk itself is not what is tested here, and a thousand fsyncs take a while.
    synced: list[int] = []
    monkeypatch.setattr(os, "fdatasync", lambda fd: synced.append(os.fstat(fd).st_size))
    history = History(str(tmp_path))
    first, torn, after = (make_record(number) for number in range(3))
    history.append(first)
    start = len(_lines(tmp_path))
    history.append(torn)
    whole = _lines(tmp_path)
    for length in range(start, len(whole) + 1):
        (tmp_path / "history.jsonl").write_bytes(whole[:length])
        # Only a cut at the newline itself leaves the record whole.
        survived = [torn] if length >= len(whole) - 1 else []
        broken = int(start < length < len(whole) - 1)
        assert history.read_records() == ([first, *survived], broken)
        assert history.has(torn.record_id) == bool(survived)
        history.append(after)
        assert history.read_records() == ([first, *survived, after], broken)
        assert synced[-1] == len(_lines(tmp_path))
        assert _lines(tmp_path).endswith(b"\n" + encode_record(after).encode() + b"\n")


@settings(deadline=None, max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(junk=st.lists(st.binary(max_size=50).filter(lambda junk: b"\n" not in junk and junk), max_size=6))
def test_history_counts_broken_lines(tmp_path_factory: pytest.TempPathFactory, junk: list[bytes]) -> None:
    directory = tmp_path_factory.mktemp("state")
    line = encode_record(USUAL).encode()
    content = b"".join(line + b"\n" + one + b"\n" for one in junk) + line
    (directory / "history.jsonl").write_bytes(content)
    assert History(str(directory)).read_records() == ([USUAL] * (len(junk) + 1), len(junk))


@pytest.mark.parametrize("size", [RECORD_LIMIT_BYTES + 1, 64 * 1024, 200_000, 1_000_000])
@pytest.mark.parametrize("filler", [b"\0", b" "])
def test_history_bounds_oversize_lines(tmp_path: Path, size: int, filler: bytes) -> None:
    line = encode_record(USUAL).encode()
    (tmp_path / "history.jsonl").write_bytes(line + b"\n" + filler * size + line + b"\n" + line + b"\n")
    assert History(str(tmp_path)).read_records() == ([USUAL, USUAL], 1)
    assert History(str(tmp_path)).read_records(limit=1) == ([USUAL], 0)


def test_history_reads_lines_across_blocks(tmp_path: Path) -> None:
    history = History(str(tmp_path))
    kept = [_big_record(number) if number % 3 else make_record(number) for number in range(8)]
    for record in kept:
        history.append(record)
    assert len(_lines(tmp_path)) > 5 * 60_000
    assert history.read_records() == (kept, 0)
    assert history.read_records(limit=3) == (kept[5:], 0)


def test_history_reads_no_more_than_it_needs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    history = History(str(tmp_path))
    line = encode_record(make_record(1)).encode() + b"\n"
    (tmp_path / "history.jsonl").write_bytes(line * 5000)
    history.append(USUAL)
    reads: list[int] = []
    pread = os.pread

    def counting_pread(fd: int, length: int, offset: int) -> bytes:
        reads.append(length)
        return pread(fd, length, offset)

    monkeypatch.setattr(os, "pread", counting_pread)
    assert len(history.read_records(limit=3)[0]) == 3
    assert sum(reads) <= 64 * 1024
    reads.clear()
    assert not history.has("0")
    assert sum(reads) <= TAIL_BYTES + 64 * 1024
    assert history.has(USUAL.record_id)


def test_history_rotates_and_reads_both_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    line_bytes = len(encode_record(make_record(1))) + 1
    monkeypatch.setattr(history_module, "ROTATE_BYTES", 3 * line_bytes)
    history = History(str(tmp_path))
    kept = [make_record(number) for number in range(8)]
    for record in kept:
        history.append(record)
    assert len(_lines(tmp_path)) == 2 * line_bytes
    assert (tmp_path / "history.jsonl.1").stat().st_size == 3 * line_bytes
    assert history.read_records() == (kept[3:], 0)
    assert history.read_records(limit=3) == (kept[5:], 0)
    assert history.has(kept[4].record_id)
    os.link(tmp_path / "history.jsonl", tmp_path / "one")
    os.rename(tmp_path / "one", tmp_path / "history.jsonl.1")
    # The same file under both names is what a reader sees when a rotation happens between its two opens.
    assert history.read_records() in ((kept[6:], 0), (kept[3:], 0))


def test_history_of_two_writers_has_whole_lines(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(history_module, "ROTATE_BYTES", 40_000)

    def write_half(start: int) -> None:
        history = History(str(tmp_path))
        for number in range(start, start + 30):
            history.append(make_record(number))

    children = [_run_child(lambda start=start: write_half(start)) for start in (0, 1000)]  # type: ignore[misc]
    assert [os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) for pid in children] == [0, 0]
    found, broken = History(str(tmp_path)).read_records()
    assert broken == 0
    assert (tmp_path / "history.jsonl.1").exists()
    ids = {record.record_id for record in found}
    assert ids == {make_record(number).record_id for start in (0, 1000) for number in range(start, start + 30)}
    assert len(found) == 60


def test_history_does_not_wait_for_ever_for_the_lock(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(history_module, "_LOCK_WAIT_SEC", 0.05)
    fd = os.open(tmp_path, os.O_RDONLY)
    try:
        fcntl.flock(fd, fcntl.LOCK_EX)
        with pytest.raises(KernelError, match="locked by another process"):
            History(str(tmp_path)).append(USUAL)
    finally:
        os.close(fd)
    History(str(tmp_path)).append(USUAL)


def test_history_at_the_file_size_limit_stays_readable(tmp_path: Path) -> None:
    first, second, third = (make_record(number) for number in range(3))
    history = History(str(tmp_path))
    history.append(first)
    half = len(_lines(tmp_path)) * 3 // 2

    def write_against_the_limit() -> None:
        # Python ignores SIGXFSZ: the first write is short, the next one fails with EFBIG.
        resource.setrlimit(resource.RLIMIT_FSIZE, (half, half))
        with pytest.raises(KernelError, match=r"of \d+ bytes written"):
            history.append(second)
        with pytest.raises(KernelError, match="File too large"):
            history.append(second)

    assert os.waitstatus_to_exitcode(os.waitpid(_run_child(write_against_the_limit), 0)[1]) == 0
    assert len(_lines(tmp_path)) == half
    assert history.read_records() == ([first], 1)
    assert not history.has(second.record_id)
    history.append(third)
    assert history.read_records() == ([first, third], 1)


def _fits(history: History, record: Record) -> bool:
    try:
        history.append(record)
    except KernelError:
        return False
    return True


def test_history_on_a_full_disk_stays_readable(tiny_disk: Path) -> None:
    history = History(str(tiny_disk))
    number = next(number for number in range(1000) if not _fits(history, make_record(number)))
    with pytest.raises(KernelError, match="No space left"):
        history.append(make_record(number))
    found, broken = history.read_records()
    assert found == [make_record(each) for each in range(number)]
    assert broken <= 1
    subprocess.run(["mount", "-o", "remount,size=128k", str(tiny_disk)], check=True)
    history.append(make_record(number))
    assert history.read_records() == ([make_record(each) for each in range(number + 1)], broken)


@pytest.mark.parametrize("name", ["history.jsonl", "history.jsonl.1"])
def test_history_follows_no_link(tmp_path: Path, name: str) -> None:
    (tmp_path / "target").write_text("precious")
    (tmp_path / name).symlink_to("target")
    history = History(str(tmp_path))
    with pytest.raises(RefusedError):
        history.read_records()
    if name == "history.jsonl":
        with pytest.raises(RefusedError):
            history.append(USUAL)
    assert (tmp_path / "target").read_text() == "precious"


def test_history_waits_for_no_fifo(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "history.jsonl")
    with pytest.raises(RefusedError):
        History(str(tmp_path)).append(USUAL)
    with pytest.raises(RefusedError):
        History(str(tmp_path)).read_records()


def _world_writable(path: Path) -> None:
    path.mkdir()
    path.chmod(0o1777)


def _linked(path: Path) -> None:
    (path.parent / "real").mkdir()
    path.symlink_to("real")


def _strangers(path: Path) -> None:
    if os.geteuid() != 0:
        pytest.skip("gives a directory away (run as root)")
    path.mkdir()
    os.chown(path, 1000, 1000)


@pytest.mark.parametrize("plant", [_world_writable, _linked, _strangers, Path.touch])
def test_history_refuses_a_directory_that_others_control(tmp_path: Path, plant: Callable[[Path], None]) -> None:
    plant(tmp_path / "state")
    with pytest.raises(RefusedError) as caught:
        History(str(tmp_path / "state")).append(USUAL)
    assert str(tmp_path / "state") in caught.value.message
    assert caught.value.hint
    assert not (tmp_path / "real" / "history.jsonl").exists()


def test_history_says_why_it_cannot_make_its_directory(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(CgoomError):
        History(str(tmp_path / "file" / "state")).append(USUAL)

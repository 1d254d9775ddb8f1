"""The stage: no decision is lost, whenever the daemon dies."""

from __future__ import annotations

import mmap
import os
import random
import signal
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import cast

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from cgoom.errors import KernelError, RefusedError
from cgoom.model import Considered, Outcome, Record, Step
from cgoom.record.history import History
from cgoom.record.stage import SLOTS, Stage
from tests.record.examples import USUAL, make_record, records

_STATES_AT = 64
_BANKS_AT = 4096
_BANK_BYTES = 65536


def _leftovers(directory: Path) -> list[Record]:
    stage = Stage(str(directory))
    try:
        assert stage.broken == 0
        return [record for _, record in stage.read_leftovers()]
    finally:
        stage.close()


@settings(deadline=None, max_examples=30, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(record=records, update=st.none() | records)
def test_stage_keeps_a_decision_for_the_next_daemon(tmp_path: Path, record: Record, update: Record | None) -> None:
    stage = Stage(str(tmp_path))
    slot = stage.open_slot(record)
    assert slot is not None
    if update is not None:
        stage.update(slot, update)
    assert stage.read_leftovers() == []
    stage.close()
    assert _leftovers(tmp_path) == [update or record]
    later = Stage(str(tmp_path))
    later.clear(slot)
    assert later.read_leftovers() == []
    later.close()
    assert _leftovers(tmp_path) == []


def test_stage_has_few_slots_and_says_when_they_are_taken(tmp_path: Path) -> None:
    stage = Stage(str(tmp_path))
    slots = [stage.open_slot(make_record(100 - number)) for number in range(SLOTS)]
    assert slots == list(range(SLOTS))
    assert stage.open_slot(USUAL) is None
    stage.clear(2)
    with pytest.raises(ValueError, match="slot 2 is empty"):
        stage.update(2, USUAL)
    assert stage.open_slot(make_record(1)) == 2
    stage.close()
    assert _leftovers(tmp_path) == [make_record(number) for number in (1, 97, 99, 100)]


def test_stage_takes_the_largest_record(tmp_path: Path) -> None:
    considered = tuple(Considered("\udcff" * 100, 500, None, "\n" * 100) for _ in range(10_000))
    record = replace(USUAL, considered=considered, candidates=10_000)
    stage = Stage(str(tmp_path))
    for _ in range(SLOTS):
        slot = stage.open_slot(record)
        assert slot is not None
        stage.update(slot, record)
    stage.close()
    found = _leftovers(tmp_path)
    assert len(found) == SLOTS
    for one in found:
        assert one == replace(record, considered=considered[: len(one.considered)])
        assert len(one.considered) > 50


def _spoil(path: Path, offset: int, new: bytes) -> None:
    with path.open("r+b") as file:
        file.seek(offset)
        file.write(new)


@pytest.mark.parametrize(
    ("offset", "new"),
    [
        (_STATES_AT, b"\x03"),
        (_STATES_AT, b"\xff"),
        (_STATES_AT, b"\x02"),  # the bank that was never written
        (_BANKS_AT, b"\xff\xff\xff\xff"),
        (_BANKS_AT, b"\0\0\0\0"),
        (_BANKS_AT + 4, b"\0\0\0\0"),
        (_BANKS_AT + 16, b"\0"),
        (_BANKS_AT + 200, b"\0" * 4096),
    ],
)
def test_stage_counts_a_torn_slot(tmp_path: Path, offset: int, new: bytes) -> None:
    stage = Stage(str(tmp_path))
    stage.open_slot(make_record(1))
    stage.open_slot(make_record(2))
    stage.close()
    _spoil(tmp_path / "stage", offset, new)
    stage = Stage(str(tmp_path))
    assert stage.broken == 1
    assert [record for _, record in stage.read_leftovers()] == [make_record(2)]
    assert stage.open_slot(make_record(3)) == 0
    stage.close()
    assert _leftovers(tmp_path) == [make_record(2), make_record(3)]


@settings(deadline=None, max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_stage_survives_any_bytes(tmp_path: Path, data: st.DataObject) -> None:
    stage = Stage(str(tmp_path))
    slot = stage.open_slot(USUAL)
    stage.close()
    for _ in range(data.draw(st.integers(1, 4))):
        area = data.draw(st.sampled_from([(0, 80), (_BANKS_AT, 1200), (_BANKS_AT + _BANK_BYTES, 100)]))
        _spoil(tmp_path / "stage", area[0] + data.draw(st.integers(0, area[1])), data.draw(st.binary(max_size=8)))
    stage = Stage(str(tmp_path))
    found = [record for _, record in stage.read_leftovers()]
    assert all(record == USUAL for record in found)
    assert found or stage.broken or slot is None
    for each in range(SLOTS):
        stage.clear(each)
    assert stage.open_slot(USUAL) == 0
    stage.close()


@pytest.mark.parametrize("content", [b"x", b"\0" * 4096, b"\0" * (_BANKS_AT + 8 * _BANK_BYTES), b"junk" * 300_000])
def test_stage_begins_anew_over_a_file_that_is_none(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "stage").write_bytes(content)
    stage = Stage(str(tmp_path))
    assert stage.broken == 1
    assert stage.read_leftovers() == []
    assert stage.open_slot(USUAL) == 0
    stage.close()
    assert _leftovers(tmp_path) == [USUAL]


def test_stage_of_another_version_is_not_read(tmp_path: Path) -> None:
    stage = Stage(str(tmp_path))
    stage.open_slot(USUAL)
    stage.close()
    _spoil(tmp_path / "stage", 8, b"\x09")
    stage = Stage(str(tmp_path))
    assert (stage.broken, stage.read_leftovers()) == (1, [])
    stage.close()
    assert _leftovers(tmp_path) == []


def test_stage_makes_its_directory_and_leaves_no_holes(tmp_path: Path) -> None:
    Stage(str(tmp_path / "run")).close()
    found = (tmp_path / "run" / "stage").stat()
    assert found.st_mode & 0o137 == 0
    assert found.st_blocks * 512 >= found.st_size


def test_stage_follows_no_link(tmp_path: Path) -> None:
    (tmp_path / "target").write_text("precious")
    (tmp_path / "stage").symlink_to("target")
    with pytest.raises(RefusedError):
        Stage(str(tmp_path))
    assert (tmp_path / "target").read_text() == "precious"
    (tmp_path / "link").symlink_to(".")
    with pytest.raises(RefusedError, match="symbolic link"):
        Stage(str(tmp_path / "link"))


class _Died(Exception):  # noqa: N818 - not an error
    pass


class _DyingMap:
    """A mapping whose owner dies after `life_bytes` stored bytes, in the middle of a store where that falls."""

    def __init__(self, mapped: mmap.mmap, life_bytes: int) -> None:
        self.mapped = mapped
        self.life_bytes = life_bytes
        self.ends = [0]

    def __getitem__(self, place: int) -> int:
        return self.mapped[place]

    def __setitem__(self, place: int | slice, new: int | bytes) -> None:
        stored = bytes([new]) if isinstance(new, int) else new
        start = place if isinstance(place, int) else place.start
        kept = stored[: self.life_bytes]
        self.mapped[start : start + len(kept)] = kept
        self.life_bytes -= len(stored)
        self.ends.append(self.ends[-1] + len(stored))
        if self.life_bytes < 0:
            raise _Died


def _die_after(directory: Path, life_bytes: int) -> tuple[int, list[int]]:
    """(how many works were finished, bytes stored at the end of each store) of a daemon that lives so long."""
    first, later, other = make_record(1), replace(make_record(1), steps=()), make_record(2)
    stage = Stage(str(directory))
    dying = _DyingMap(stage._map, life_bytes)
    stage._map = cast(mmap.mmap, dying)
    works: tuple[Callable[[], object], ...] = (
        lambda: stage.open_slot(first),
        lambda: stage.update(0, later),
        lambda: stage.open_slot(other),
        lambda: stage.clear(0),
        lambda: stage.open_slot(first),
        lambda: stage.clear(1),
    )
    for point, work in enumerate(works):
        try:
            work()
        except _Died:
            return point, dying.ends
    return len(works), dying.ends


def test_stage_is_whole_wherever_its_daemon_dies(tmp_path: Path) -> None:
    first, later, other = make_record(1), replace(make_record(1), steps=()), make_record(2)
    left = [[], [first], [later], [later, other], [other], [first, other], [first]]
    works, ends = _die_after(tmp_path, 1 << 20)
    assert works == len(left) - 1
    lives = {end + near for end in ends for near in (-500, -1, 0, 1, 20, 500) if end + near >= 0}
    seen = set()
    for life_bytes in sorted(lives):
        (tmp_path / "stage").unlink()
        works, _ = _die_after(tmp_path, life_bytes)
        # A work that was cut short is either not begun or finished.
        assert _leftovers(tmp_path) in left[works : works + 2], f"after {life_bytes} bytes"
        seen.add(works)
    assert seen == set(range(len(left)))


def test_stage_on_a_full_disk_fails_at_the_start(tiny_disk: Path) -> None:
    with pytest.raises(KernelError, match="No space left"):
        Stage(str(tiny_disk))


def _decide_for_ever(directory: str, announce_fd: int, first: int) -> None:
    """What a daemon does, two decisions at a time; every staged id goes down the pipe."""
    stage, history = Stage(directory), History(directory)
    number = first
    while True:
        opened: list[tuple[int, Record]] = []
        for _ in range(2):
            record = make_record(number)
            number += 1
            slot = stage.open_slot(record)
            assert slot is not None
            os.write(announce_fd, record.record_id.encode() + b"\n")
            opened.append((slot, record))
        for slot, record in opened:
            for at_usec in range(3):
                stage.update(slot, replace(record, steps=(*record.steps, Step("kill", at_usec, Outcome.DONE))))
            history.append(record)
            stage.clear(slot)


def _kill_one_daemon(directory: str, first: int, chance: random.Random) -> set[str]:
    """Let a daemon decide, SIGKILL it at a random instant; the ids that it had announced."""
    read_fd, write_fd = os.pipe()
    pid = os.fork()
    if pid == 0:
        try:
            _decide_for_ever(directory, write_fd, first)
        finally:
            os._exit(1)
    os.close(write_fd)
    try:
        announced = os.read(read_fd, 12 * chance.randint(1, 6))
        # Busy, because a sleep would always end at the same places.
        deadline = time.perf_counter_ns() + chance.randint(0, 3_000_000)
        while time.perf_counter_ns() < deadline:
            continue
    finally:
        os.kill(pid, signal.SIGKILL)
        status = os.waitpid(pid, 0)[1]
    with os.fdopen(read_fd, "rb") as rest:
        announced += rest.read()
    assert os.waitstatus_to_exitcode(status) == -signal.SIGKILL, "the daemon failed on its own"
    return set(announced.decode().split())


def test_stage_loses_nothing_when_the_daemon_is_killed(tmp_path: Path) -> None:
    seed = random.randrange(2**32)
    chance = random.Random(seed)
    announced: set[str] = set()
    history = History(str(tmp_path))
    rescued = torn = 0
    for life in range(40):
        announced |= _kill_one_daemon(str(tmp_path), life * 100_000, chance)
        stage = Stage(str(tmp_path))
        assert stage.broken == 0, f"seed {seed}"
        for slot, record in stage.read_leftovers():
            if not history.has(record.record_id):
                history.append(record)
                rescued += 1
            stage.clear(slot)
        stage.close()
        found, broken = history.read_records()
        ids = [record.record_id for record in found]
        assert announced <= set(ids), f"seed {seed}: lost"
        assert len(ids) == len(set(ids)), f"seed {seed}: twice"
        # The kernel ends a write between two pages when its writer is killed: that line is told, and is not lost.
        assert broken - torn <= 1, f"seed {seed}"
        torn = broken
    assert rescued > 0


def test_a_ready_decision_is_nothing_until_it_is_made(tmp_path: Path) -> None:
    stage = Stage(str(tmp_path))
    assert stage.commit_ready() is None
    assert stage.ready_slot(make_record(1), make_record(10))
    assert stage.ready_slot(make_record(2), make_record(20)), "the later one replaces it"
    assert _leftovers(tmp_path) == []
    slot = stage.commit_ready()
    assert slot is not None
    assert _leftovers(tmp_path) == [make_record(2)]
    stage.commit_done(slot)
    assert _leftovers(tmp_path) == [make_record(20)]
    stage.update(slot, make_record(3))
    assert _leftovers(tmp_path) == [make_record(3)]
    assert stage.commit_ready() is None, "it is made once"
    stage.close()


def test_what_is_decided_takes_the_place_of_what_is_ready_last(tmp_path: Path) -> None:
    stage = Stage(str(tmp_path))
    assert stage.ready_slot(make_record(50), make_record(51))
    others = [stage.open_slot(make_record(number)) for number in range(SLOTS - 1)]
    assert None not in others
    assert len(_leftovers(tmp_path)) == SLOTS - 1
    assert stage.open_slot(make_record(60)) is not None
    assert stage.commit_ready() is None, "its slot was needed"
    assert not stage.ready_slot(make_record(70), make_record(71))
    assert _leftovers(tmp_path) == [*(make_record(number) for number in range(SLOTS - 1)), make_record(60)]
    stage.close()

"""inotify on plain directories."""

from __future__ import annotations

import os
import select
from collections.abc import Iterator
from pathlib import Path

import pytest

from cgoom.errors import GoneError
from cgoom.kernel.inotify import (
    IN_CREATE,
    IN_DELETE,
    IN_DELETE_SELF,
    IN_IGNORED,
    IN_ISDIR,
    IN_MODIFY,
    IN_Q_OVERFLOW,
    Event,
    Inotify,
)
from cgoom.kernel.sysctl import read_sysctl


@pytest.fixture
def inotify() -> Iterator[Inotify]:
    opened = Inotify()
    yield opened
    opened.close()


def test_nothing_waits(inotify: Inotify) -> None:
    assert inotify.drain() == []
    assert not os.get_inheritable(inotify.fd)


def test_directories_come_and_go(inotify: Inotify, tmp_path: Path) -> None:
    wd = inotify.add(str(tmp_path), IN_CREATE | IN_DELETE)
    name = os.fsdecode(b"caf\xe9\n")
    (tmp_path / name).mkdir()
    (tmp_path / name).rmdir()
    assert select.select([inotify.fd], [], [], 10)[0]
    assert inotify.drain() == [Event(wd, IN_CREATE | IN_ISDIR, name), Event(wd, IN_DELETE | IN_ISDIR, name)]
    assert inotify.drain() == []


def test_a_file_itself(inotify: Inotify, tmp_path: Path) -> None:
    path = tmp_path / "memory.events"
    path.write_text("")
    wd = inotify.add(str(path), IN_MODIFY)
    path.write_text("x")
    assert inotify.drain()[-1] == Event(wd, IN_MODIFY, "")


def test_through_a_held_descriptor(inotify: Inotify, tmp_path: Path) -> None:
    fd = os.open(tmp_path, os.O_RDONLY)
    wd = inotify.add(f"/proc/self/fd/{fd}", IN_CREATE)
    os.close(fd)
    (tmp_path / "a").mkdir()
    assert inotify.drain() == [Event(wd, IN_CREATE | IN_ISDIR, "a")]


def test_a_watch_ends(inotify: Inotify, tmp_path: Path) -> None:
    wd = inotify.add(str(tmp_path), IN_CREATE)
    inotify.remove(wd)
    (tmp_path / "a").mkdir()
    assert inotify.drain() == [Event(wd, IN_IGNORED, "")]
    inotify.remove(wd)


def test_the_watched_is_removed(inotify: Inotify, tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    wd = inotify.add(str(tmp_path / "a"), IN_DELETE_SELF)
    (tmp_path / "a").rmdir()
    assert [(event.wd, event.mask & (IN_DELETE_SELF | IN_IGNORED)) for event in inotify.drain()] == [
        (wd, IN_DELETE_SELF),
        (wd, IN_IGNORED),
    ]
    inotify.remove(wd)


def test_all_that_waits_comes_at_once_and_each_event_once(inotify: Inotify, tmp_path: Path) -> None:
    inotify.add(str(tmp_path), IN_CREATE)
    names = [f"{number:0200}" for number in range(200)]
    for name in names * 2:
        (tmp_path / name).mkdir()
        (tmp_path / name).rmdir()
    assert [event.name for event in inotify.drain()] == names
    assert inotify.drain() == []


def test_an_overflow_is_an_event(inotify: Inotify, tmp_path: Path) -> None:
    limit = int(read_sysctl("fs.inotify.max_queued_events") or 0)
    inotify.add(str(tmp_path), IN_MODIFY)
    # Two files in turn: equal events in a row become one.
    with open(tmp_path / "a", "wb", buffering=0) as a, open(tmp_path / "b", "wb", buffering=0) as b:
        for _ in range(limit // 2 + 1):
            a.write(b"x")
            b.write(b"x")
    last = Event(0, 0, "")
    while events := inotify.drain():
        last = events[-1]
    assert last == Event(-1, IN_Q_OVERFLOW, "")


def test_nothing_there_to_watch(inotify: Inotify, tmp_path: Path) -> None:
    with pytest.raises(GoneError, match="absent"):
        inotify.add(str(tmp_path / "absent"), IN_CREATE)


def test_close_twice() -> None:
    before = len(os.listdir("/proc/self/fd"))
    opened = Inotify()
    opened.close()
    opened.close()
    assert len(os.listdir("/proc/self/fd")) == before

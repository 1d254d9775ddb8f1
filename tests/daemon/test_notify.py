"""What systemd is told, and when the next sign of life is due."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import pytest

from cgoom.daemon.notify import AGAIN_USEC, ASLEEP_LIMIT_USEC, LATE_PARTS, Notifier
from cgoom.daemon.sources import NEVER_USEC
from tests.support.notify import NotifySocket
from tests.support.wait import wait_until

LIMIT_USEC = 30_000_000
HALF_USEC = LIMIT_USEC // 2


@pytest.fixture
def systemd() -> Iterator[NotifySocket]:
    """Who starts daemons."""
    opened = NotifySocket()
    yield opened
    with contextlib.suppress(OSError):  # a test may have closed it
        opened.close()


def take(systemd: NotifySocket, notifier: Notifier) -> list[str]:
    """What was told since the last call."""
    notifier.send("MARK=1")
    wait_until(lambda: "MARK=1" in systemd.fields(), 10, "the mark")
    told = systemd.fields()
    systemd.forget()
    return told[: told.index("MARK=1")]


def test_a_sign_of_life_comes_when_half_of_the_limit_is_over_and_nobody_wakes_up_for_it_at_once(
    systemd: NotifySocket,
) -> None:
    notifier = Notifier({"NOTIFY_SOCKET": systemd.path, "WATCHDOG_USEC": str(LIMIT_USEC)})
    assert notifier.due_usec == 0
    notifier.beat(7, "all is well", is_asleep=False)
    assert take(systemd, notifier) == ["STATUS=all is well", "WATCHDOG=1"]
    assert notifier.due_usec == 7 + HALF_USEC + LIMIT_USEC // LATE_PARTS
    notifier.beat(6 + HALF_USEC, "all is well", is_asleep=False)
    assert take(systemd, notifier) == []
    notifier.beat(7 + HALF_USEC, "short", is_asleep=False)
    assert take(systemd, notifier) == ["STATUS=short", "WATCHDOG=1"]


def test_who_sleeps_until_something_changes_has_more_time_and_is_held_to_the_limit_when_it_wakes(
    systemd: NotifySocket,
) -> None:
    notifier = Notifier({"NOTIFY_SOCKET": systemd.path, "WATCHDOG_USEC": str(LIMIT_USEC)})
    notifier.beat(0, "", is_asleep=False)
    assert take(systemd, notifier) == ["WATCHDOG=1"]
    notifier.beat(1, "", is_asleep=True)
    assert take(systemd, notifier) == [f"WATCHDOG_USEC={ASLEEP_LIMIT_USEC}", "WATCHDOG=1"]
    assert notifier.due_usec == 1 + ASLEEP_LIMIT_USEC // 2 + ASLEEP_LIMIT_USEC // LATE_PARTS
    notifier.beat(2, "", is_asleep=True)
    assert take(systemd, notifier) == []
    notifier.beat(notifier.due_usec, "", is_asleep=True)
    assert take(systemd, notifier) == ["WATCHDOG=1"]
    notifier.beat(3, "short", is_asleep=False)
    assert take(systemd, notifier) == ["STATUS=short", f"WATCHDOG_USEC={LIMIT_USEC}", "WATCHDOG=1"]
    assert notifier.due_usec == 3 + HALF_USEC + LIMIT_USEC // LATE_PARTS


def test_what_nobody_had_room_for_is_told_again(systemd: NotifySocket, monkeypatch: pytest.MonkeyPatch) -> None:
    notifier = Notifier({"NOTIFY_SOCKET": systemd.path, "WATCHDOG_USEC": str(LIMIT_USEC)})
    notifier.beat(0, "", is_asleep=False)
    with monkeypatch.context() as full:
        full.setattr(Notifier, "send", lambda *_: False)
        notifier.beat(1, "well", is_asleep=True)
    assert notifier.due_usec == 1 + AGAIN_USEC
    assert AGAIN_USEC < LIMIT_USEC // LATE_PARTS
    notifier.beat(1 + AGAIN_USEC, "well", is_asleep=True)
    told = ["WATCHDOG=1", "STATUS=well", f"WATCHDOG_USEC={ASLEEP_LIMIT_USEC}", "WATCHDOG=1"]
    assert take(systemd, notifier) == told
    due_usec = notifier.due_usec
    with monkeypatch.context() as full:
        full.setattr(Notifier, "send", lambda *_: False)
        notifier.beat(due_usec, "well", is_asleep=True)
    notifier.beat(due_usec + AGAIN_USEC - 1, "well", is_asleep=True)
    assert take(systemd, notifier) == []
    notifier.beat(due_usec + AGAIN_USEC, "well", is_asleep=True)
    assert take(systemd, notifier) == ["WATCHDOG=1"]


def test_a_short_limit_is_not_over_before_it_is_told_again(systemd: NotifySocket) -> None:
    limit_usec = AGAIN_USEC
    notifier = Notifier({"NOTIFY_SOCKET": systemd.path, "WATCHDOG_USEC": str(limit_usec)})
    notifier.beat(0, "", is_asleep=False)
    due_usec = notifier.due_usec
    systemd.close()
    notifier.beat(due_usec, "", is_asleep=False)
    assert due_usec < notifier.due_usec < limit_usec


def test_it_is_known_whether_somebody_had_room(systemd: NotifySocket) -> None:
    notifier = Notifier({"NOTIFY_SOCKET": systemd.path})
    assert notifier.send("READY=1")
    systemd.close()
    assert not notifier.send("READY=1")
    assert Notifier({}).send("READY=1"), "nobody is to be told again"


@pytest.mark.parametrize("limit", [{}, {"WATCHDOG_USEC": "0"}, {"WATCHDOG_USEC": "1s"}, {"WATCHDOG_PID": "1"}])
def test_who_is_not_watched_gives_no_sign(systemd: NotifySocket, limit: dict[str, str]) -> None:
    watched = {"WATCHDOG_USEC": str(LIMIT_USEC)} if "WATCHDOG_PID" in limit else {}
    notifier = Notifier({"NOTIFY_SOCKET": systemd.path} | watched | limit)
    assert notifier.due_usec == NEVER_USEC
    for is_asleep in (False, True, False):
        notifier.beat(1, "well", is_asleep=is_asleep)
    assert take(systemd, notifier) == ["STATUS=well"]


def test_a_longer_limit_stays(systemd: NotifySocket) -> None:
    notifier = Notifier({"NOTIFY_SOCKET": systemd.path, "WATCHDOG_USEC": str(2 * ASLEEP_LIMIT_USEC)})
    notifier.beat(0, "", is_asleep=True)
    assert f"WATCHDOG_USEC={2 * ASLEEP_LIMIT_USEC}" in take(systemd, notifier)

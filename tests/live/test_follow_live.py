"""Who is chosen among workloads that are only listed, whatever happens to them: the real view over plain files."""

from __future__ import annotations

import os
import tempfile
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import cast

import pytest

import cgoom.daemon.docket as docket_module
from cgoom.act.execute import Executor
from cgoom.core.match import Scope
from cgoom.daemon.docket import Docket, Surroundings
from cgoom.daemon.flight import Flights
from cgoom.daemon.ledger import Ledger
from cgoom.daemon.trigger import Trigger
from cgoom.kernel.cgroup import open_cgroup
from cgoom.kernel.identity import Identity, write_identity, write_priority
from cgoom.kernel.sched import Importance
from cgoom.model import HostMemory, Level, Policy, Snapshot, State, TieBreak, VictimPolicy
from cgoom.observe.tree import Tree
from cgoom.record.history import History
from cgoom.record.journal import Journal
from cgoom.record.stage import Stage
from tests.daemon.loop_world import write_controls
from tests.daemon.world import GIB, SHORT, Deeds

pytestmark = [pytest.mark.live, pytest.mark.skipif(os.geteuid() != 0, reason="needs root for trusted.* xattrs")]


class Host:
    """A slice in plain files, a view of it, and who would be chosen."""

    def __init__(self, directory: Path, policy: Policy) -> None:
        self.directory, self.policy = directory / "mount", policy
        (self.directory / "s").mkdir(parents=True)
        self.root = open_cgroup(str(self.directory))
        self.stage, self.deeds = Stage(str(directory / "run")), Deeds()
        self.history = History(str(directory / "state"))
        self.begin()

    def begin(self) -> None:
        """A daemon that starts: it lists what is there."""
        self.tree, journal = Tree(self.root, "s", Scope(())), Journal(-1, {})
        host = Surroundings(self.tree, "own.service", hybrid=False)
        self.docket = Docket(host, self.policy)
        ledger = Ledger(self.history, self.stage, journal, "boot", "cgoom daemon")
        self.flights = Flights(host, self.docket, cast(Executor, self.deeds), Importance(), ledger, journal)
        self.tree.rescan()

    def end(self) -> None:
        """The daemon ends; the host stays."""
        self.flights.forget_ready()
        self.tree.close()

    def close(self) -> None:
        """Give back what is open."""
        self.end()
        self.stage.close()
        self.root.close()

    def add(self, name: str, priority: int, size_bytes: int = 1 << 20) -> None:
        """A workload that lives."""
        path = self.directory / "s" / name
        path.mkdir()
        write_controls(path)
        self.resize(name, size_bytes)
        with open_cgroup(str(self.directory), f"s/{name}") as made:
            write_identity(made.fd, Identity(name, priority))

    def resize(self, name: str, size_bytes: int) -> None:
        """It grew or shrank."""
        path = self.directory / "s" / name
        (path / "memory.current").write_text(f"{size_bytes}\n", encoding="ascii")
        (path / "memory.stat").write_text(f"anon {size_bytes}\n", encoding="ascii")

    def live(self, name: str, *, is_alive: bool) -> None:
        """It has processes, or its last one has ended."""
        events = self.directory / "s" / name / "cgroup.events"
        events.write_text(f"populated {int(is_alive)}\n", encoding="ascii")

    def remove(self, name: str) -> None:
        """It is gone."""
        for control in (self.directory / "s" / name).iterdir():
            control.unlink()
        (self.directory / "s" / name).rmdir()

    def rate(self, name: str, priority: int) -> None:
        """Another priority."""
        with open_cgroup(str(self.directory), f"s/{name}") as cgroup:
            write_priority(cgroup.fd, priority)

    def first(self, *, urgent: bool) -> str:
        """Who would die first; empty while that is still being found out."""
        found = self.docket.look(frozenset(), 0, urgent=urgent)
        return found[0].workload.name if found else ""


@pytest.fixture(params=[(TieBreak.LARGEST, TieBreak.NEWEST), (TieBreak.NEWEST,)], ids=["largest", "newest"])
def host(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Host]:
    made = Host(tmp_path, Policy(victim=VictimPolicy(tie_break=request.param)))
    yield made
    made.close()


@pytest.mark.parametrize("changed", ["a", "b", "c"])
@pytest.mark.parametrize("is_known", [True, False])
def test_a_priority_that_changes_while_they_are_followed_counts(host: Host, changed: str, is_known: bool) -> None:
    """The kill that is made ready at a warning, before the event of the change was taken, is fired after it was."""
    for name in ("a", "b", "c"):
        host.add(name, 500)
    host.tree.rescan()
    if is_known:
        assert host.first(urgent=True)
    host.rate(changed, 900)
    now_usec = time.monotonic_ns() // 1000
    snapshot = Snapshot(now_usec, HostMemory(100 * GIB, SHORT[Level.WARN], 0, 0), GIB)
    trigger, state = Trigger(host.flights, host.tree.changes, None), State(level=Level.WARN)
    host.flights.make_ready(host.policy, state, snapshot)
    trigger.cock(host.policy, state, snapshot.memory, now_usec)
    host.tree.drain()
    short = replace(snapshot.memory, available_bytes=SHORT[Level.KILL])
    fired = trigger.pull(short, now_usec)
    if not fired:
        trigger.cock(host.policy, state, short, now_usec)
        fired = trigger.pull(short, now_usec)
    if not fired:
        assert host.first(urgent=True) == changed
    assert host.deeds.killed in ([], [f"s/{changed}"])


def test_who_is_left_empty_is_passed_over_until_it_lives_again(host: Host) -> None:
    host.add("a", 900)
    host.add("b", 500)
    host.add("c", 100)
    host.tree.rescan()
    for is_alive, expected in ((True, "a"), (False, "b"), (True, "a")):
        host.live("a", is_alive=is_alive)
        host.tree.drain()
        assert host.first(urgent=False) == expected


def test_an_equal_that_an_event_had_followed_is_chosen_from_too(host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    """There was time for one of them when something happened to the one that has to die."""
    for name, size in (("a", 1), ("b", 1), ("c", 60), ("d", 1)):
        host.add(name, 500, size * GIB)
    host.tree.rescan()
    last = max("abcd", key=lambda name: (host.directory / "s" / name).stat().st_ino)
    expected = "c" if TieBreak.LARGEST in host.policy.victim.tie_break else last
    with monkeypatch.context() as context:
        ticks = iter(range(0, 1_000_000, 2_000))
        context.setattr(docket_module, "read_usec", lambda: next(ticks))
        host.first(urgent=False)
    for name in "abcd":
        (host.directory / "s" / name).chmod(0o750)
    host.tree.drain()
    assert host.first(urgent=True) == expected
    assert host.docket.unread == 0


def test_one_that_was_made_again_is_a_new_one(host: Host) -> None:
    for name in ("a", "b", "c"):
        host.add(name, 500)
    host.tree.rescan()
    assert host.first(urgent=True)
    host.tree.rescan()
    for name in ("a", "b", "c"):
        host.remove(name)
        host.add(name, 500, GIB)
        host.tree.drain()
        ids = {each: (host.directory / "s" / each).stat().st_ino for each in ("a", "b", "c")}
        sizes = {each: int((host.directory / "s" / each / "memory.current").read_text("ascii")) for each in ids}
        by_size = TieBreak.LARGEST in host.policy.victim.tie_break
        assert host.first(urgent=True) == max(ids, key=lambda each: (by_size and sizes[each], ids[each]))


def test_one_that_was_made_again_before_its_event_is_not_the_oldest() -> None:
    """On a tmpfs, which never gives out an inode number twice."""
    with tempfile.TemporaryDirectory(dir="/dev/shm") as scratch:
        host = Host(Path(scratch), Policy(victim=VictimPolicy(tie_break=(TieBreak.OLDEST,))))
        for name in ("a", "b", "c"):
            host.add(name, 500)
        host.tree.rescan()
        host.remove("a")
        host.add("a", 500)
        assert host.first(urgent=True) == "b"
        host.tree.drain()
        assert host.first(urgent=True) == "b"
        host.close()


def test_the_list_is_taken_again_in_the_middle(host: Host) -> None:
    for name in ("a", "b", "c"):
        host.add(name, 500)
    host.tree.rescan()
    assert host.tree.follow_next(500, oldest=False) is not None
    host.add("d", 900)
    host.tree.rescan()
    assert host.first(urgent=False) == "d"
    assert len(host.tree) == 4

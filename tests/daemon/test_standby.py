"""What is prepared for a daemon that is late, over plain directories and living processes."""

from __future__ import annotations

import os
import shutil
import subprocess
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from cgoom.core.match import Scope
from cgoom.daemon.docket import Docket, Surroundings
from cgoom.daemon.ledger import Ledger, Seen
from cgoom.daemon.sources import NEVER_USEC
from cgoom.daemon.standby import AGE_USEC, PATIENCE_USEC, PAUSE_TIMES, PAUSE_USEC, Standby
from cgoom.daemon.watch import Watch
from cgoom.kernel.cgroup import open_cgroup
from cgoom.kernel.memory_info import ArmedKill
from cgoom.kernel.proc import read_oom_score_adj, write_oom_score_adj
from cgoom.kernel.score import Scores
from cgoom.model import Candidate, CgroupRef, HostMemory, Level, Origin, Outcome, Policy, Record, Why, Workload
from cgoom.observe.tree import Tree
from cgoom.record.history import History
from cgoom.record.journal import Journal
from cgoom.record.stage import Stage
from cgoom.record.standby import Memo, Raised, read_memo, write_memo
from tests.daemon.test_watch import FILL, Scripted, make_answer

BOOT = "0f0f"
MEMORY = HostMemory(1 << 30, 1 << 20, 0, 0)


class Host:
    """A workload of one process, of which no rule of the policy speaks, and a daemon's preparations."""

    def __init__(self, directory: Path) -> None:
        self.run_dir, self.log = directory / "run", directory / "log"
        self.run_dir.mkdir(mode=0o700)
        self.cgroup = directory / "mount" / "app"
        self.cgroup.mkdir(parents=True)
        self.root = open_cgroup(str(directory / "mount"))
        self.child = subprocess.Popen(["sleep", "600"])
        self.list_pids(f"{self.child.pid}\n")
        ref = CgroupRef("app", self.cgroup.stat().st_ino)
        self.workload = Workload(ref, "app", 600, False, Origin.MATCHED)

    def list_pids(self, text: str) -> None:
        """What `cgroup.procs` says."""
        (self.cgroup / "cgroup.procs").write_text(text, encoding="ascii")

    def ledger(self) -> Ledger:
        """The records, as a daemon that starts finds them."""
        state_dir = str(self.run_dir.parent / "state")
        return Ledger(History(state_dir), Stage(str(self.run_dir)), self.journal(), BOOT, "cgoom daemon")

    def journal(self) -> Journal:
        """What is said."""
        return Journal(os.open(self.log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600), {})

    def standby(self, module: Scripted | None = None, ledger: Ledger | None = None) -> Standby:
        """The preparations of a daemon that starts."""
        tree = Tree(self.root, "cgoom.slice", Scope(()))
        watch = Watch(module, self.journal(), FILL)
        docket = Docket(Surroundings(tree, "", False), Policy())
        known = ledger or self.ledger()
        run_dir = str(self.run_dir)
        return Standby(tree, docket, watch, known, self.journal(), run_dir, BOOT, self.root.fd)

    def raise_by_an_earlier_one(self) -> None:
        """What a daemon leaves that is killed."""
        write_memo(str(self.run_dir), Memo(BOOT, raised=Raised(self.workload, Scores(300))))
        write_oom_score_adj(self.child.pid, 1000)

    def score(self) -> int:
        """oom_score_adj of the process."""
        return read_oom_score_adj(self.child.pid)


@pytest.fixture
def host(tmp_path: Path) -> Iterator[Host]:
    """One workload that lives."""
    made = Host(tmp_path)
    yield made
    made.child.kill()
    made.child.wait()
    made.root.close()


def keep(standby: Standby, after_usec: int = 0) -> None:
    """One `keep` with all the time there is."""
    now_usec = time.monotonic_ns() // 1000 + after_usec
    standby.keep(Level.OK, now_usec, NEVER_USEC, is_killing=False)


class Told(Docket):
    """The order that it is told."""

    found: tuple[Candidate, ...] = ()
    has_time = True  # to find out all of it

    def find_equals(self, limit: int, *, may_read: bool) -> Iterator[list[Candidate]]:
        self.is_cut = not self.has_time
        if self.found:
            yield list(self.found)


def tell(standby: Standby, monkeypatch: pytest.MonkeyPatch, *found: Workload, has_time: bool = True) -> Told:
    """The order of a standby."""
    monkeypatch.setattr(standby, "_docket", docket := Told(Surroundings(standby._tree, "", False), Policy()))
    docket.found, docket.has_time = tuple(map(Candidate, found)), has_time
    return docket


@pytest.mark.parametrize("is_found", [True, False])
def test_an_order_that_has_no_first_yet_replaces_none(
    host: Host, monkeypatch: pytest.MonkeyPatch, is_found: bool
) -> None:
    """An earlier daemon prepared somebody; this one has seen nobody that could be chosen, and not all."""
    host.raise_by_an_earlier_one()
    standby = host.standby()
    other = replace(host.workload, ref=CgroupRef("other", 1), name="other")
    tell(standby, monkeypatch, *((other,) if is_found else ()), has_time=False)
    standby.begin(Policy())
    keep(standby)
    assert host.score() == (300 if is_found else 1000)
    assert standby.generation == -1, "nobody is the first for certain"


def make_equals(count: int) -> tuple[Workload, ...]:
    """Of priority 400."""
    return tuple(Workload(CgroupRef(f"w{id_}", id_), f"w{id_}", 400, False, Origin.LAUNCHED) for id_ in range(count))


@pytest.mark.parametrize(("count", "priority", "is_soon"), [(64, 399, False), (64, 400, True), (63, 0, True)])
def test_an_order_that_is_full_stands_for_a_while_when_others_of_more_worth_change(
    host: Host, monkeypatch: pytest.MonkeyPatch, count: int, priority: int, is_soon: bool
) -> None:
    standby = host.standby()
    docket = tell(standby, monkeypatch, *make_equals(count))
    standby.begin(Policy())
    keep(standby)
    assert standby.due_usec(Level.OK, is_killing=False) == NEVER_USEC
    standby._tree.changes.note(priority)
    *_, third, second, first = make_equals(count)  # the newest come first
    docket.found = docket.found[:-1]
    keep(standby, AGE_USEC - 1_000_000)
    assert standby.first == ((second, third) if is_soon else (first, second))
    assert (standby.due_usec(Level.OK, is_killing=False) == NEVER_USEC) == is_soon
    keep(standby, AGE_USEC)
    assert standby.first == (second, third)
    assert standby.due_usec(Level.OK, is_killing=False) == NEVER_USEC


def test_an_order_that_is_full_and_not_known_to_the_end_is_looked_at_again(
    host: Host, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Those that come before may be gone without a word: they were never followed."""
    standby = host.standby()
    docket = tell(standby, monkeypatch, *make_equals(64), has_time=False)
    standby.begin(Policy())
    keep(standby)
    assert standby.due_usec(Level.OK, is_killing=False) < NEVER_USEC
    docket.has_time = True
    keep(standby, PAUSE_USEC * PAUSE_TIMES)
    assert standby.due_usec(Level.OK, is_killing=False) == NEVER_USEC
    assert standby.generation == standby._tree.changes.generation


def test_whom_the_policy_has_dropped_gets_its_score_back(host: Host) -> None:
    host.raise_by_an_earlier_one()
    standby = host.standby()
    standby.begin(Policy())
    keep(standby)
    assert host.score() == 300
    assert read_memo(str(host.run_dir), BOOT).raised is None


def test_what_cannot_be_put_back_now_is_kept_said_and_tried_again(host: Host) -> None:
    host.raise_by_an_earlier_one()
    host.list_pids("garbage\n")
    standby = host.standby()
    standby.begin(Policy())
    keep(standby)
    standby.end()
    assert host.score() == 1000
    assert read_memo(str(host.run_dir), BOOT).raised is not None
    host.list_pids(f"{host.child.pid}\n")
    keep(standby, PATIENCE_USEC)
    assert host.score() == 300
    assert read_memo(str(host.run_dir), BOOT).raised is None
    assert host.log.read_text(encoding="utf-8").count("of app is not put back yet") == 1


@pytest.mark.parametrize("is_replaced", [False, True])
def test_who_is_gone_has_nothing_to_be_put_back(host: Host, is_replaced: bool) -> None:
    host.raise_by_an_earlier_one()
    if is_replaced:
        host.cgroup.rename(host.cgroup.with_name("before"))
        shutil.copytree(host.cgroup.with_name("before"), host.cgroup)
    else:
        shutil.rmtree(host.cgroup)
    standby = host.standby()
    standby.begin(Policy())
    keep(standby)
    assert host.score() == 1000
    assert read_memo(str(host.run_dir), BOOT).raised is None


def test_a_memo_that_cannot_be_read_is_said(host: Host) -> None:
    (host.run_dir / "standby.json").write_bytes(b"{")
    standby = host.standby()
    standby.begin(Policy())
    keep(standby)
    assert "what the last daemon prepared is not known" in host.log.read_text(encoding="utf-8")
    assert read_memo(str(host.run_dir), BOOT).pid == os.getpid()


def test_it_waits_for_a_kill_and_not_for_a_level(host: Host) -> None:
    host.raise_by_an_earlier_one()
    standby = host.standby()
    standby.begin(Policy())
    now_usec = time.monotonic_ns() // 1000
    assert standby.due_usec(Level.KILL, is_killing=True) == NEVER_USEC
    standby.keep(Level.KILL, now_usec, now_usec + PATIENCE_USEC, is_killing=True)
    assert host.score() == 1000
    assert standby.due_usec(Level.KILL, is_killing=False) < now_usec
    standby.keep(Level.KILL, now_usec, now_usec + PATIENCE_USEC, is_killing=False)
    assert host.score() == 300


@pytest.mark.parametrize("resumes", [False, True])
def test_a_kill_whose_record_was_taken_over_is_not_told_again(host: Host, resumes: bool) -> None:
    kill = ArmedKill(host.workload.ref.cgroup_id, 1, 6, time.monotonic_ns())
    ledger = host.ledger()
    ledger.open_entry(draft(ledger, host.workload), kill.time_ns // 1000 - 10)
    ledger.add_step(host.workload.ref, "armed-kill", kill.time_ns // 1000, Outcome.DONE, "1 processes")
    later = host.ledger()
    later.recover(lambda _: resumes)
    module = Scripted(make_answer(Level.OK, 7, kill))
    standby = host.standby(module, later)
    standby.begin(Policy())
    if resumes:
        later.close_entry(host.workload.ref, Outcome.DONE, "", None)
    later.flush_all()
    records, _ = History(str(host.run_dir.parent / "state")).read_records()
    assert [[step.what for step in record.steps] for record in records] == [["armed-kill"]]


def test_a_kill_that_nobody_told_is_told_once(host: Host) -> None:
    kill = ArmedKill(host.workload.ref.cgroup_id, 1, 6, time.monotonic_ns())
    ledger = host.ledger()
    ledger.recover(lambda _: False)
    standby = host.standby(Scripted(make_answer(Level.OK, 7, kill)), ledger)
    standby.begin(Policy())
    standby.take_events()
    ledger.flush_all()
    records, _ = History(str(host.run_dir.parent / "state")).read_records()
    assert [record.kind for record in records] == ["armed-kill"]


def draft(ledger: Ledger, workload: Workload) -> Record:
    """A decision about it."""
    return ledger.draft(Seen(Level.WARN, MEMORY, 1), Candidate(workload), Why("short", "first"), "shortage")

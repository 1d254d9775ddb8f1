"""The record of every decision: staged before the act, finished when its end is known, then in the history for good."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace

from cgoom.daemon.sources import NEVER_USEC
from cgoom.errors import CgoomError
from cgoom.kernel.clock import read_usec
from cgoom.model import (
    Candidate,
    CgroupRef,
    Considered,
    HostMemory,
    Level,
    Outcome,
    Record,
    Step,
    Usage,
    Why,
    Workload,
)
from cgoom.record.history import History
from cgoom.record.ids import make_record_id
from cgoom.record.journal import Journal, Severity
from cgoom.record.stage import SLOTS, Stage
from cgoom.units import render_size, render_time

# Records that wait for the disk; chosen: hours of kills, some hundred KiB.
PENDING_LIMIT = 256
# Microseconds between two tries to write what the disk refused; chosen: an administrator frees space, not we.
RETRY_USEC = 5_000_000
# Microseconds that a finished record may wait while the host is not calm; the stage keeps it meanwhile. Chosen.
FLUSH_USEC = 2_000_000
# Kinds of records that tell what somebody else did.
OTHERS = {"kernel-oom": "the kernel", "armed-kill": "memory_info"}
# Steps that end a victim: ours, and the module's while we were late.
KILLS = ("kill", "armed-kill")
# What an open record says of its end.
UNKNOWN_END = "the daemon ended before it knew"


@dataclass(frozen=True, slots=True)
class Seen:
    """What a decision was made from: the level, the host's memory, how many workloads there were."""

    level: Level
    memory: HostMemory
    candidates: int


@dataclass(slots=True)
class Entry:
    """An open record, its slot in the stage (None: the stage is full), and when it was begun (CLOCK_MONOTONIC)."""

    record: Record
    slot: int | None
    begun_usec: int
    uncertain: bool = False  # the history may have it already
    was_ready: bool = False  # its slot also holds what it is when the kill is done


class Ledger:
    """Keeps the one promise about records: none is lost and none is written twice, however the daemon ends."""

    def __init__(self, history: History, stage: Stage, journal: Journal, boot_id: str, by: str) -> None:
        self._history, self._stage, self._journal = history, stage, journal
        self._boot_id, self.by = boot_id, by
        self._open: dict[CgroupRef, Entry] = {}
        self._ready: Record | None = None
        self._pending: list[Entry] = []
        self._retry_at_usec = 0
        self._flush_by_usec = 0  # 0: nothing waits

    def draft(self, seen: Seen, candidate: Candidate, why: Why, kind: str) -> Record:
        """A new record, not yet kept anywhere."""
        time_usec = time.time_ns() // 1000
        usage = candidate.usage
        return Record(
            record_id=make_record_id(time_usec, candidate.workload.ref.cgroup_id),
            boot_id=self._boot_id,
            time_usec=time_usec,
            kind=kind,
            by=OTHERS.get(kind, self.by),
            level=seen.level,
            victim=candidate.workload,
            usage_bytes=usage.current_bytes if usage else None,
            memory=seen.memory,
            why=why,
            considered=(),
            candidates=seen.candidates,
            steps=(),
            outcome=Outcome.FAILED,
            note=UNKNOWN_END,
        )

    def open_entry(self, record: Record, begun_usec: int) -> None:
        """Stage a decision. The last thing before the act, and without a system call."""
        slot = self._stage.open_slot(record)
        self._open[record.victim.ref] = Entry(record, slot, begun_usec)

    def ready_entry(self, record: Record) -> None:
        """Have the decision that is probably next in the stage already, where it counts for nothing yet."""
        killed = replace(record, steps=(Step("kill", 0, Outcome.DONE),))
        self._ready = record if self._stage.ready_slot(record, killed) else None

    def forget_ready(self) -> None:
        """The decision that was made ready will not be made."""
        self._ready = None
        self._stage.forget_ready()

    def has_ready(self, victim: Workload) -> bool:
        """Whether `stage_ready` would stage this victim's: somebody else may have needed its slot since."""
        return self._ready is not None and self._ready.victim == victim and self._stage.is_ready

    def stage_ready(self) -> int | None:
        """Stage the decision that was made ready, by one store: its slot, for `note_staged`. None: there is none."""
        return self._stage.commit_ready()

    def note_staged(self, slot: int, begun_usec: int, *, is_done: bool) -> None:
        """What `stage_ready` staged is open from now on: what the act need not wait for. `is_done`: it was the kill.

        That comes first, or the next daemon would not know of it.
        """
        if is_done:
            self._stage.commit_done(slot)
        if self._ready is not None:
            self._open[self._ready.victim.ref] = Entry(self._ready, slot, begun_usec, was_ready=True)

    def find(self, ref: CgroupRef) -> Record | None:
        """The open record of this victim."""
        entry = self._open.get(ref)
        return entry.record if entry else None

    def renew(self, ref: CgroupRef, seen: Seen, shortage: str) -> None:
        """A request became a kill: what was short then is why. Who was chosen, and why, stays as it was decided."""

        def change(record: Record) -> Record:
            return replace(record, level=seen.level, memory=seen.memory, why=replace(record.why, shortage=shortage))

        self._update(ref, change)

    def complete(self, ref: CgroupRef, seen: Seen, why: Why, time_usec: int, usage: Usage | None) -> None:
        """What was made ready was decided: as of now, and for the reason of now. `usage` None: as it was."""

        def change(record: Record) -> Record:
            return replace(
                record,
                level=seen.level,
                memory=seen.memory,
                candidates=seen.candidates,
                why=why,
                time_usec=time_usec,
                usage_bytes=record.usage_bytes if usage is None else usage.current_bytes,
            )

        self._update(ref, change)

    def add_considered(self, ref: CgroupRef, considered: Iterable[Considered]) -> None:
        """Who else there was; told after the act."""
        self._update(ref, lambda record: replace(record, considered=tuple(considered)))

    def add_step(
        self, ref: CgroupRef, what: str, now_usec: int, outcome: Outcome, note: str = "", *, is_staged: bool = True
    ) -> None:
        """One more thing that was done to the victim, or that happened to it.

        `is_staged` False: what is told of it next goes into the stage together with it.
        """
        entry = self._open.get(ref)
        if entry is not None:
            step = Step(what, max(0, now_usec - entry.begun_usec), outcome, note)
            entry.record = replace(entry.record, steps=(*entry.record.steps, step))
            if is_staged:
                self._keep_staged(entry)

    def add_kill(self, ref: CgroupRef, now_usec: int, note: str) -> None:
        """The kill is done; if that was made ready it stands in the stage, and `complete` says there when it was."""
        entry = self._open.get(ref)
        if entry is not None:
            self.add_step(ref, "kill", now_usec, Outcome.DONE, note, is_staged=not entry.was_ready)

    def close_entry(self, ref: CgroupRef, outcome: Outcome, note: str, available_bytes: int | None) -> None:
        """The end is known: one line to the journal, and the record waits for `flush`."""
        entry = self._open.pop(ref, None)
        if entry is None:
            return
        entry.record = replace(entry.record, outcome=outcome, note=note, available_after_bytes=available_bytes)
        self._keep(entry)
        failed = outcome in (Outcome.FAILED, Outcome.REFUSED)
        self._journal.write(Severity.ERR if failed else Severity.NOTICE, render_line(entry.record))

    def append(self, record: Record, uncertain: bool = False) -> None:
        """A record that is complete from the beginning: something that the kernel did.

        `uncertain`: an earlier daemon may have written it.
        """
        self._journal.write(Severity.WARNING, render_line(record))
        self._keep(Entry(record, self._stage.open_slot(record), 0, uncertain))

    def recover(self, resume: Callable[[Record], bool]) -> None:
        """Take over what an earlier daemon left. `resume` says whether that victim is still to be dealt with."""
        if self._stage.broken:
            self._journal.write(Severity.ERR, f"{self._stage.broken} staged records could not be read")
        for slot, record in self._stage.read_leftovers():
            entry = Entry(record, slot, read_usec(), uncertain=True)
            if record.note != UNKNOWN_END:  # complete, only the disk was missing
                self._keep(entry)
                continue
            same_boot = record.boot_id == self._boot_id
            self._open[record.victim.ref] = entry
            if not (same_boot and resume(record)):
                del self._open[record.victim.ref]
                entry.record = _conclude_leftover(entry.record, same_boot)
                self._journal.write(Severity.NOTICE, render_line(entry.record))
                self._keep(entry)

    def due_usec(self) -> int | None:
        """When `flush` has something to do; None: nothing waits."""
        return self._retry_at_usec if self._pending else None

    @property
    def is_crowded(self) -> bool:
        """Whether so many records wait for the disk that the next but one decision would find no slot in the stage."""
        return len(self._pending) >= SLOTS - 2

    def flush(self, now_usec: int) -> None:
        """Write one record to the history. It may wait for the disk, so only call it when nobody has to die."""
        if not self._pending or now_usec < self._retry_at_usec:
            return
        entry = self._pending[0]
        try:
            # A failed append, or an earlier daemon, may have written the line all the same.
            if not (entry.uncertain and self._history.has(entry.record.record_id)):
                self._history.append(entry.record)
        except CgoomError as error:
            if not entry.uncertain:
                text = f"history {entry.record.record_id} is not written yet: {error.message}"
                self._journal.write(Severity.ERR, text)
            entry.uncertain = True
            self._retry_at_usec = now_usec + RETRY_USEC
            return
        del self._pending[0]
        if entry.slot is not None:
            self._stage.clear(entry.slot)

    def flush_in_time(self, now_usec: int, *, is_busy: bool) -> int:
        """Write one record; when to come back.

        `is_busy`: somebody may have to die in a moment, which the disk, slow as it may be, has no regard for. It waits
        for FLUSH_USEC then: the stage has it.
        """
        if self.due_usec() is None:
            self._flush_by_usec = 0
            return NEVER_USEC
        self._flush_by_usec = self._flush_by_usec or now_usec + FLUSH_USEC
        if is_busy and now_usec < self._flush_by_usec:
            return self._flush_by_usec
        self.flush(now_usec)
        due_usec = self.due_usec()
        return NEVER_USEC if due_usec is None else max(due_usec, now_usec + 1)

    def flush_all(self) -> None:
        """Write what can be written, for the end of the daemon; the rest stays in the stage."""
        self._retry_at_usec = 0
        while self._pending and not self._retry_at_usec:
            self.flush(read_usec())

    def _update(self, ref: CgroupRef, change: Callable[[Record], Record]) -> None:
        entry = self._open.get(ref)
        if entry is not None:
            entry.record = change(entry.record)
            self._keep_staged(entry)

    def _keep_staged(self, entry: Entry) -> None:
        if entry.slot is not None:
            self._stage.update(entry.slot, entry.record)

    def _keep(self, entry: Entry) -> None:
        """The record is complete: into the stage at once, into the history when there is time."""
        self._keep_staged(entry)
        if len(self._pending) < PENDING_LIMIT:
            self._pending.append(entry)
        else:
            self._journal.write(Severity.ERR, f"history {entry.record.record_id} is lost: too many wait for the disk")

    def find_victims(self, step: str) -> frozenset[int]:
        """The cgroup ids of this boot's records at hand, open or waiting for the disk, that have such a step."""
        records = [entry.record for entry in (*self._open.values(), *self._pending)]
        return frozenset(
            record.victim.ref.cgroup_id
            for record in records
            if record.boot_id == self._boot_id and any(each.what == step for each in record.steps)
        )


def render_line(record: Record) -> str:
    """The one line of a decision: what was done to whom, why, what came of it."""
    victim: Workload = record.victim
    words = {Outcome.WOULD: "would have killed", Outcome.GONE: "meant to kill", Outcome.FAILED: "failed to kill"}
    other = OTHERS.get(record.kind)
    verb = f"{other} killed" if other else words.get(record.outcome, "killed")
    if (
        not other
        and record.outcome == Outcome.DONE
        and record.steps
        and all(step.what not in KILLS for step in record.steps)
    ):
        verb = "asked to end"
    parts = [f"{verb} {victim.name} (priority {victim.priority}): {record.why.shortage}; {record.why.choice}"]
    gone = next((step.at_usec for step in record.steps if step.what == "depopulated"), None)
    if gone is not None:
        parts.append(f"gone after {render_time(gone)}")
    if record.available_after_bytes is not None:
        parts.append(f"MemAvailable {render_size(record.available_after_bytes)}")
    if record.note:
        parts.append(record.note)
    return ", ".join(parts) + f"; history {record.record_id}"


def _conclude_leftover(record: Record, same_boot: bool) -> Record:
    """A victim that is not there any more: if its kill had been decided, it was carried out, or it ended by itself."""
    note = "finished by the next daemon" if same_boot else "the host was restarted meanwhile"
    killed = any(step.what in KILLS and step.outcome == Outcome.DONE for step in record.steps)
    return replace(record, outcome=Outcome.DONE if killed else Outcome.GONE, note=note)

"""`cgoom priority` and `cgoom kill`: what a person does to a running workload."""

from __future__ import annotations

import os
import select
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace

import click

from cgoom.act.execute import RealExecutor
from cgoom.act.leftover import remove_leftover
from cgoom.cli.errors import write_note, write_out
from cgoom.cli.look import Host, open_host, read_memory, read_path_of, require_one
from cgoom.cli.params import PRIORITY
from cgoom.cli.render import render_json
from cgoom.core.detect import raw_level
from cgoom.core.eligible import skip_reason
from cgoom.errors import CgoomError, GoneError, KernelError, NotPermittedError, RefusedError
from cgoom.kernel.cgroup import Cgroup, open_cgroup
from cgoom.kernel.fault import kernel_errors
from cgoom.kernel.identity import write_priority
from cgoom.kernel.proc import read_boot_id, write_oom_score_adj
from cgoom.model import Origin, Outcome, Record, Step, Why, Workload
from cgoom.observe.selection import Managed
from cgoom.observe.usage import read_usage
from cgoom.place.request import LaunchRequest
from cgoom.record.history import History
from cgoom.record.ids import make_record_id
from cgoom.record.text import escape_text
from cgoom.record.verdict import render_verdict
from cgoom.units import USEC_PER_SEC, render_time

# Microseconds; chosen: a person waits for it, and a hundred GiB take the kernel seconds to give back.
WAIT_USEC = 10 * USEC_PER_SEC
# Looks at cgroup.procs; chosen: a child that is forked before its parent's score changed is found by the second one,
# and a fork bomb must not keep us for ever.
SCORE_ROUNDS = 8


@contextmanager
def open_named(host: Host, name: str) -> Iterator[Managed]:
    """The one workload of that name, held open. Raises UnknownWorkloadError, ConflictError."""
    everyone = list(host.find_workloads())
    try:
        yield everyone[require_one([each.workload for each in everyone], name)]
    finally:
        for each in everyone:
            each.cgroup.close()


@click.command()
@click.argument("name")
@click.argument("number", metavar="N", type=PRIORITY)
@click.option("--json", "as_json", is_flag=True, help="One JSON document.")
def priority(name: str, number: int, as_json: bool) -> None:
    """Give the workload NAME the priority N (0 to 1000, the larger dies first) while it runs."""
    with open_host() as host, open_named(host, name) as managed:
        workload = managed.workload
        if workload.origin == Origin.MATCHED:
            hint = f"change the rule for it in the policy: {host.in_force.source}"
            raise RefusedError(f"{workload.name} has its priority from the policy", hint)
        # The score that the workload would have been launched with. First, because the daemon acts on the priority: it
        # gives the next victim another score, which must not be overwritten.
        # With the priority that it has already, the daemon would see nothing new and not put its score back.
        adjusted = refused = 0
        if number != workload.priority:
            score = LaunchRequest(workload.name, (), number, workload.protect).oom_score_adj()
            adjusted, refused = write_scores(managed.cgroup, score)
        write_priority(managed.cgroup.fd, number)
    if refused:
        write_note(f"cgoom: note: oom_score_adj stays for {refused} processes: to lower it takes CAP_SYS_RESOURCE")
    if as_json:
        document = {
            "name": workload.name,
            "cgroup": workload.ref.path,
            "old_priority": workload.priority,
            "new_priority": number,
            "adjusted_process_count": adjusted,
            "refused_process_count": refused,
        }
        write_out(render_json(document))
    else:
        write_out(f"{escape_text(workload.name)}: priority {workload.priority} -> {number}")


def write_scores(cgroup: Cgroup, score: int) -> tuple[int, int]:
    """Set oom_score_adj of every process; how many took it, and for how many the kernel refused."""
    adjusted: set[int] = set()
    refused: set[int] = set()
    for _ in range(SCORE_ROUNDS):
        pids = set(cgroup.read_procs_recursive()) - adjusted - refused
        if not pids:
            break
        for pid in pids:
            try:
                write_oom_score_adj(pid, score)
            except NotPermittedError:
                refused.add(pid)
            except GoneError:
                continue
            else:
                adjusted.add(pid)
    return len(adjusted), len(refused)


@click.command()
@click.argument("name")
@click.option("--force", is_flag=True, help="Also when the workload is protected.")
@click.option("--json", "as_json", is_flag=True, help="One JSON document.")
def kill(name: str, force: bool, as_json: bool) -> None:
    """End the workload NAME now, as a whole: one write to cgroup.kill, and an entry in the history."""
    with open_host() as host, open_named(host, name) as managed:
        require_killable(managed.workload, force, read_path_of(host.in_force.daemon_pid), read_path_of(os.getpid()))
        record = kill_as_whole(host, managed)
        if managed.workload.origin == Origin.LAUNCHED and record.outcome != Outcome.FAILED:
            _remove_unless_launcher(host, managed)
    try:
        History(host.layout.state_dir).append(record)
    except CgoomError as error:
        write_note(f"cgoom: note: the history misses this kill: {escape_text(error.message)}")
    if record.outcome == Outcome.FAILED:
        raise KernelError(f"{record.victim.name}: {record.note}", f"see `cgoom history {record.record_id}`")
    _write_killed(record, as_json)


def require_killable(workload: Workload, force: bool, daemon_path: str, own_path: str) -> None:
    """Raises RefusedError for a protected workload unless forced, and always where cgoom itself would die."""
    if workload.protect and not force:
        raise RefusedError(f"{workload.name} is protected", "`--force` kills it all the same")
    for path in (daemon_path, own_path):
        reason = skip_reason(replace(workload, protect=False), path, populated=True)
        if reason:
            raise RefusedError(f"{workload.name}: {reason}", "end it from outside, or end its processes one by one")


def kill_as_whole(host: Host, managed: Managed) -> Record:
    """Write cgroup.kill, leave the verdict, wait until it is empty; the record of it, which is not yet kept anywhere.

    Raises NotPermittedError, KernelError before anything is killed.
    """
    record = _make_record(host, managed)
    os.close(managed.cgroup.open_control("cgroup.kill", os.O_WRONLY))
    events_fd = managed.cgroup.open_control("cgroup.events", os.O_RDONLY)
    try:
        begun_nsec = time.monotonic_ns()
        executor = RealExecutor()
        executor.announce(managed.cgroup)
        answer = executor.kill(managed.cgroup)
        executor.tell(managed.cgroup, render_verdict(record) if answer.outcome == Outcome.DONE else "")
        steps = [Step("kill", _usec_since(begun_nsec), answer.outcome, answer.note)]
        outcome, note = answer.outcome, answer.note
        if answer.outcome == Outcome.DONE:
            executor.reap(managed.cgroup)
            if wait_depopulated(managed.cgroup, events_fd, WAIT_USEC):
                steps.append(Step("depopulated", _usec_since(begun_nsec), Outcome.DONE))
            else:
                outcome, note = Outcome.FAILED, f"still populated after {render_time(WAIT_USEC)}"
    finally:
        os.close(events_fd)
    after_bytes = read_memory().available_bytes
    return replace(record, steps=tuple(steps), outcome=outcome, note=note, available_after_bytes=after_bytes)


def wait_depopulated(cgroup: Cgroup, events_fd: int, limit_usec: int) -> bool:
    """Sleep until the kernel says that no process is left in the cgroup or below; False when the time is up."""
    poller = select.poll()
    poller.register(events_fd, select.POLLPRI)
    deadline_nsec = time.monotonic_ns() + limit_usec * 1000
    while True:
        try:
            with kernel_errors("cgroup.events"):
                os.pread(events_fd, 1, 0)  # a read is what makes the next change count as news
            if not cgroup.read_populated():
                return True
        except GoneError:  # removed: its launcher was faster
            return True
        left_msec = (deadline_nsec - time.monotonic_ns()) // 1_000_000
        if left_msec <= 0:
            return False
        poller.poll(left_msec)


def _make_record(host: Host, managed: Managed) -> Record:
    """The record as it is before the kill; `steps` and `outcome` are filled in afterwards."""
    memory, workload = read_memory(), managed.workload
    usage = read_usage(managed.cgroup, by_share=host.mount.hybrid)
    time_usec = time.time_ns() // 1000
    return Record(
        record_id=make_record_id(time_usec, workload.ref.cgroup_id),
        boot_id=read_boot_id(),
        time_usec=time_usec,
        kind="manual",
        by=f"cgoom kill (uid {os.getuid()})",
        level=raw_level(host.in_force.policy.host, memory),
        victim=workload,
        usage_bytes=usage.freeable_bytes if usage else None,
        memory=memory,
        why=Why("", f"uid {os.getuid()} asked for it"),
        considered=(),
        candidates=1,
        steps=(),
        outcome=Outcome.FAILED,
    )


def _remove_unless_launcher(host: Host, managed: Managed) -> None:
    """A launcher removes its own cgroup; of one that was left behind nobody else would."""
    with open_cgroup(host.root.fd, managed.workload.ref.path.rpartition("/")[0]) as parent:
        remove_leftover(parent, managed.cgroup, managed.workload.name)


def _usec_since(begun_nsec: int) -> int:
    return (time.monotonic_ns() - begun_nsec) // 1000


def _write_killed(record: Record, as_json: bool) -> None:
    took_usec = record.steps[-1].at_usec
    if as_json:
        document = {
            "name": record.victim.name,
            "cgroup": record.victim.ref.path,
            "outcome": record.outcome.value,
            "took_usec": took_usec,
            "history_id": record.record_id,
        }
        write_out(render_json(document))
        return
    what = "was gone already" if record.outcome == Outcome.GONE else f"killed as a whole in {render_time(took_usec)}"
    write_out(f"{escape_text(record.victim.name)}: {what}; history {record.record_id}")

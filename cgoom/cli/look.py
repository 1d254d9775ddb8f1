"""`cgoom ls`, `status`, `explain`: one fresh look at the host each; nothing is shown that was read before."""

from __future__ import annotations

import difflib
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace

import click

from cgoom.cli.errors import write_note, write_out
from cgoom.cli.facts import PRESSURE_FILE
from cgoom.cli.policy import read_policy_in_force
from cgoom.cli.render import render_json
from cgoom.cli.view import (
    HYBRID_NOTE,
    InForce,
    Seen,
    View,
    document_explain,
    document_explain_one,
    document_ls,
    document_status,
    render_explain,
    render_explain_one,
    render_ls,
    render_status,
)
from cgoom.core.eligible import skip_reason
from cgoom.core.match import Scope
from cgoom.core.rank import rank
from cgoom.errors import CgoomError, ConflictError, GoneError, UnknownWorkloadError
from cgoom.kernel.capability import read_effective
from cgoom.kernel.cgroup import Cgroup, Mount, find_mount, open_cgroup
from cgoom.kernel.meminfo import MemInfo
from cgoom.kernel.module_answer import find_answer
from cgoom.kernel.proc import read_cgroup_path
from cgoom.kernel.psi import Pressure, read_pressure
from cgoom.model import Candidate, HostMemory, Layout, Record, Workload, parse_layout
from cgoom.observe.selection import Managed, find_workloads
from cgoom.observe.usage import read_usage
from cgoom.record.history import History
from cgoom.record.standby import read_source
from cgoom.record.text import escape_text


@dataclass(frozen=True, slots=True)
class Host:
    """Where to look: the cgroup2 mount, held open at its root, and the policy that decides."""

    layout: Layout
    mount: Mount
    root: Cgroup
    in_force: InForce

    def find_workloads(self) -> Iterator[Managed]:
        """Every workload, its cgroup held open; the caller closes it."""
        return find_workloads(self.root, self.layout.slice_name, Scope(self.in_force.policy.workloads))


@contextmanager
def open_host() -> Iterator[Host]:
    """The host as the environment's layout names it. Raises HostError, PolicyError, NotPermittedError, KernelError."""
    layout = parse_layout(os.environ)
    mount = find_mount()
    with open_cgroup(mount.path) as root:
        yield Host(layout, mount, root, read_policy_in_force(layout))


def read_memory() -> HostMemory:
    """The host's memory now. Raises KernelError."""
    reader = MemInfo()
    try:
        return reader.read()
    finally:
        reader.close()


def read_view(host: Host) -> View:
    """Everything that the three commands show, read now."""
    daemon_path = read_path_of(host.in_force.daemon_pid)
    seen = {}
    for managed in host.find_workloads():
        with managed.cgroup:
            found = _read_seen(managed, daemon_path, host.mount.hybrid)
        if found is not None:
            seen[found.candidate] = found
    last, notes = _read_last(host.layout)
    if "CAP_SYS_ADMIN" not in read_effective():
        notes = (*notes, "launched workloads cannot be seen without CAP_SYS_ADMIN: run it as root")
    return View(
        in_force=host.in_force,
        hybrid=host.mount.hybrid,
        memory=read_memory(),
        pressure=_read_pressure(),
        seen=tuple(seen[candidate] for candidate in rank(seen, host.in_force.policy.victim)),
        last=last,
        notes=notes,
        source=_read_source(host),
        armed=read_armed_count(),
    )


def read_path_of(pid: int | None) -> str:
    """The cgroup that the process runs in; empty where there is no such process."""
    if pid is None:
        return ""
    try:
        return read_cgroup_path(pid)
    except GoneError:
        return ""


def require_one(workloads: Sequence[Workload], name: str) -> int:
    """The index of the one that is called `name`, or whose cgroup path it is.

    Raises UnknownWorkloadError with the nearest name, ConflictError when two answer to it.
    """
    found = [index for index, each in enumerate(workloads) if name in (each.name, each.ref.path)]
    if len(found) == 1:
        return found[0]
    if found:
        paths = " ".join(workloads[index].ref.path for index in found)
        raise ConflictError(f"{len(found)} workloads are called {name}", f"name the cgroup instead: {paths}")
    near = difflib.get_close_matches(name, [each.name for each in workloads], n=1)
    hint = f"did you mean {near[0]}?" if near else "`cgoom ls` lists them"
    raise UnknownWorkloadError(f"no workload is called {name}", hint)


def _read_seen(managed: Managed, daemon_path: str, hybrid: bool) -> Seen | None:
    """The workload as it is now; None when it is gone meanwhile."""
    cgroup, workload = managed.cgroup, managed.workload
    usage = read_usage(cgroup, by_share=hybrid)
    try:
        skip = skip_reason(workload, daemon_path, cgroup.read_populated())
        return Seen(Candidate(workload, usage, skip), len(cgroup.read_procs_recursive()))
    except GoneError:
        return None


def _read_pressure() -> Pressure | None:
    try:
        return read_pressure(PRESSURE_FILE)
    except CgoomError:  # a kernel without PSI, or with psi=0: `cgoom doctor` tells which
        return None


def _read_source(host: Host) -> str:
    if host.in_force.refusal:
        return "unknown"
    pid = host.in_force.daemon_pid
    return (read_source(host.layout.run_dir, pid) if pid is not None else "") or "sampling"


def read_armed_count() -> int | None:
    """How many cgroups are in the module's order; None without the module."""
    answer = find_answer()
    return None if answer is None else answer.armed


def _read_last(layout: Layout) -> tuple[Record | None, tuple[str, ...]]:
    """The last decision; a history that cannot be read is a note, not the end of `cgoom ls`."""
    try:
        records, _ = History(layout.state_dir).read_records(limit=1)
    except CgoomError as error:
        return None, (f"the history cannot be read: {error.message}",)
    return (records[-1] if records else None), ()


def _write_view(view: View, document: dict[str, object], text: str, as_json: bool) -> None:
    """The JSON document, or the text with the notes on stderr; of no workloads only a line on stderr."""
    if as_json:
        write_out(render_json(document))
        return
    for note in view.notes:
        write_note(f"cgoom: note: {escape_text(note)}")
    if view.seen:
        write_out(text)
    else:
        write_note("cgoom: note: no workloads; start one with `cgoom launch --priority 500 -- COMMAND`")


@click.command()
@click.option("--json", "as_json", is_flag=True, help="One JSON document.")
def ls(as_json: bool) -> None:
    """List the workloads; the first line dies first.

    FREEABLE is what a kill would give back: anonymous and shared memory, kernel memory and swap, not the page cache.
    """
    with open_host() as host:
        view = read_view(host)
    _write_view(view, document_ls(view), render_ls(view), as_json)


@click.command()
@click.option("--json", "as_json", is_flag=True, help="One JSON document.")
def status(as_json: bool) -> None:
    """How short the host is, which policy decides, and who dies next."""
    with open_host() as host:
        view = read_view(host)
    if view.hybrid:
        view = replace(view, notes=(*view.notes, HYBRID_NOTE))
    write_out(render_json(document_status(view)) if as_json else render_status(view))


@click.command()
@click.argument("name", required=False)
@click.option("--json", "as_json", is_flag=True, help="One JSON document.")
def explain(name: str | None, as_json: bool) -> None:
    """Who would die now, in what order, and why; with NAME, what must happen for that one to be killed."""
    with open_host() as host:
        view = read_view(host)
    if name is None:
        _write_view(view, document_explain(view), render_explain(view), as_json)
        return
    index = require_one([each.workload for each in view.candidates], name)
    _write_view(view, document_explain_one(view, index), render_explain_one(view, index), as_json)

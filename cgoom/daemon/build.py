"""The daemon's parts, made and put together, in a process that never knew click or YAML.

`cgoom daemon` compiles the policy and executes `boot.py`, which comes here with the JSON of it behind a descriptor.
"""

from __future__ import annotations

import os
import signal

from cgoom.act.execute import DryExecutor, RealExecutor
from cgoom.core.match import Scope
from cgoom.daemon.docket import Docket, Surroundings
from cgoom.daemon.flight import Flights
from cgoom.daemon.ledger import Ledger
from cgoom.daemon.loop import Loop
from cgoom.daemon.notify import Notifier
from cgoom.daemon.parts import Parts
from cgoom.daemon.preflight import freeze_garbage, raise_file_limit, raise_own_importance, read_own_cgroup
from cgoom.daemon.sources import Sources
from cgoom.daemon.standby import Standby, Unprepared
from cgoom.daemon.watch import Watch
from cgoom.errors import CgoomError
from cgoom.kernel.cgroup import find_mount, open_cgroup
from cgoom.kernel.meminfo import MemInfo
from cgoom.kernel.memory_info import Module
from cgoom.kernel.proc import read_boot_id
from cgoom.kernel.sched import Importance
from cgoom.model import Layout, Policy, parse_layout
from cgoom.observe.host import measure_fill_rate
from cgoom.observe.tree import Tree
from cgoom.policy.codec import decode_policy, encode_policy
from cgoom.record.directory import replace_file
from cgoom.record.history import History
from cgoom.record.instance import Instance
from cgoom.record.journal import Journal, Severity
from cgoom.record.stage import Stage

POLICY_FILE = "policy.json"
INTERNAL_STATUS = 70  # EX_SOFTWARE of sysexits.h, as the command line uses it
_READ_BYTES = 1 << 20


def main(argv: list[str]) -> int:
    """Run the daemon that `argv` (FD, POLICY_PATH, `real` or `dry`) asks for; the exit status as in `errors`."""
    journal = Journal()
    signal.signal(signal.SIGPIPE, signal.SIG_IGN)
    try:
        fd, policy_path, mode = int(argv[0]), argv[1], argv[2]
        _build(journal, fd, policy_path, dry_run=mode == "dry").run()
    except CgoomError as error:
        journal.write(Severity.ERR, f"error: {error.message}")
        if error.hint:
            journal.write(Severity.ERR, f"hint: {error.hint}")
        return error.status
    except Exception as error:  # the last resort: one line, then the supervisor restarts it
        if os.environ.get("CGOOM_DEBUG"):
            raise
        journal.write(Severity.ERR, f"error: internal: {type(error).__name__}: {error}")
        return INTERNAL_STATUS
    return 0


def _build(journal: Journal, policy_fd: int, policy_path: str, dry_run: bool) -> Loop:
    policy = decode_policy(_read_all(policy_fd))
    layout = parse_layout(os.environ)
    mount = find_mount()
    root = open_cgroup(mount.path, "")
    Instance(layout.run_dir).acquire()
    raise_file_limit()
    own_path = read_own_cgroup()
    tree = Tree(root, layout.slice_name, Scope(policy.workloads))
    sources = Sources(tree.fd)
    boot_id, by = read_boot_id(), "cgoom daemon --dry-run" if dry_run else "cgoom daemon"
    ledger = Ledger(History(layout.state_dir), Stage(layout.run_dir), journal, boot_id, by)
    fill_bytes_per_sec = measure_fill_rate()
    host = Surroundings(tree, own_path, mount.hybrid)
    docket, importance = Docket(host, policy), Importance()
    flights = Flights(host, docket, DryExecutor() if dry_run else RealExecutor(), importance, ledger, journal)
    module = None if dry_run else _open_module(journal, sources)
    watch = Watch(module, journal, fill_bytes_per_sec)
    prepared = Standby(tree, docket, watch, ledger, journal, layout.run_dir, boot_id, root.fd)
    parts = Parts(
        tree=tree,
        sources=sources,
        meminfo=MemInfo(),
        module=module,
        docket=docket,
        flights=flights,
        importance=importance,
        ledger=ledger,
        standby=Unprepared() if dry_run else prepared,
        journal=journal,
        notifier=Notifier(),
        publish=lambda chosen: _publish(layout, journal, chosen),
        root_fd=root.fd,
        fill_bytes_per_sec=fill_bytes_per_sec,
        policy_path=policy_path,
    )
    for finding in (*raise_own_importance(root, own_path, importance), *sources.arm_pressure()):
        journal.write(Severity.WARNING, finding)
    freeze_garbage()
    return Loop(parts, policy)


def _open_module(journal: Journal, sources: Sources) -> Module | None:
    """The kernel module, loaded or not: where there is netlink at all, its coming is heard."""
    try:
        module = Module()
    except CgoomError as error:
        journal.write(Severity.WARNING, f"memory_info will not be heard: {error.message}")
        return None
    sources.add_module(module.fd)
    return module


def _read_all(fd: int) -> str:
    text = b""
    while block := os.read(fd, _READ_BYTES):
        text += block
    os.close(fd)
    return text.decode("utf-8", "strict")


def _publish(layout: Layout, journal: Journal, policy: Policy) -> None:
    """The policy in force, for `cgoom status`; a full /run is no reason to end."""
    try:
        replace_file(layout.run_dir, POLICY_FILE, encode_policy(policy).encode())
    except CgoomError as error:
        journal.write(Severity.WARNING, f"`cgoom status` shows an older policy: {error.message}")

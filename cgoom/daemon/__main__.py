"""`python -m cgoom.daemon FD POLICY_PATH real|dry`: the daemon itself, in a process that never knew click or YAML.

`cgoom daemon` compiles the policy and executes this with the JSON of it behind the descriptor FD.
"""

from __future__ import annotations

import os
import signal
import sys

from cgoom.act.execute import DryExecutor, RealExecutor
from cgoom.core.match import Scope
from cgoom.daemon.ledger import Ledger
from cgoom.daemon.loop import Loop, Parts
from cgoom.daemon.notify import Notifier
from cgoom.daemon.preflight import freeze_garbage, raise_file_limit, raise_own_importance, read_own_cgroup
from cgoom.daemon.sources import Sources
from cgoom.errors import CgoomError, KernelError
from cgoom.kernel.cgroup import find_mount, open_cgroup
from cgoom.kernel.fault import kernel_errors
from cgoom.kernel.meminfo import MemInfo
from cgoom.kernel.proc import read_boot_id
from cgoom.model import Layout, Policy, parse_layout
from cgoom.observe.host import measure_fill_rate
from cgoom.observe.tree import Tree
from cgoom.policy.codec import decode_policy, encode_policy
from cgoom.record.history import History
from cgoom.record.instance import Instance
from cgoom.record.journal import Journal, Severity
from cgoom.record.stage import Stage

POLICY_FILE = "policy.json"
INTERNAL_STATUS = 70  # EX_SOFTWARE of sysexits.h, as the command line uses it
_READ_BYTES = 1 << 20


def main(argv: list[str]) -> int:
    """Run the daemon; the exit status as in `errors`."""
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
    ledger = Ledger(
        History(layout.state_dir),
        Stage(layout.run_dir),
        journal,
        read_boot_id(),
        "cgoom daemon --dry-run" if dry_run else "cgoom daemon",
    )
    parts = Parts(
        tree=tree,
        sources=sources,
        meminfo=MemInfo(),
        executor=DryExecutor() if dry_run else RealExecutor(),
        ledger=ledger,
        journal=journal,
        notifier=Notifier(),
        publish=lambda chosen: _publish(layout, journal, chosen),
        root_fd=root.fd,
        own_path=own_path,
        hybrid=mount.hybrid,
        fill_bytes_per_sec=measure_fill_rate(),
        policy_path=policy_path,
    )
    findings = [*raise_own_importance(root, own_path), *sources.arm_pressure()]
    for finding in findings:
        journal.write(Severity.WARNING, finding)
    freeze_garbage()
    return Loop(parts, policy)


def _read_all(fd: int) -> str:
    text = b""
    while block := os.read(fd, _READ_BYTES):
        text += block
    os.close(fd)
    return text.decode("utf-8", "strict")


def _publish(layout: Layout, journal: Journal, policy: Policy) -> None:
    """The policy in force, for `cgoom status`; a full /run is no reason to end."""
    try:
        _write_policy(os.path.join(layout.run_dir, POLICY_FILE), encode_policy(policy).encode())
    except CgoomError as error:
        journal.write(Severity.WARNING, f"`cgoom status` shows an older policy: {error.message}")


def _write_policy(path: str, text: bytes) -> None:
    """Written beside and renamed, so that nobody reads half of it."""
    with kernel_errors(path):
        fd = os.open(path + ".new", os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW | os.O_CLOEXEC, 0o644)
        try:
            if os.write(fd, text) != len(text):
                raise KernelError(f"{path}: written in part", "free space there")
        finally:
            os.close(fd)
        os.rename(path + ".new", path)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

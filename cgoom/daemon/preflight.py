"""What the daemon asks the host for before it watches: each thing that is not granted is one finding, not an end."""

from __future__ import annotations

import gc
import os
import resource
from collections.abc import Iterator
from contextlib import suppress

from cgoom.errors import CgoomError
from cgoom.kernel.cgroup import Cgroup, open_cgroup
from cgoom.kernel.mlock import lock_memory
from cgoom.kernel.proc import read_cgroup_path, read_oom_score_adj, write_oom_score_adj
from cgoom.kernel.sched import Importance

OOM_SCORE_ADJ_NEVER = -1000  # OOM_SCORE_ADJ_MIN, include/uapi/linux/oom.h: the kernel never kills it
# Bytes; chosen: twice the resident set that the daemon was measured to have (make bench-full prints it, and what it is
# with 10,000 workloads). As MemoryMin= of packaging/cgoom.service.
OWN_MEMORY_MIN_BYTES = 48 << 20
# The unit's own cgroup only: memory.min on a login session's would protect the whole session.
_SERVICE_SUFFIX = ".service"


def raise_own_importance(root: Cgroup, own_path: str, importance: Importance) -> Iterator[str]:
    """Lock memory, escape the kernel's OOM killer, protect the own cgroup; yields a finding for what was refused."""
    try:
        lock_memory()
    except CgoomError as error:
        yield f"memory is not locked, the daemon may be paged out: {error.message}"
    try:
        if read_oom_score_adj(os.getpid()) != OOM_SCORE_ADJ_NEVER:
            write_oom_score_adj(os.getpid(), OOM_SCORE_ADJ_NEVER)
    except CgoomError as error:
        yield f"the kernel may choose the daemon itself, oom_score_adj stays: {error.message}"
    try:
        importance.raise_()
    except OSError as error:
        yield f"the daemon has to wait for a processor like everybody: real-time scheduling: {error.strerror}"
    if own_path.endswith(_SERVICE_SUFFIX):
        try:
            with open_cgroup(root.fd, own_path) as own:
                own.write_control("memory.min", str(OWN_MEMORY_MIN_BYTES))
        except CgoomError as error:
            yield f"the daemon's memory is not protected from reclaim: {error.message}"


def raise_file_limit() -> None:
    """As many descriptors as the host allows: one is held per workload."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    with suppress(ValueError, OSError):
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


def read_own_cgroup() -> str:
    """The path of the cgroup that the daemon runs in; the empty path where the kernel does not tell."""
    with suppress(CgoomError):
        return read_cgroup_path(os.getpid()).lstrip("/")
    return ""


def freeze_garbage() -> None:
    """What start-up made stays for good: no collection scans it again, so that later ones are short."""
    gc.collect()
    gc.freeze()

"""What a workload holds, and what a kill of it would give back."""

from __future__ import annotations

from typing import TYPE_CHECKING

from cgoom.errors import CgoomError, GoneError
from cgoom.kernel.cgroup import Cgroup
from cgoom.kernel.proc import read_resident_bytes
from cgoom.model import Usage

if TYPE_CHECKING:
    import psutil

# Keys of memory.stat (Documentation/admin-guide/cgroup-v2.rst): what only the death of its owner frees. Page cache is
# left out, because the kernel takes that back without a kill.
FREEABLE_KEYS = ("anon", "shmem", "slab_unreclaimable", "kernel_stack", "pagetables")


def read_usage(cgroup: Cgroup, *, by_share: bool = False) -> Usage | None:
    """Bytes that the workload holds; None when it is gone, or the kernel does not tell (a threaded cgroup).

    Where the memory controller does not count it: the resident sets of its processes, pages that they share counted
    once for each. `by_share`: their proportional shares instead (a hybrid host), which takes the map lock of each
    process, so that it may wait for one that is thrashing.
    """
    try:
        if by_share:
            return _sum_shares(cgroup)
        current_bytes = cgroup.read_memory_current()
        if current_bytes is None:
            return _sum_resident(cgroup)
        stat = cgroup.read_memory_stat()
        freeable_bytes = sum(stat.get(key, 0) for key in FREEABLE_KEYS)
        return Usage(current_bytes, freeable_bytes + (cgroup.read_memory_swap_current() or 0))
    except CgoomError:
        return None


def _sum_resident(cgroup: Cgroup) -> Usage:
    total_bytes = 0
    for pid in cgroup.read_procs_recursive():
        try:
            total_bytes += read_resident_bytes(pid)
        except GoneError:
            continue
    return Usage(total_bytes, total_bytes)


def _sum_shares(cgroup: Cgroup) -> Usage:
    """PSS where the kernel tells it, else RSS, plus swap. psutil is loaded only on hosts that need it."""
    import psutil  # noqa: PLC0415

    total_bytes = 0
    for pid in cgroup.read_procs_recursive():
        try:
            total_bytes += _read_process(psutil.Process(pid), psutil.AccessDenied)
        except psutil.NoSuchProcess:
            continue
    return Usage(total_bytes, total_bytes)


def _read_process(process: psutil.Process, refused: type[Exception]) -> int:
    try:
        memory = process.memory_full_info()
    except refused:  # another user's, and we are not root: smaps is not for us
        return int(process.memory_info().rss)
    return int(memory.pss + memory.swap)

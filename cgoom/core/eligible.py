"""Who may be chosen at all."""

from __future__ import annotations

from cgoom.model import Workload


def skip_reason(workload: Workload, own_path: str, populated: bool) -> str:
    """Why a workload cannot be chosen, or nothing. `own_path`: the cgroup that cgoom itself runs in."""
    if workload.protect:
        return "protected"
    path = workload.ref.path
    if not path:
        return "the root of the host"
    if own_path == path:
        return "cgoom runs in it"
    if own_path.startswith(path + "/"):
        return "cgoom runs below it"
    if not populated:
        return "empty"
    return ""

"""What a crashed or replaced launcher leaves: an empty cgroup that nobody will remove."""

from __future__ import annotations

import fcntl

from cgoom.errors import CgoomError
from cgoom.kernel.cgroup import Cgroup


def remove_leftover(parent: Cgroup, cgroup: Cgroup) -> bool:
    """Remove an empty cgroup unless its launcher is alive; whether it is gone.

    A launcher holds a shared lock on the directory for as long as it lives and removes the cgroup itself, after it
    has read what the verdict was.
    """
    try:
        fcntl.flock(cgroup.fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return False
    try:
        if cgroup.read_populated():
            return False
        parent.remove_child(cgroup.ref.path.rpartition("/")[2])
    except CgoomError:
        return False  # gone already, or it has children of its own: somebody else's to tidy
    finally:
        fcntl.flock(cgroup.fd, fcntl.LOCK_UN)
    return True

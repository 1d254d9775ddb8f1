"""What a crashed or replaced launcher leaves: an empty cgroup that nobody will remove."""

from __future__ import annotations

import fcntl

from cgoom.errors import CgoomError
from cgoom.kernel.cgroup import Cgroup


def remove_leftover(parent: Cgroup, cgroup: Cgroup, name: str) -> bool:
    """Remove the empty cgroup of the workload `name` unless its launcher is alive; whether it is gone.

    Only one that cgoom made itself, `NAME.scope`: a scope of systemd's (`cgoom-NAME.scope`) that vanished under it
    would stay a running unit for ever, and its name in use.

    A launcher holds a shared lock on the directory for as long as it lives and removes the cgroup itself, after it
    has read what the verdict was.
    """
    directory = cgroup.ref.path.rpartition("/")[2]
    if directory != f"{name}.scope":
        return False
    try:
        fcntl.flock(cgroup.fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return False
    try:
        if cgroup.read_populated():
            return False
        parent.remove_child(directory)
    except CgoomError:
        return False  # gone already, or it has children of its own: somebody else's to tidy
    finally:
        fcntl.flock(cgroup.fd, fcntl.LOCK_UN)
    return True

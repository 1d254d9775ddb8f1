"""What the tests of kernel/ on this host share: a cgroup that always goes away, and a child without privileges."""

from __future__ import annotations

import itertools
import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import NoReturn

from cgoom.errors import CgoomError
from cgoom.kernel.cgroup import Cgroup, find_mount, open_cgroup

TIMEOUT_USEC = 10_000_000
NOBODY = 65534
_numbers = itertools.count()


def wait_until(true: Callable[[], bool]) -> None:
    """Poll with a deadline, for what the kernel does in its own time and does not announce."""
    deadline = time.monotonic() + TIMEOUT_USEC / 1e6
    while not true():
        assert time.monotonic() < deadline, "it did not happen"
        time.sleep(0.005)


def remove_tree(parent: Cgroup, name: str) -> None:
    """Remove it with everything below; nothing lives there any more."""
    with parent.open_child(name) as doomed:
        for child in doomed.children():
            remove_tree(doomed, child)
    parent.remove_child(name)


@contextmanager
def scratch_cgroup() -> Iterator[Cgroup]:
    """A cgroup of the test's own; whatever is in it at the end is killed and removed."""
    name = f"cgoom-test-{os.getpid()}-{next(_numbers)}"
    with open_cgroup(find_mount().path) as root, root.make_child(name) as made:
        try:
            yield made
        finally:
            made.write_kill()
            wait_until(lambda: not made.read_populated())
            remove_tree(root, name)


def exec_shell(script: str) -> Callable[[], NoReturn]:
    """What a child shall run."""
    return lambda: os.execv("/bin/sh", ["sh", "-c", script])


def run_as_nobody(function: Callable[[], object]) -> str:
    """What `function` returns or raises in a child without privileges, as text."""
    reader, writer = os.pipe()
    pid = os.fork()
    if pid == 0:
        try:
            os.setgroups([])
            os.setresgid(NOBODY, NOBODY, NOBODY)
            os.setresuid(NOBODY, NOBODY, NOBODY)
            try:
                answer = str(function())
            except CgoomError as error:
                answer = f"{type(error).__name__}: {error.message}; {error.hint}"
            os.write(writer, answer.encode())
        finally:
            os._exit(0)
    os.close(writer)
    with os.fdopen(reader) as pipe:
        answer = pipe.read()
    os.waitpid(pid, 0)
    return answer

"""The benchmark's crowd: each of its idle cgroups is a workload, with one process that sleeps."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from bench import race
from cgoom.kernel.cgroup import find_mount
from cgoom.kernel.identity import read_identity
from tests.live.kernel_scene import scratch_cgroup
from tests.support.hogs import build_program

pytestmark = [pytest.mark.live, pytest.mark.skipif(os.geteuid() != 0, reason="needs root")]


def test_a_crowd_grows_and_its_first_are_the_least_important() -> None:
    program = build_program("crowd", Path(race.__file__).parent, "-static")
    with scratch_cgroup() as parent:
        path = Path(find_mount().path) / parent.ref.path
        for first, count in ((0, 3), (3, 5)):
            command = [program, "--parent", str(path), "--first", str(first), "--count", str(count), "--lowest", "2"]
            subprocess.run(command, check=True, stdout=subprocess.DEVNULL, timeout=30)
        assert sorted(parent.children()) == [f"crowd-{number}.scope" for number in range(5)]
        priorities = []
        for number in range(5):
            with parent.open_child(f"crowd-{number}.scope") as scope:
                identity = read_identity(scope.fd)
                assert identity is not None
                assert identity.name == f"crowd-{number}"
                assert len(scope.read_procs()) == 1
                priorities.append(identity.priority)
    assert priorities[:2] == [1000, 1000]
    assert all(1 <= priority <= 900 for priority in priorities[2:])

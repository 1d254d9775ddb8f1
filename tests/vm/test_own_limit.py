"""A workload at its own limit costs no neighbour its life, and what the kernel does to it is told as the kernel's."""

from __future__ import annotations

import sys

import pytest

from tests.support.hogs import hog
from tests.support.scene import Scene
from tests.support.wait import wait_until
from tests.vm.gate import read_own_kib

pytestmark = pytest.mark.vm

# Writes 50 MiB files again and again: page cache at the limit, reclaim all the time, nobody else concerned.
BUFFERED_IO = """
import os, sys
block = os.urandom(1 << 20)
for turn in range(int(sys.argv[2])):
    with open(sys.argv[1] + "/file%d" % (turn % 4), "wb") as file:
        for _ in range(50):
            file.write(block)
"""


def test_b26_io_at_the_own_limit_kills_nobody(scene: Scene) -> None:
    daemon = scene.daemon()
    neighbours = [scene.launch(f"idle{number}", 1000, "sleep", "3600") for number in range(3)]
    writer = scene.launch("writer", 10, sys.executable, "-c", BUFFERED_IO, str(scene.directory), "12", memory_max="64M")
    assert writer.wait(180) == 0, scene.stderr("writer")
    assert [launcher.poll() for launcher in neighbours] == [None, None, None]
    assert read_own_kib("MemAvailable") > read_own_kib("MemTotal") // 2
    assert daemon.records() == []


def test_b20_nothing_dies_on_a_host_with_room(scene: Scene) -> None:
    daemon = scene.daemon()
    chill = scene.launch("chill", 1000, "sleep", "3600")
    bloat = scene.launch("bloat", 500, *hog(200, rate_mib=100, hold=True), memory_low="1M")
    wait_until(lambda: read_memory_kib(scene, "bloat") > 190 * 1024, 60, "the bloat to be there")
    assert scene.run("explain", "--json").returncode == 0
    assert (chill.poll(), bloat.poll()) == (None, None)
    assert daemon.records() == []


def test_an_oom_at_the_own_limit_is_the_kernels_and_not_ours(scene: Scene) -> None:
    daemon = scene.daemon()
    idle = scene.launch("idle", 1000, "sleep", "3600")
    bounded = scene.launch("bounded", 0, *hog(1 << 20, rate_mib=50), memory_max="48M")
    assert bounded.wait(120) == 137
    assert "killed by cgoom" not in scene.stderr("bounded")
    wait_until(lambda: scene.oom_kills() >= 1, 10, "the kernel's own count")
    assert idle.poll() is None
    assert [record for record in daemon.records() if record["kind"] != "kernel-oom"] == []


def read_memory_kib(scene: Scene, name: str) -> int:
    """memory.current of a workload."""
    return int((scene.cgroup(name) / "memory.current").read_text(encoding="ascii")) // 1024

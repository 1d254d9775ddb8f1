"""A workload dies as a whole: forks in flight, daemonised children, many processes."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from tests.support.hogs import hog
from tests.support.scene import Scene
from tests.support.wait import wait_until

pytestmark = pytest.mark.vm

FORK_BOMB = """
import os
while True:
    try:
        os.fork()
    except OSError:
        pass
"""
DAEMONISE = """
import os, sys, time
if os.fork():
    sys.exit(0)
os.setsid()
if os.fork():
    os._exit(0)
with open(sys.argv[1], "w") as file:
    file.write(str(os.getpid()))
time.sleep(3600)
"""


def count_procs(cgroup: Path) -> int:
    """Processes listed in a cgroup."""
    return len((cgroup / "cgroup.procs").read_text(encoding="ascii").split())


def test_b25_one_kill_empties_a_fork_bomb(scene: Scene) -> None:
    bomb = scene.launch("bomb", 100, sys.executable, "-c", FORK_BOMB, pids_max="300")
    wait_until(lambda: count_procs(scene.cgroup("bomb")) >= 250, 60, "the bomb to go off")
    done = scene.run("kill", "bomb")
    assert done.returncode == 0, done.stderr
    assert bomb.wait(30) == 137
    assert not scene.is_populated("bomb")
    assert "killed by cgoom" in scene.stderr("bomb")


def test_b25_a_daemonised_workload_dies_with_its_cgroup(scene: Scene) -> None:
    pid_file = scene.directory / "pid"
    launcher = scene.launch("daemonised", 100, sys.executable, "-c", DAEMONISE, str(pid_file), placed=False)
    assert launcher.wait(30) == 0
    pid = wait_until(lambda: pid_file.exists() and pid_file.read_text(encoding="ascii"), 30, "the daemonised process")
    assert scene.is_populated("daemonised"), "what CMD left behind stays managed"
    assert "daemonised" in Path(f"/proc/{pid}/cgroup").read_text(encoding="ascii")
    assert scene.run("kill", "daemonised").returncode == 0
    wait_until(lambda: not Path(f"/proc/{pid}").exists(), 30, "the daemonised process to be gone")


def test_b19_each_kill_ends_in_populated_0(scene: Scene) -> None:
    for number in (1, 2):
        two = scene.launch("two", 100, "sh", "-c", "sleep 3600 & exec sleep 3600")
        wait_until(lambda: count_procs(scene.cgroup("two")) == 2, 30, "two sleepers")
        assert scene.run("kill", "two").returncode == 0
        assert two.wait(30) == 137
        assert not scene.is_populated("two")
        assert scene.run("history", "--json").stdout.count('"manual"') == number


def test_b21_the_protected_one_outlives_a_less_hungry_one(scene: Scene) -> None:
    daemon = scene.daemon()
    scene.launch("shielded", 1000, *hog(400, hold=True), protect=True)
    modest = scene.launch("modest", 10, *hog(1 << 20, rate_mib=60, ignore_term=True))
    assert modest.wait(120) == 137
    assert scene.is_populated("shielded")
    record = wait_until(daemon.records, 30, "the record")[0]
    assert [(each["name"], each["why"]) for each in record["considered"]][-1] == ("shielded", "protected")
    assert scene.oom_kills() == 0


def test_hundreds_of_processes_die_in_one_write(scene: Scene) -> None:
    crowd = "import os, time\nfor _ in range(400):\n    if not os.fork():\n        break\ntime.sleep(3600)\n"
    launcher = scene.launch("crowd", 100, sys.executable, "-c", crowd)
    wait_until(lambda: count_procs(scene.cgroup("crowd")) >= 400, 120, "the crowd to gather")
    assert scene.run("kill", "crowd").returncode == 0
    assert launcher.wait(60) == 137

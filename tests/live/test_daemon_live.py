"""The daemon and the demo on this host's own cgroup2, hybrid or not, without endangering anybody else's memory."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from bench import race
from tests.support.cli import run_cgoom
from tests.support.hogs import build_program
from tests.support.scene import Scene, find_cgroup2, is_populated
from tests.support.wait import wait_until

pytestmark = pytest.mark.live

# Every host is short of memory by these; only the scene's own workloads are in reach of its daemon.
ALWAYS_SHORT = "host: {warn: {mem_available: 100%, swap_free: 100%}, kill: {mem_available: 100%, swap_free: 100%}}\n"
AT_ONCE = ALWAYS_SHORT + "ladder: {warn: [kill], kill: [kill]}\n"


def test_the_least_important_one_dies_and_the_protected_one_stays(scene: Scene) -> None:
    victim = scene.launch("victim", 100, "sleep", "3600")
    shielded = scene.launch("shielded", 1000, "sleep", "3600", protect=True)
    daemon = scene.daemon(AT_ONCE)
    assert victim.wait(30) == 128 + signal.SIGKILL
    record = wait_until(daemon.records, 30, "the record")[0]
    assert (record["victim"]["name"], record["outcome"]) == ("victim", "done")
    assert f"history {record['id']}" in scene.stderr("victim")
    assert shielded.poll() is None


def test_all_die_in_their_order_and_one_at_a_time(scene: Scene) -> None:
    launchers = {priority: scene.launch(f"p{priority}", priority, "sleep", "3600") for priority in (5, 1000, 300, 20)}
    daemon = scene.daemon(AT_ONCE)
    wait_until(lambda: all(each.poll() is not None for each in launchers.values()), 60, "all to die")
    wait_until(lambda: len(daemon.records()) == len(launchers), 30, "a record of each")
    records = daemon.records()
    assert [record["victim"]["priority"] for record in records] == [1000, 300, 20, 5]
    begun = [record["time_usec"] for record in records]
    ended = [record["time_usec"] + record["steps"][-1]["at_usec"] for record in records]
    assert all(following >= gone for following, gone in zip(begun[1:], ended[:-1], strict=True))


def test_the_daemon_killed_in_between_goes_on_where_it_was(scene: Scene) -> None:
    launchers = [scene.launch(f"p{priority}", priority, "sleep", "3600") for priority in (100, 200, 300, 400)]
    daemon = scene.daemon(AT_ONCE + "victim: {cooldown: 200ms}\n")
    wait_until(daemon.records, 30, "the first record")
    daemon.restart()
    wait_until(lambda: all(each.poll() is not None for each in launchers), 60, "all to die")
    wait_until(lambda: len(daemon.records()) == len(launchers), 30, "a record of each")
    records = daemon.records()
    assert [record["victim"]["priority"] for record in records] == [400, 300, 200, 100]


def test_an_empty_cgroup_without_a_launcher_is_swept(scene: Scene) -> None:
    launcher = scene.launch("orphan", 100, "sleep", "3600", exec=True)
    scene.daemon()
    wait_until(lambda: scene.is_populated("orphan"), 30, "the orphan to run")
    launcher.kill()
    launcher.wait()
    wait_until(lambda: not scene.cgroup("orphan").exists(), 30, "its cgroup to be removed")


def add_crowd(scene: Scene, count: int, lowest: int) -> list[Path]:
    """Workloads with a sleeping process each that were there before the daemon; `lowest` of them have priority 1000."""
    program = build_program("crowd", Path(race.__file__).parent, "-static")
    scene.slice.mkdir(exist_ok=True)
    command = [program, "--parent", str(scene.slice), "--count", str(count), "--lowest", str(lowest)]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL, timeout=60)
    return [scene.slice / f"crowd-{number}.scope" for number in range(count)]


def test_many_that_were_there_die_in_their_order(scene: Scene) -> None:
    """More than are followed at the start, the least important of them equals."""
    crowd = add_crowd(scene, 180, 100)
    daemon = scene.daemon(AT_ONCE + "victim: {cooldown: 10ms, tie_break: [newest]}\n")
    assert "180 workloads adopted" in daemon.log()
    wait_until(lambda: not any(map(is_populated, crowd)), 120, "all to die")
    wait_until(lambda: len(daemon.records()) == len(crowd), 30, "a record of each")
    died = [(record["victim"]["priority"], record["victim"]["cgroup_id"]) for record in daemon.records()]
    assert died == sorted(died, reverse=True)
    assert {record["outcome"] for record in daemon.records()} == {"done"}


def test_many_that_were_there_are_followed_when_there_is_time(scene: Scene) -> None:
    crowd = add_crowd(scene, 180, 100)
    emptied = crowd[150]
    (emptied / "cgroup.kill").write_text("1", encoding="ascii")
    wait_until(lambda: not is_populated(emptied), 30, "the sleeper to end")
    daemon = scene.daemon()
    daemon.wait_for_log("workloads are followed")
    wait_until(lambda: not emptied.exists(), 30, "what was empty to be removed")
    (crowd[170] / "cgroup.kill").write_text("1", encoding="ascii")
    wait_until(lambda: not crowd[170].exists(), 30, "what is left empty to be removed")
    wait_until(lambda: "STATUS=178 workloads, level ok" in daemon.notified(), 30, "the others to be counted")


def test_a_reader_that_never_reads_does_not_stop_the_daemon(scene: Scene) -> None:
    reading, writing = os.pipe()
    policy = scene.directory / "policy.yaml"
    policy.write_text(AT_ONCE, encoding="utf-8")
    os.set_blocking(writing, False)
    with contextlib.suppress(BlockingIOError):
        while True:
            os.write(writing, b"x" * 4096)
    os.set_blocking(writing, True)
    victim = scene.launch("victim", 100, "sleep", "3600")
    command = [sys.executable, "-P", "-m", "cgoom", "daemon", "--policy", str(policy)]
    with subprocess.Popen(command, stderr=writing, env=os.environ | scene.env) as daemon:
        try:
            assert victim.wait(30) == 128 + signal.SIGKILL
        finally:
            daemon.kill()
    os.close(reading)
    os.close(writing)


def test_the_demo_works_here_and_leaves_nothing(tmp_path: Path) -> None:
    done = run_cgoom("demo", "--here", "--budget", "256M", env={"HOME": str(tmp_path)}, timeout=120)
    assert "killed      slow (priority 100)" in done.stdout, done.stderr
    assert "threshold crossed -> kill written" in done.stdout
    assert not (find_cgroup2() / "cgoomdemo.slice").exists()
    assert not list(Path("/run").glob("cgoom-demo-*"))

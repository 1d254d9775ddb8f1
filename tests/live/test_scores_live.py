"""Without the module the next victim is the kernel's first choice, too, whoever starts and ends the daemon."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support import module
from tests.support.cli import environment
from tests.support.scene import Scene
from tests.support.wait import wait_until

pytestmark = [
    pytest.mark.live,
    pytest.mark.skipif(module.is_inserted(), reason="the module is loaded here: unload it to run these tests"),
]


def read_scores(scene: Scene, name: str) -> set[int]:
    """oom_score_adj of every process of a workload."""
    pids = (scene.cgroup(name) / "cgroup.procs").read_text(encoding="ascii").split()
    return {int(Path(f"/proc/{pid}/oom_score_adj").read_text(encoding="ascii")) for pid in pids}


def wait_scores(scene: Scene, name: str, score: int) -> None:
    """Until every process has it."""
    wait_until(
        lambda: read_scores(scene, name) == {score}, 30, f"{name} to have {score}, not {read_scores(scene, name)}"
    )


def test_the_largest_score_is_on_the_next_victim_and_moves_on(scene: Scene) -> None:
    daemon = scene.daemon()
    scene.launch("a", 500, "sh", "-c", "sleep 3600 & exec sleep 3600")
    wait_scores(scene, "a", 1000)
    scene.launch("spared", 1000, "sleep", "3600", protect=True)
    scene.launch("b", 900, "sleep", "3600")
    wait_scores(scene, "b", 1000)
    wait_scores(scene, "a", 500)
    assert read_scores(scene, "spared") == {0}
    assert scene.run("kill", "b").returncode == 0
    wait_scores(scene, "a", 1000)
    assert daemon.terminate() == 0
    assert read_scores(scene, "a") == {500}


def test_a_daemon_that_was_killed_is_followed_by_one_that_knows_what_to_put_back(scene: Scene) -> None:
    daemon = scene.daemon()
    scene.launch("a", 500, "sleep", "3600")
    wait_scores(scene, "a", 1000)
    daemon.kill9()
    scene.launch("b", 900, "sleep", "3600")
    assert read_scores(scene, "a") == {1000}
    daemon.start()
    wait_scores(scene, "b", 1000)
    wait_scores(scene, "a", 500)
    daemon.restart()
    assert daemon.terminate() == 0
    assert read_scores(scene, "b") == {899}


def test_another_priority_is_another_order(scene: Scene) -> None:
    scene.daemon()
    scene.launch("a", 500, "sleep", "3600")
    scene.launch("b", 400, "sleep", "3600")
    wait_scores(scene, "a", 1000)
    assert scene.run("priority", "b", "600").returncode == 0
    wait_scores(scene, "a", 500)
    wait_scores(scene, "b", 1000)


def test_the_same_priority_leaves_the_score_to_the_daemon(scene: Scene) -> None:
    scene.daemon()
    scene.launch("a", 500, "sleep", "3600")
    wait_scores(scene, "a", 1000)
    done = scene.run("priority", "a", "500", "--json")
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["adjusted_process_count"] == 0
    assert read_scores(scene, "a") == {1000}


def test_a_dry_run_changes_no_score(scene: Scene) -> None:
    daemon = scene.daemon(None, "--dry-run")
    scene.launch("a", 500, "sleep", "3600")
    wait_until(lambda: "STATUS=1 workloads, level ok" in daemon.notified(), 30, "it to be seen")
    assert read_scores(scene, "a") == {500}


def test_cmd_has_its_score_from_its_first_instruction_and_the_launcher_keeps_its_own(scene: Scene) -> None:
    # The daemon raises the scores of who is in the cgroup; a launch that writes one there would undo that.
    script = (
        "import os\n"
        "from cgoom.__main__ import main\n"
        "from cgoom.place import direct, systemd\n"
        "def say(who):\n"
        "    with open('/proc/self/oom_score_adj', 'rb') as file: os.write(1, who + file.read())\n"
        "def watched(*args):\n"
        "    say(b'CMD ')\n"
        "    run_child(*args)\n"
        "run_child, put_back_score = direct.run_child, direct.put_back_score\n"
        "def put_back(score):\n"
        "    put_back_score(score)\n"
        "    say(b'launcher ')\n"
        "direct.run_child = systemd.run_child = watched\n"
        "direct.put_back_score = systemd.put_back_score = put_back\n"
        "main()\n"
    )
    before = Path("/proc/self/oom_score_adj").read_text(encoding="ascii")
    command = [sys.executable, "-P", "-c", script, "launch", "--priority=500", "--", "true"]
    ended = subprocess.run(command, env=environment(scene.env), capture_output=True, check=True, text=True)
    assert sorted(ended.stdout.splitlines()) == ["CMD 500", f"launcher {before.strip()}"]
    assert ended.stderr == ""

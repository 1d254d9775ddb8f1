"""`cgoom launch` where systemd owns the tree: a transient scope, its limits as unit properties."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from tests.support.scene import Scene
from tests.support.wait import wait_until

pytestmark = pytest.mark.vm


def show(unit: str, *properties: str) -> dict[str, str]:
    """Properties of a unit, as systemd tells them."""
    done = subprocess.run(
        ["systemctl", "show", unit, *[f"--property={name}" for name in properties]],
        capture_output=True,
        text=True,
        check=True,
    )
    return dict(line.split("=", 1) for line in done.stdout.splitlines())


def test_limits_are_unit_properties(scene: Scene) -> None:
    scene.launch("limited", 300, "sleep", "3600", memory_max="200M", memory_low="10M", cpu_weight="50", pids_max="77")
    told = show("cgoom-limited.scope", "MemoryMax", "MemoryLow", "CPUWeight", "TasksMax", "Delegate", "Slice")
    assert told == {
        "MemoryMax": str(200 << 20),
        "MemoryLow": str(10 << 20),
        "CPUWeight": "50",
        "TasksMax": "77",
        "Delegate": "yes",
        "Slice": "cgoom.slice",
    }
    assert (scene.cgroup("limited") / "memory.oom.group").read_text(encoding="ascii") == "1\n"
    assert os.getxattr(scene.cgroup("limited"), "trusted.cgoom.priority") == b"300"
    assert os.getxattr(scene.cgroup("limited"), "trusted.cgoom.name") == b"limited"


def test_the_command_is_inside_from_its_first_instruction(scene: Scene) -> None:
    launcher = scene.launch("inside", 100, "cat", "/proc/self/cgroup", placed=False)
    assert launcher.wait(60) == 0
    assert scene.stdout("inside") == "0::/cgoom.slice/cgoom-inside.scope\n"


def test_the_importance_is_told_to_the_kernel(scene: Scene) -> None:
    scores = {}
    for name, priority in (("vital", 0), ("middling", 500), ("least", 1000)):
        launcher = scene.launch(name, priority, "cat", "/proc/self/oom_score_adj", placed=False)
        assert launcher.wait(60) == 0, scene.stderr(name)
        scores[name] = int(scene.stdout(name))
    assert scores["vital"] < scores["middling"] < scores["least"] < 1000


@pytest.mark.parametrize(
    ("command", "status"),
    [
        (["true"], 0),
        (["sh", "-c", "exit 7"], 7),
        (["sh", "-c", "kill -TERM $$"], 143),
        (["/nonexistent/command"], 127),
        (["/etc/hostname"], 126),
    ],
)
def test_the_exit_status_passes_through(scene: Scene, command: list[str], status: int) -> None:
    assert scene.launch("status", 100, *command, placed=False).wait(60) == status, scene.stderr("status")
    wait_until(lambda: not scene.cgroup("status").exists(), 30, "the scope to be gone")


def test_a_name_in_use_is_an_error_with_a_hint(scene: Scene) -> None:
    scene.launch("taken", 100, "sleep", "3600")
    done = scene.run("launch", "--name", "taken", "--", "true")
    assert done.returncode == 125
    assert "cgoom: error: " in done.stderr
    assert "hint: " in done.stderr
    assert scene.is_populated("taken")


def test_exec_leaves_no_parent(scene: Scene) -> None:
    launcher = scene.launch("bare", 100, "sleep", "3600", exec=True)
    comm = Path(f"/proc/{launcher.pid}/comm")
    wait_until(lambda: comm.read_text(encoding="ascii") == "sleep\n", 30, "sleep to be the launcher")
    assert "cgoom-bare.scope" in Path(f"/proc/{launcher.pid}/cgroup").read_text(encoding="ascii")
    assert scene.run("kill", "bare").returncode == 0
    assert launcher.wait(30) == -9


def test_priority_changes_while_it_runs(scene: Scene) -> None:
    daemon = scene.daemon()
    scene.launch("first", 1000, "sleep", "3600")  # the daemon puts 1000 on whoever dies next, and on nobody else
    launcher = scene.launch("moving", 100, "sleep", "3600")
    assert scene.run("priority", "moving", "900").returncode == 0
    assert os.getxattr(scene.cgroup("moving"), "trusted.cgoom.priority") == b"900"
    adj = Path(f"/proc/{read_first_pid(scene, 'moving')}/oom_score_adj").read_text(encoding="ascii")
    assert 850 <= int(adj) < 1000
    assert launcher.poll() is None
    assert daemon.records() == []


def read_first_pid(scene: Scene, name: str) -> str:
    """The pid of a workload's first process."""
    return (scene.cgroup(name) / "cgroup.procs").read_text(encoding="ascii").split()[0]

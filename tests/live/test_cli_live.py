"""The face on this host's own cgroup2: workloads made by hand, without launcher and without daemon."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

# Here, and not within the child that may not read the interpreter's files any more.
from cgoom.cli import doctor, look  # noqa: F401
from cgoom.cli.main import main
from cgoom.kernel.cgroup import open_cgroup
from cgoom.kernel.identity import Identity, read_identity, read_verdict, write_identity
from cgoom.model import MatchRule, Policy
from cgoom.policy.codec import encode_policy
from cgoom.record.instance import Instance
from tests.cli.nobody import run_as_nobody
from tests.support.cli import COMMAND
from tests.support.scene import Scene, is_populated

pytestmark = pytest.mark.live


def make_workload(scene: Scene, identity: Identity) -> Path:
    """An empty cgroup with that identity."""
    path = scene.slice / f"{identity.name}.scope"
    path.mkdir(parents=True)
    with open_cgroup(str(path)) as cgroup:
        write_identity(cgroup.fd, identity)
    return path


@pytest.fixture
def sleepers() -> Iterator[list[subprocess.Popen[bytes]]]:
    """Processes that end with the test."""
    started: list[subprocess.Popen[bytes]] = []
    yield started
    for each in started:
        each.kill()
        each.wait()


def start_sleeper(cgroup: Path, sleepers: list[subprocess.Popen[bytes]]) -> subprocess.Popen[bytes]:
    """A process in the cgroup that sleeps until it is killed."""
    sleeper = subprocess.Popen(["sleep", "infinity"])
    sleepers.append(sleeper)
    (cgroup / "cgroup.procs").write_text(str(sleeper.pid), encoding="ascii")
    return sleeper


@pytest.fixture
def crowd(scene: Scene, sleepers: list[subprocess.Popen[bytes]]) -> dict[str, subprocess.Popen[bytes]]:
    """Three workloads, one process each: batch (900), web (100) and db (950, protected)."""
    identities = (Identity("batch", 900), Identity("web", 100), Identity("db", 950, protect=True))
    return {each.name: start_sleeper(make_workload(scene, each), sleepers) for each in identities}


def read_names(scene: Scene) -> list[str]:
    """The names that `cgoom ls` shows, in its order."""
    return [each["name"] for each in json.loads(scene.run("ls", "--json").stdout)["workloads"]]


@pytest.mark.usefixtures("crowd")
def test_ls_shows_the_order_of_death(scene: Scene) -> None:
    document = json.loads(scene.run("ls", "--json").stdout)
    assert [(each["name"], each["place"], each["skip"]) for each in document["workloads"]] == [
        ("batch", 1, ""),
        ("web", 2, ""),
        ("db", None, "protected"),
    ]
    assert all(each["process_count"] == 1 and each["current_bytes"] > 0 for each in document["workloads"])
    assert "dies first" in scene.run("ls").stdout.splitlines()[1]


@pytest.mark.usefixtures("crowd")
def test_explain_tells_the_place(scene: Scene) -> None:
    assert "priority 900 over 100" in scene.run("explain").stdout
    one = json.loads(scene.run("explain", "web", "--json").stdout)
    assert (one["place"], one["before"]) == (2, ["batch"])
    status = json.loads(scene.run("status", "--json").stdout)
    assert (status["workload_count"], status["dies_first"], status["daemon"]) == (3, "batch", "stopped")


def test_priority_changes_the_order_and_the_score(scene: Scene, crowd: dict[str, subprocess.Popen[bytes]]) -> None:
    done = scene.run("priority", "web", "1000")
    assert (done.returncode, done.stdout) == (0, "web: priority 100 -> 1000\n"), done.stderr
    assert read_names(scene) == ["web", "batch", "db"]
    assert Path(f"/proc/{crowd['web'].pid}/oom_score_adj").read_text(encoding="ascii") == "999\n"
    with open_cgroup(str(scene.slice / "web.scope")) as cgroup:
        assert read_identity(cgroup.fd) == Identity("web", 1000)


@pytest.mark.usefixtures("crowd")
def test_a_refused_priority_changes_nothing(scene: Scene) -> None:
    assert scene.run("priority", "web", "1001").returncode == 2
    unknown = scene.run("priority", "wbe", "5")
    assert unknown.returncode == 4
    assert "did you mean web?" in unknown.stderr
    assert read_names(scene) == ["batch", "web", "db"]


def test_b11_kill_without_a_pids_controller_leaves_verdict_and_record(
    scene: Scene, crowd: dict[str, subprocess.Popen[bytes]]
) -> None:
    with open_cgroup(str(scene.slice / "batch.scope")) as held:
        done = scene.run("kill", "batch", "--json")
        assert done.returncode == 0, done.stderr
        answer = json.loads(done.stdout)
        assert answer["outcome"] == "done"
        assert crowd["batch"].wait(10) == -9
        verdict = read_verdict(held.fd)
    assert verdict is not None
    assert answer["history_id"] in verdict.text
    assert not (scene.slice / "batch.scope").exists()
    assert is_populated(scene.slice / "web.scope")
    record = json.loads(scene.run("history", answer["history_id"], "--json").stdout)["records"][0]
    assert (record["kind"], record["by"], record["outcome"]) == ("manual", f"cgoom kill (uid {os.getuid()})", "done")
    assert [step["what"] for step in record["steps"]] == ["kill", "depopulated"]


def test_a_protected_workload_is_killed_only_by_force(scene: Scene, crowd: dict[str, subprocess.Popen[bytes]]) -> None:
    refused = scene.run("kill", "db")
    assert refused.returncode == 8
    assert "--force" in refused.stderr
    assert crowd["db"].poll() is None
    assert scene.run("kill", "--force", "db").returncode == 0
    assert crowd["db"].wait(10) == -9


def test_kill_from_inside_the_workload_is_refused(scene: Scene) -> None:
    done = scene.run("launch", "--name", "shell", "--", *COMMAND, "kill", "shell")
    assert done.returncode == 8, done.stderr
    assert "cgoom runs in it" in done.stderr


def test_two_workloads_of_a_name_are_told_apart(scene: Scene, sleepers: list[subprocess.Popen[bytes]]) -> None:
    for directory in ("one.scope", "two.scope"):
        path = scene.slice / directory
        path.mkdir(parents=True)
        with open_cgroup(str(path)) as cgroup:
            write_identity(cgroup.fd, Identity("twin", 5))
        start_sleeper(path, sleepers)
    ambiguous = scene.run("kill", "twin")
    assert ambiguous.returncode == 5
    assert f"{scene.slice.name}/one.scope" in ambiguous.stderr
    assert all(each.poll() is None for each in sleepers)
    assert scene.run("kill", f"{scene.slice.name}/one.scope").returncode == 0
    assert sleepers[0].wait(10) == -9
    assert sleepers[1].poll() is None


def test_a_priority_that_the_policy_gives_is_changed_there(scene: Scene) -> None:
    matched = scene.slice.with_name(f"climatched{os.getpid()}")
    matched.mkdir()
    instance = Instance(scene.env["CGOOM_RUN_DIR"])
    instance.acquire()
    try:
        policy = Policy(workloads=(MatchRule(matched.name, 700),))
        Path(scene.env["CGOOM_RUN_DIR"], "policy.json").write_text(encode_policy(policy), encoding="ascii")
        only = json.loads(scene.run("ls", "--json").stdout)["workloads"][0]
        assert (only["name"], only["priority"], only["origin"]) == (matched.name, 700, "matched")
        refused = scene.run("priority", matched.name, "5")
        assert refused.returncode == 8
        assert "policy.json" in refused.stderr
    finally:
        instance.release()
        matched.rmdir()


@pytest.mark.parametrize("command", ["ls", "status", "explain", "doctor"])
def test_an_unprivileged_user_gets_an_answer(scene: Scene, monkeypatch: pytest.MonkeyPatch, command: str) -> None:
    make_workload(scene, Identity("batch", 900))
    for name, value in scene.env.items():
        monkeypatch.setenv(name, value)
    status, said = run_as_nobody(lambda: main([command]))
    assert "Traceback" not in said
    assert status in (0, 1), said
    assert "CAP_SYS_ADMIN" in said


def test_who_may_not_see_the_daemon_does_not_say_what_wakes_it(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in scene.env.items():
        monkeypatch.setenv(name, value)
    run_dir = Path(scene.env["CGOOM_RUN_DIR"])
    run_dir.mkdir(exist_ok=True)
    run_dir.chmod(0o700)
    status, said = run_as_nobody(lambda: main(["status", "--json"]))
    document = json.loads(said)
    assert (status, document["source"], document["daemon"]) == (0, "not known", "unknown"), said

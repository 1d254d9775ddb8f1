"""`cgoom launch` on a real cgroup2: what it starts, where, with what, and what it says at the end."""

from __future__ import annotations

import os
import signal
import subprocess
from pathlib import Path

import pytest

from cgoom.kernel.cgroup import open_cgroup
from cgoom.kernel.identity import Identity, read_identity, write_verdict
from tests.support.cli import COMMAND, environment
from tests.support.scene import Scene
from tests.support.wait import wait_until

pytestmark = pytest.mark.live

# Seconds; a slow guest needs 4 s to start Python.
LIMIT = 60.0


def start(scene: Scene, *args: str, **options: object) -> subprocess.Popen[str]:
    """`cgoom launch ARGS` with pipes."""
    return subprocess.Popen(  # type: ignore[call-overload, no-any-return]
        [*COMMAND, "launch", *args],
        env=environment(scene.env),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        **options,
    )


def line_of(launcher: subprocess.Popen[str]) -> str:
    """The next line that CMD prints."""
    assert launcher.stdout is not None
    return launcher.stdout.readline().rstrip("\n")


def expect_gone(scene: Scene, name: str) -> None:
    """The cgroup is removed when the launcher ends; where systemd removes it, soon after."""
    if scene.systemd:
        wait_until(lambda: not scene.cgroup(name).exists(), LIMIT, f"systemd to remove {name}")
    assert not scene.cgroup(name).exists()


@pytest.mark.parametrize(
    ("script", "status"),
    [("exit 0", 0), ("exit 7", 7), ("exit 255", 255), ("kill -TERM $$", 143), ("kill -SEGV $$", 139)],
)
def test_exit_status_is_that_of_the_command(scene: Scene, script: str, status: int) -> None:
    ended = scene.run("launch", "--name=a", "--", "sh", "-c", script)
    assert (ended.returncode, ended.stdout, ended.stderr) == (status, "", "")
    expect_gone(scene, "a")


def test_a_sigkill_by_somebody_else_is_no_verdict(scene: Scene) -> None:
    ended = scene.run("launch", "--name=a", "--", "sh", "-c", "kill -KILL $$")
    assert ended.returncode == 137
    assert "killed by cgoom" not in ended.stderr


@pytest.mark.parametrize("kind", ["missing", "empty", "plain", "no-format", "directory"])
def test_a_command_that_cannot_run(scene: Scene, kind: str) -> None:
    plain, no_format = scene.directory / "plain", scene.directory / "no-format"
    plain.write_text("x", encoding="ascii")
    no_format.write_bytes(b"\0\1\2\3")
    no_format.chmod(0o755)
    command, status = {
        "missing": ("cgoom-no-such-command", 127),
        "empty": ("", 127),
        "plain": (str(plain), 126),
        "no-format": (str(no_format), 126),
        "directory": (str(scene.directory), 126),
    }[kind]
    for options in ([], ["--exec"]):
        ended = scene.run("launch", "--name=a", *options, "--", command)
        assert ended.returncode == status
        assert ended.stderr.startswith(f"cgoom: error: {command}: ")
        assert ended.stderr.count("\n") == 1


def put_twice(scene: Scene, first: bytes, mode: int) -> Path:
    """`cgoom-twice` in two directories of PATH: as told, then one that ends with 5, whose path this is."""
    for name, content, bits in (("first", first, mode), ("second", b"#!/bin/sh\nexit 5\n", 0o755)):
        (scene.directory / name).mkdir()
        command = scene.directory / name / "cgoom-twice"
        command.write_bytes(content)
        command.chmod(bits)
    scene.env["PATH"] = f"/nonexistent:{scene.directory}/first:{scene.directory}/second:{os.environ['PATH']}"
    return command


@pytest.mark.parametrize("options", [[], ["--exec"]], ids=["stays", "exec"])
def test_what_cannot_be_executed_does_not_hide_what_can(scene: Scene, options: list[str]) -> None:
    other = put_twice(scene, b"x", 0o644)
    assert scene.run("launch", "--name=a", *options, "--", "cgoom-twice").returncode == 5
    other.unlink()
    assert scene.run("launch", "--name=a", *options, "--", "cgoom-twice").returncode == 126


def test_what_is_found_and_broken_is_the_one(scene: Scene) -> None:
    put_twice(scene, b"\0\1\2\3", 0o755)
    assert scene.run("launch", "--name=a", "--", "cgoom-twice").returncode == 126


@pytest.mark.parametrize(
    "name", ["a\nb", ".hidden", "a/b", "../a", "a" * 200, "", "\u00fc", "-a", "\udcff", "a b"], ids=ascii
)
def test_bad_names_are_refused(scene: Scene, name: str) -> None:
    ended = scene.run("launch", f"--name={name}", "--", "true")
    assert ended.returncode == 125
    error, hint = ended.stderr.splitlines()
    assert error.startswith("cgoom: error: --name: not a workload name: ")
    assert hint.startswith("hint: ")


@pytest.mark.parametrize(
    "options",
    [
        ["--priority=1001"],
        ["--priority=-1"],
        ["--priority=x"],
        ["--memory-max=0"],
        ["--memory-max=12Q"],
        ["--memory-max=1M", "--memory-low=2M"],
        ["--cpu-weight=0"],
        ["--pids-max=0"],
        ["--grace=5"],
        ["--no-such-option"],
    ],
    ids=" ".join,
)
def test_bad_options_end_before_the_command(scene: Scene, options: list[str]) -> None:
    ended = scene.run("launch", *options, "--", "echo", "ran")
    assert (ended.returncode, ended.stdout) == (125, "")
    assert [line.partition(": ")[0] for line in ended.stderr.splitlines()] == ["cgoom", "hint"]


def test_options_behind_the_command_are_its_own(scene: Scene) -> None:
    assert scene.run("launch", "echo", "--name=x", "--", "-n").stdout == "--name=x -- -n\n"


def test_the_command_is_inside_from_its_first_instruction(scene: Scene) -> None:
    ended = scene.run("launch", "--name=a", "--priority=7", "--grace=2s", "--", "cat", "/proc/self/cgroup")
    assert f"0::/{scene.slice.name}/{scene.cgroup('a').name}" in ended.stdout.splitlines()


def test_identity_is_on_the_cgroup_before_the_command_runs(scene: Scene) -> None:
    launcher = start(scene, "--name=a", "--priority=7", "--protect", "--grace=2s", "--", "sh", "-c", "echo; read x")
    line_of(launcher)
    with open_cgroup(str(scene.cgroup("a"))) as cgroup:
        assert read_identity(cgroup.fd) == Identity("a", 7, True, 2_000_000)
        if "memory" in cgroup.read_controllers():
            assert cgroup.read_control("memory.oom.group") == "1\n"
    launcher.communicate("\n", LIMIT)


def test_a_workload_without_a_name_is_called_after_its_command(scene: Scene) -> None:
    launcher = start(scene, "--", "/bin/sh", "-c", "echo; read x")
    line_of(launcher)
    assert scene.is_populated(f"sh-{launcher.pid}")
    launcher.communicate("\n", LIMIT)


@pytest.mark.parametrize(
    ("options", "score"),
    [
        (["--priority=0"], 0),
        (["--priority=10"], 10),
        (["--priority=500"], 500),
        (["--priority=1000"], 999),
        (["--priority=900", "--protect"], 0),
    ],
    ids=lambda value: str(value),
)
def test_oom_score_adj_rises_with_the_priority(scene: Scene, options: list[str], score: int) -> None:
    ended = scene.run("launch", *options, "--", "cat", "/proc/self/oom_score_adj")
    assert (ended.stdout, ended.stderr) == (f"{score}\n", "")


def test_a_name_in_use_is_refused(scene: Scene) -> None:
    scene.launch("a", 5, "sleep", "60")
    ended = scene.run("launch", "--name=a", "--", "true")
    assert ended.returncode == 125
    assert ended.stderr.splitlines()[0] == "cgoom: error: name in use: a"
    assert "cgoom ls" in ended.stderr.splitlines()[1]
    assert scene.is_populated("a")


def test_of_many_launches_of_one_name_one_runs(scene: Scene) -> None:
    launchers = [start(scene, "--name=a", "--", "cat") for _ in range(4)]
    wait_until(lambda: sum(launcher.poll() == 125 for launcher in launchers) == 3, LIMIT, "three refusals")
    (running,) = [launcher for launcher in launchers if launcher.poll() is None]
    assert running.communicate("alive", LIMIT)[0] == "alive"
    assert running.returncode == 0
    for launcher in launchers:
        launcher.communicate()


def test_a_name_is_free_at_once_when_its_workload_ended(scene: Scene) -> None:
    for _ in range(5):
        ended = scene.run("launch", "--name=a", "--", "true")
        assert (ended.returncode, ended.stderr) == (0, "")


def test_the_leftover_of_a_killed_launch_is_reused(scene: Scene) -> None:
    launcher = scene.launch("a", 5, "sleep", "60")
    launcher.kill()
    launcher.wait()
    assert scene.is_populated("a"), "the workload outlives its launcher"
    with open_cgroup(str(scene.cgroup("a"))) as cgroup:
        cgroup.write_kill()
        wait_until(lambda: not scene.is_populated("a"), LIMIT, "a to be empty")
    ended = scene.run("launch", "--name=a", "--", "echo", "again")
    assert (ended.returncode, ended.stdout, ended.stderr) == (0, "again\n", "")


def test_a_leftover_with_cgroups_below_it_is_reused(scene: Scene) -> None:
    if scene.systemd:
        pytest.skip("systemd removes what a scope leaves")
    (scene.cgroup("a") / "b" / "c").mkdir(parents=True)
    assert scene.run("launch", "--name=a", "--", "true").returncode == 0
    expect_gone(scene, "a")


def test_cgroups_that_the_command_made_are_removed_with_its_own(scene: Scene) -> None:
    script = f"mkdir -p {scene.cgroup('a')}/b/c && echo $$ > {scene.cgroup('a')}/b/c/cgroup.procs"
    assert scene.run("launch", "--name=a", "--", "sh", "-c", script).returncode == 0
    expect_gone(scene, "a")


def test_a_daemonised_child_stays_in_the_cgroup(scene: Scene) -> None:
    script = "setsid sh -c 'sleep 60 & exit 0' <&- >&- 2>&- & wait; exit 3"
    assert scene.run("launch", "--name=a", "--", "sh", "-c", script).returncode == 3
    assert scene.is_populated("a")
    assert scene.run("launch", "--name=a", "--", "true").returncode == 125


def test_the_verdict_is_told(scene: Scene) -> None:
    launcher = scene.launch("a", 5, "sh", "-c", "sleep 60 & sleep 60")
    with open_cgroup(str(scene.cgroup("a"))) as cgroup:
        write_verdict(cgroup.fd, "killed by cgoom: a\x1b[31m test")
        cgroup.write_kill()
        assert launcher.wait(LIMIT) == 137
    assert scene.stderr("a") == "cgoom: a: killed by cgoom: a\\x1b[31m test\n"
    expect_gone(scene, "a")


def test_exec_replaces_the_launcher(scene: Scene) -> None:
    launcher = start(scene, "--name=a", "--priority=9", "--exec", "--", "sh", "-c", "echo $$; read x; exit 4")
    assert line_of(launcher) == str(launcher.pid)
    assert Path(f"/proc/{launcher.pid}/oom_score_adj").read_text(encoding="ascii") == "9\n"
    with open_cgroup(str(scene.cgroup("a"))) as cgroup:
        assert cgroup.read_procs() == [launcher.pid]
        assert read_identity(cgroup.fd) == Identity("a", 9)
    launcher.communicate("\n", LIMIT)
    assert launcher.returncode == 4
    assert scene.run("launch", "--name=a", "--", "true").returncode == 0


INHERITED = """
ls /proc/self/fd; readlink /proc/$$/fd/3 /proc/$$/fd/9; pwd; umask; nice; cat /proc/$$/limits
grep -E '^(Sig(Blk|Ign|Cgt|Pnd)|Cap|NoNewPrivs)' /proc/self/status; cut -d' ' -f6 /proc/$$/stat
"""


@pytest.mark.parametrize("options", [[], ["--exec"]], ids=["stay", "exec"])
def test_the_command_inherits_what_its_caller_has_and_no_more(scene: Scene, options: list[str]) -> None:
    # LANG=C: Python would add LC_CTYPE to the environment. nohup: an ignored signal is handed down too.
    environ = {"PATH": os.environ["PATH"], "LANG": "C", "odd": "a\nb", "empty": "", **scene.env}
    said = []
    for before in ([], [*COMMAND, "launch", *options, "--"]):
        for asked in (["sh", "-c", INHERITED], ["env", "-0"]):
            ended = subprocess.run(
                ["sh", "-c", 'exec 9</dev/zero; exec nice -n 3 nohup "$@"', "sh", *before, *asked],
                env=environ,
                cwd=scene.directory,
                umask=0o27,
                stdin=subprocess.DEVNULL,
                capture_output=True,
                check=True,
                timeout=LIMIT,
                text=True,
            )
            said.append(ended.stdout)
    assert "SigIgn" in said[0]
    assert "/dev/zero" in said[0]
    assert said[2:] == said[:2]


def test_closed_standard_streams_stay_closed(scene: Scene) -> None:
    out = scene.directory / "fds"
    script = f"ls /proc/self/fd > {out}"
    command = " ".join([*COMMAND, "launch", "--", "sh", "-c", f"'{script}'"])
    env = environment(scene.env)
    status = subprocess.run(["sh", "-c", f"exec <&- >&- 2>&-; {command}"], env=env, check=False, timeout=LIMIT)
    assert status.returncode == 0
    assert "2" not in out.read_text(encoding="ascii").split()


LIMITS = {
    "pids": ("--pids-max=50", "pids.max", "50\n"),
    "memory": ("--memory-max=64M", "memory.max", f"{64 << 20}\n"),
    "cpu": ("--cpu-weight=50", "cpu.weight", "50\n"),
}


@pytest.mark.parametrize("controller", LIMITS)
def test_a_limit_is_written_or_refused(scene: Scene, controller: str) -> None:
    option, control, text = LIMITS[controller]
    launcher = start(scene, option, "--name=a", "--", "sh", "-c", "echo; read x")
    line_of(launcher)
    if controller in (scene.slice.parent / "cgroup.controllers").read_text(encoding="ascii").split():
        assert (scene.cgroup("a") / control).read_text(encoding="ascii") == text
        launcher.communicate("\n", LIMIT)
        assert launcher.returncode == 0
        return
    _, stderr = launcher.communicate(None, LIMIT)
    assert launcher.returncode == 125
    assert f"{control} cannot be set" in stderr
    assert option.partition("=")[0] in stderr.splitlines()[1]
    expect_gone(scene, "a")


def test_a_terminated_workload_leaves_no_cgroup(scene: Scene) -> None:
    launcher = scene.launch("a", 5, "sleep", "60")
    launcher.send_signal(signal.SIGTERM)
    assert launcher.wait(LIMIT) == 143
    expect_gone(scene, "a")

"""`cgoom policy check|show`."""

from __future__ import annotations

import os
import subprocess
import threading
from pathlib import Path

import pytest

from cgoom.cli.policy import DEFAULT_FILE, FILE_SIZE_MOST, read_daemon, read_policy_file, read_policy_in_force
from cgoom.errors import PolicyError
from cgoom.model import Layout, MatchRule, Policy
from cgoom.policy.codec import decode_policy, encode_policy
from cgoom.policy.parse import parse_policy
from cgoom.record.instance import Instance
from tests.support.cli import COMMAND, environment, run_cgoom

RULE = Policy(workloads=(MatchRule("a.slice/*", 7),))


def write_policy(path: Path, text: str) -> str:
    """The file with that text."""
    path.write_text(text, encoding="utf-8")
    return str(path)


def test_a_good_file_is_one_line(tmp_path: Path) -> None:
    done = run_cgoom("policy", "check", write_policy(tmp_path / "p.yaml", "version: 1\n"))
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == f"{tmp_path}/p.yaml: a valid policy, 0 workload rules\n"


def test_a_bad_file_names_line_and_column_and_the_remedy(tmp_path: Path) -> None:
    path = write_policy(tmp_path / "p.yaml", "version: 1\nhost:\n  wran: {mem_available: 10%}\n")
    for command in ("check", "show"):
        done = run_cgoom("policy", command, path)
        assert done.returncode == 3
        assert done.stdout == ""
        assert done.stderr.startswith(f"cgoom: error: {path}:3:3: ")
        assert "warn" in done.stderr.splitlines()[1]


def test_show_prints_yaml_that_says_the_same(tmp_path: Path) -> None:
    path = write_policy(
        tmp_path / "p.yaml", 'version: 1\nworkloads:\n  - {match: {cgroup: "a.slice/*"}, priority: 7}\n'
    )
    done = run_cgoom("policy", "show", path)
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith(f"# policy: {path}\n")
    assert parse_policy(done.stdout.encode(), "again") == RULE


def test_show_json_is_the_codec_and_nothing_else(tmp_path: Path) -> None:
    path = write_policy(tmp_path / "p.yaml", "version: 1\n")
    done = run_cgoom("policy", "show", "--json", path)
    assert done.stdout == encode_policy(Policy())
    assert decode_policy(done.stdout) == Policy()


def test_a_hostile_file_name_stays_on_its_line(tmp_path: Path) -> None:
    path = write_policy(tmp_path / "a\nversion: 2", "version: 1\n")
    done = run_cgoom("policy", "show", path)
    assert done.stdout.splitlines()[0].endswith("a\\nversion: 2")
    assert parse_policy(done.stdout.encode(), "again") == Policy()


def test_a_pipe_is_a_file(tmp_path: Path) -> None:
    fifo = tmp_path / "fifo"
    os.mkfifo(fifo)
    writer = threading.Thread(target=write_policy, args=(fifo, "version: 1\n"))
    writer.start()
    try:
        assert read_policy_file(str(fifo)) == Policy()
    finally:
        writer.join(10)
    done = subprocess.run(
        [*COMMAND, "policy", "check", "/dev/stdin"],
        env=environment(),
        input=b"version: 1\n",
        capture_output=True,
        check=False,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("path", ["/dev/zero", "/", "a\0b"])
def test_what_is_no_file_is_refused(path: str) -> None:
    with pytest.raises(PolicyError):
        read_policy_file(path)


def test_a_file_without_end_is_refused(tmp_path: Path) -> None:
    with pytest.raises(PolicyError, match="larger than"):
        read_policy_file(write_policy(tmp_path / "p.yaml", "#" * (FILE_SIZE_MOST + 1)))


def test_without_a_daemon_the_built_in_policy_is_in_force(tmp_path: Path) -> None:
    if os.path.exists(DEFAULT_FILE):
        pytest.skip(f"this host has a {DEFAULT_FILE}: move it away")
    in_force = read_policy_in_force(Layout(run_dir=str(tmp_path)))
    assert (in_force.policy, in_force.source, in_force.daemon_pid) == (Policy(), "built in", None)


def test_a_running_daemon_decides_which_policy_is_in_force(tmp_path: Path) -> None:
    instance = Instance(str(tmp_path / "run"))
    instance.acquire()
    try:
        (tmp_path / "run" / "policy.json").write_text(encode_policy(RULE), encoding="ascii")
        in_force = read_policy_in_force(Layout(run_dir=str(tmp_path / "run")))
        assert (in_force.policy, in_force.daemon_pid) == (RULE, os.getpid())
    finally:
        instance.release()
    assert read_policy_in_force(Layout(run_dir=str(tmp_path / "run"))).daemon_pid is None


def test_a_run_directory_that_is_no_directory_is_told(tmp_path: Path) -> None:
    (tmp_path / "run").write_text("", encoding="ascii")
    pid, refusal = read_daemon(str(tmp_path / "run"))
    assert pid is None
    assert "Not a directory" in refusal

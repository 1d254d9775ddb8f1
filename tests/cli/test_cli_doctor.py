"""Every finding both ways: on a host where all is well, and on one where this thing is amiss."""

from __future__ import annotations

import json
import os
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from cgoom.cli.doctor import document_doctor, render_doctor
from cgoom.cli.facts import Competitor, is_competitor, is_writable, read_facts
from cgoom.cli.findings import Grade, judge
from cgoom.cli.main import main
from cgoom.cli.module_facts import ModuleFacts, explain_module, find_signature_need, is_listed
from cgoom.kernel.cgroup import Mount
from cgoom.model import Layout
from tests.cli.nobody import run_as_nobody
from tests.cli.scenery import GOOD
from tests.support.cli import run_cgoom

SPOILED: list[tuple[str, Grade, dict[str, Any]]] = [
    ("cgroup2", Grade.FAIL, {"mount": None, "mount_error": "no cgroup2 filesystem is mounted"}),
    ("memory-controller", Grade.WARN, {"controllers": frozenset({"pids"})}),
    ("hybrid", Grade.WARN, {"mount": Mount("/sys/fs/cgroup/unified", hybrid=True)}),
    ("cgroup-writable", Grade.FAIL, {"cgroup_writable": False}),
    ("psi", Grade.WARN, {"pressure_error": "Operation not supported"}),
    ("CAP_SYS_ADMIN", Grade.FAIL, {"capabilities": GOOD.capabilities - {"CAP_SYS_ADMIN"}}),
    ("CAP_KILL", Grade.FAIL, {"capabilities": GOOD.capabilities - {"CAP_KILL"}}),
    ("CAP_SYS_RESOURCE", Grade.WARN, {"capabilities": GOOD.capabilities - {"CAP_SYS_RESOURCE"}}),
    ("CAP_IPC_LOCK", Grade.WARN, {"capabilities": GOOD.capabilities - {"CAP_IPC_LOCK"}}),
    ("CAP_NET_ADMIN", Grade.WARN, {"capabilities": GOOD.capabilities - {"CAP_NET_ADMIN"}}),
    ("module", Grade.WARN, {"module": ModuleFacts(loaded=False)}),
    ("module", Grade.WARN, {"module": ModuleFacts(loaded=True, refusal="only version 2 is spoken here")}),
    ("swap", Grade.WARN, {"swap_total_bytes": 0}),
    ("swap", Grade.FAIL, {"swap_total_bytes": None}),
    ("competitors", Grade.FAIL, {"competitors": (Competitor("earlyoom", 77),)}),
    ("panic_on_oom", Grade.WARN, {"panic_on_oom": "1"}),
    ("oom_kill_allocating_task", Grade.WARN, {"oom_kill_allocating_task": "1"}),
    ("state-dir", Grade.FAIL, {"state_dir_writable": False}),
    ("daemon", Grade.WARN, {"daemon_pid": None}),
    ("daemon", Grade.WARN, {"daemon_pid": None, "daemon_refusal": "Permission denied"}),
]


def test_a_good_host_has_nothing_amiss() -> None:
    assert [each for each in judge(GOOD) if each.grade != Grade.OK] == []
    assert {each.topic for each in judge(GOOD)} == {topic for topic, _, _ in SPOILED}


@pytest.mark.parametrize(("topic", "grade", "changes"), SPOILED)
def test_what_is_amiss_is_found_with_its_remedy(topic: str, grade: Grade, changes: dict[str, Any]) -> None:
    amiss = [each for each in judge(replace(GOOD, **changes)) if each.grade != Grade.OK]
    assert [(each.topic, each.grade) for each in amiss] == [(topic, grade)]
    assert amiss[0].what
    assert amiss[0].remedy


def test_every_competitor_is_named_with_its_pid() -> None:
    two = replace(GOOD, competitors=(Competitor("earlyoom", 77), Competitor("systemd-oomd", 78)))
    said = [each.what for each in judge(two) if each.topic == "competitors"]
    assert ["77" in said[0], "78" in said[1]] == [True, True]


@pytest.mark.parametrize(
    ("facts", "said"),
    [
        (ModuleFacts(loaded=False, installed=True, has_headers=True), "`modprobe memory_info`"),
        (ModuleFacts(loaded=False, has_headers=True), "`dkms install ./kmod`"),
        (ModuleFacts(loaded=False, release="6.1.0-9-amd64"), "linux-headers-6.1.0-9-amd64"),
        (ModuleFacts(loaded=False, installed=True, needs_signature="Secure Boot is on"), "mokutil"),
        (ModuleFacts(loaded=False, has_headers=True, needs_signature="Secure Boot is on"), "mokutil"),
    ],
)
def test_the_remedy_is_the_next_step_on_this_host(facts: ModuleFacts, said: str) -> None:
    what, remedy = explain_module(facts)
    assert said in remedy
    assert facts.needs_signature in what


def test_what_makes_the_kernel_want_a_signature() -> None:
    assert find_signature_need(b"none [integrity] confidentiality\n", b"", b"") == "kernel lockdown is integrity"
    assert find_signature_need(b"[none] integrity confidentiality\n", b"Y\n", b"") == "module.sig_enforce is on"
    assert find_signature_need(b"[none] integrity confidentiality\n", b"N\n", b"\6\0\0\0\1") == "Secure Boot is on"
    assert find_signature_need(b"", b"", b"\6\0\0\0\0") == ""


def test_the_module_is_found_where_depmod_lists_it() -> None:
    assert is_listed(b"kernel/fs/ext4/ext4.ko: kernel/lib/crc16.ko\nupdates/dkms/memory_info.ko.xz:\n")
    assert not is_listed(b"kernel/drivers/x.ko: updates/dkms/memory_info.ko\nextra/my_memory_info.ko:\n")
    assert not is_listed(b"")


def test_a_finding_is_one_line() -> None:
    spoiled = replace(GOOD, daemon_pid=None, daemon_refusal="a\nb")
    findings = judge(spoiled)
    assert len(render_doctor(findings).splitlines()) == len(findings)


def test_the_keys_of_doctor_stay() -> None:
    document = document_doctor(judge(replace(GOOD, cgroup_writable=False)))
    assert set(document) == {"findings", "fail_count"}
    assert document["fail_count"] == 1
    findings = document["findings"]
    assert isinstance(findings, list)
    assert set(findings[0]) == {"grade", "topic", "what", "remedy"}


@pytest.mark.parametrize(
    ("comm", "exe", "cmdline", "unit", "expected"),
    [
        ("earlyoom", "/usr/bin/earlyoom", ["/usr/bin/earlyoom"], "earlyoom.service", True),
        ("nohang", "/usr/bin/python3.11", ["python3", "/usr/sbin/nohang", "--monitor"], "nohang.service", True),
        ("systemd-oomd", None, None, "systemd-oomd.service", True),
        # Anybody may call a process like that: the second witness says no.
        ("earlyoom", "/usr/bin/sleep", ["earlyoom"], "session-1.scope", False),
        ("earlyoom", None, None, "session-1.scope", False),
        ("nohang", "/usr/bin/python3.11", ["python3", "/home/me/x.py"], "session-1.scope", False),
        ("sleep", "/usr/bin/earlyoom", [], "", False),
    ],
)
def test_a_name_alone_makes_no_competitor(
    comm: str, exe: str | None, cmdline: list[str] | None, unit: str, expected: bool
) -> None:
    assert is_competitor(comm, exe, cmdline, unit) is expected


def test_a_directory_that_can_be_made_counts_as_writable(tmp_path: Path) -> None:
    assert is_writable(str(tmp_path))
    assert is_writable(str(tmp_path / "a" / "b"))
    assert not is_writable("/proc/sys/nothing/here")


def test_facts_of_this_very_host_are_gathered(tmp_path: Path) -> None:
    facts = read_facts(Layout(run_dir=str(tmp_path / "run"), state_dir=str(tmp_path)))
    assert facts.daemon_pid is None
    assert facts.state_dir_writable
    assert facts.swap_total_bytes is not None
    assert bool(facts.mount) != bool(facts.mount_error)


def test_the_exit_status_follows_the_findings(tmp_path: Path) -> None:
    env = {"CGOOM_RUN_DIR": str(tmp_path / "run"), "CGOOM_STATE_DIR": str(tmp_path)}
    done = run_cgoom("doctor", "--json", env=env)
    assert done.returncode == (1 if json.loads(done.stdout)["fail_count"] else 0), done.stderr
    blocked = run_cgoom("doctor", "--json", env=env | {"CGOOM_STATE_DIR": "/proc/sys/nothing"})
    assert blocked.returncode == 1
    assert "\x1b" not in run_cgoom("doctor", env=env).stdout


def test_a_user_without_rights_gets_findings_and_no_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    if os.geteuid() != 0:
        pytest.skip("run as root: it drops to nobody itself")
    closed = tmp_path / "run"
    closed.mkdir(mode=0o700)
    monkeypatch.setenv("CGOOM_RUN_DIR", str(closed))
    status, said = run_as_nobody(lambda: main(["doctor"]))
    assert status == 1
    assert "Traceback" not in said
    assert "fail  CAP_SYS_ADMIN" in said
    assert "cannot be seen" in said

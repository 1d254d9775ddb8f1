"""The daemon's life: adoption, dry run, reload, a clean end, the ladder, what it costs when nothing happens."""

from __future__ import annotations

import json
import resource
import signal
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import pytest

from cgoom.core.pace import next_sample_usec
from cgoom.kernel.meminfo import MemInfo
from cgoom.model import HostPolicy
from cgoom.observe.host import measure_fill_rate
from tests.support.hogs import hog
from tests.support.process import read_cpu_sec, read_rss_anon_kib, read_switches
from tests.support.scene import Scene
from tests.support.wait import wait_until
from tests.vm.unit import read_log, run_shipped_unit

pytestmark = pytest.mark.vm

IDLE_SEC = 30
SECOND_USEC = 1_000_000


def test_existing_workloads_are_adopted_and_a_clean_end_touches_none(scene: Scene) -> None:
    early = scene.launch("early", 100, "sleep", "3600")
    daemon = scene.daemon()
    assert "1 workloads adopted" in daemon.log()
    late = scene.launch("late", 200, "sleep", "3600")
    wait_until(lambda: "STATUS=2 workloads, level ok" in daemon.notified(), 30, "the late one to be seen")
    assert daemon.terminate() == 0
    assert (early.poll(), late.poll()) == (None, None)


def test_a_dry_run_says_who_would_die_and_touches_nobody(scene: Scene) -> None:
    daemon = scene.daemon("host: {warn: {mem_available: 99%}, kill: {mem_available: 98%}}", "--dry-run")
    launcher = scene.launch("spared", 100, "sleep", "3600")
    daemon.wait_for_log("would have killed spared")
    assert launcher.poll() is None
    records = wait_until(daemon.records, 30, "the record")
    assert [record["outcome"] for record in records] == ["would"]


def test_b22_a_reload_takes_effect_and_a_bad_file_keeps_the_old_one(scene: Scene) -> None:
    daemon = scene.daemon("host: {kill: {mem_available: 4%}}")
    assert read_kill_pct(scene) == 4
    daemon.write_policy("host: {kill: {mem_available: 6%}}")
    daemon.send(signal.SIGHUP)
    daemon.wait_for_log("policy loaded")
    assert read_kill_pct(scene) == 6
    daemon.write_policy("host: {kill: {mem_available: 0x}}")
    daemon.send(signal.SIGHUP)
    daemon.wait_for_log("the policy stays as it is")
    assert read_kill_pct(scene) == 6


def read_kill_pct(scene: Scene) -> int:
    """The kill threshold of the policy in force, as `cgoom status` tells it, in percent."""
    done = scene.run("status", "--json")
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout)
    kill_bytes, total_bytes = told["thresholds"]["kill"]["mem_available_bytes"], told["memory"]["total_bytes"]
    return int(100 * kill_bytes / total_bytes + 0.5)


def test_sigterm_comes_first_and_a_polite_one_ends_by_itself(scene: Scene) -> None:
    daemon = scene.daemon("host: {warn: {mem_available: 70%}, kill: {mem_available: 2%}}")
    polite = scene.launch("polite", 100, *hog(400, hold=True))
    assert polite.wait(60) == 128 + signal.SIGTERM
    record = wait_until(daemon.records, 30, "the record")[0]
    assert [step["what"] for step in record["steps"]] == ["term", "depopulated"]
    assert record["outcome"] == "done"


def test_sigterm_always_ends_in_a_kill(scene: Scene) -> None:
    daemon = scene.daemon("host: {warn: {mem_available: 70%}, kill: {mem_available: 2%}}")
    stubborn = scene.launch("stubborn", 100, *hog(400, hold=True, ignore_term=True), grace="1s")
    assert stubborn.wait(60) == 137
    record = wait_until(daemon.records, 30, "the record")[0]
    steps = {step["what"]: step["at_usec"] for step in record["steps"]}
    assert steps["kill"] - steps["term"] >= SECOND_USEC // 2
    assert list(steps)[:2] == ["term", "kill"]
    assert scene.oom_kills() == 0


def test_a_frozen_victim_dies_too(scene: Scene) -> None:
    daemon = scene.daemon("ladder: {warn: []}\nhost: {warn: {mem_available: 70%}, kill: {mem_available: 60%}}")
    launcher = scene.launch("frozen", 100, *hog(32, hold=True))
    (scene.cgroup("frozen") / "cgroup.freeze").write_text("1", encoding="ascii")
    events = scene.cgroup("frozen") / "cgroup.events"
    wait_until(lambda: "frozen 1" in events.read_text(encoding="ascii"), 30, "it to be frozen")
    scene.launch("filler", 0, *hog(450, hold=True), protect=True)
    assert launcher.wait(60) == 137
    assert wait_until(daemon.records, 30, "the record")[0]["victim"]["name"] == "frozen"


def test_two_daemons_are_one_too_many(scene: Scene) -> None:
    scene.daemon()
    done = scene.run("daemon")
    assert done.returncode == 5
    assert "another cgoom daemon is running" in done.stderr


def test_an_idle_daemon_costs_next_to_nothing(scene: Scene, measured: Callable[[Mapping[str, object]], None]) -> None:
    daemon = scene.daemon()
    for number in range(5):
        scene.launch(f"idle{number}", 100 * number, "sleep", "3600")
    wait_until(lambda: "STATUS=5 workloads, level ok" in daemon.notified(), 30, "five workloads")
    begun, woken, spent = time.monotonic(), read_switches(daemon.pid), read_cpu_sec(daemon.pid)
    wait_until(lambda: time.monotonic() - begun >= IDLE_SEC, IDLE_SEC + 5, "the idle time")
    took, woken, spent = time.monotonic() - begun, read_switches(daemon.pid) - woken, read_cpu_sec(daemon.pid) - spent
    asked = measure_question(scene)
    measured(
        {
            "wake_ups_per_sec": round(woken / took, 2),
            "cpu_pct": round(100 * spent / took, 2),
            "minute_to_status": round(60 * spent / took / asked, 2),
            "rss_anon_kib": read_rss_anon_kib(daemon.pid),
        }
    )
    # The daemon may have measured twice the rate: it measures for a moment, on a host that it does not have alone.
    period_usec = next_sample_usec(HostPolicy(), MemInfo().read(), 2 * measure_fill_rate())
    assert woken <= took * SECOND_USEC / period_usec + 1
    # Beside other work of this very host: how fast an emulator is says nothing about the daemon.
    assert 60 * spent / took < asked, "a minute of idling costs more than one `cgoom status`"


def measure_question(scene: Scene) -> float:
    """Seconds of CPU that one `cgoom status` takes."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    assert scene.run("status").returncode == 0
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


@pytest.fixture
def service() -> Iterator[str]:
    """The shipped unit, installed, running and removed again."""
    with run_shipped_unit() as unit:
        yield unit


def test_the_shipped_unit_survives_a_real_kill(service: str, scene: Scene) -> None:
    scene.env.clear()  # the unit's own directories
    victim = scene.launch("victim", 100, *hog(1 << 20, rate_mib=60, ignore_term=True))
    assert victim.wait(180) == 137
    assert "killed by cgoom" in scene.stderr("victim")
    pid = subprocess.run(
        ["systemctl", "show", service, "--property=MainPID", "--value"], capture_output=True, text=True, check=True
    ).stdout.strip()
    assert Path(f"/proc/{pid}/oom_score_adj").read_text(encoding="ascii") == "-1000\n"
    # The launcher hears of its end at once; the line comes when the victim is gone, and through journald.
    wait_until(lambda: "killed victim (priority 100)" in read_log(service), 60, "the line in the journal")
    log = read_log(service)
    assert "not locked" not in log
    assert "Traceback" not in log

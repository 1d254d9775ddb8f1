"""The daemon and the real module: who wakes whom, who kills when the daemon cannot, and what is told of it."""

from __future__ import annotations

import json
import os
import signal
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest

from cgoom.kernel.memory_info import Answer, LevelEvent, Module
from tests.support import module
from tests.support.daemon import Daemon
from tests.support.hogs import hog
from tests.support.process import read_switches
from tests.support.scene import Scene
from tests.support.wait import wait_until
from tests.vm.gate import Gate, read_own_kib
from tests.vm.unit import read_log, run_shipped_unit

pytestmark = pytest.mark.vm

IDLE_SEC, WARNED_SEC = 20.0, 5.0
# What its service manager wants to hear of it in, as systemd tells it; several times as short as the idle time.
WATCHED_USEC = 4_000_000
# A guest that nothing runs in is warned, and so many MiB from its kill threshold: at the rates that a guest is filled
# at, a daemon that looks itself does so 20 times a second and more often.
WARNED = """
host: {{warn: {{mem_available: 97%}}, recover: {{mem_available: 98%}}, kill: {{mem_available: {kill}}}}}
ladder: {{warn: []}}
"""
WARNED_MIB = 60
# Wake-ups a second; chosen: it has four turns, and gives way within one. Measured: 4 to 8, and 145, 25 MiB from the
# threshold, if it looks itself.
WARNED_MOST = 15
# Seconds; a guest that is full and has nobody who acts thrashes for a while before its kernel runs out of memory.
OOM_LIMIT = 240.0
HOLD_MIB = 300


def read_stats() -> Answer:
    """What the module says now."""
    opened = Module()
    try:
        return opened.read_stats()
    finally:
        opened.close()


def cgroup_id(scene: Scene, name: str) -> int:
    """The cgroup id of a workload."""
    return os.stat(scene.cgroup(name)).st_ino


def wake_rate(daemon: Daemon, seconds: float) -> float:
    """Wake-ups per second, over so many seconds."""
    begun, before = time.monotonic(), read_switches(daemon.pid)
    wait_until(lambda: time.monotonic() - begun >= seconds, seconds + 5, "a while")
    return (read_switches(daemon.pid) - before) / (time.monotonic() - begun)


def wait_quiet(daemon: Daemon) -> None:
    """Until what it was busy with at its start is over: a second without a wake-up."""
    wait_until(lambda: wake_rate(daemon, 1) == 0, 60, "the daemon to be quiet")


def read_scores(scene: Scene, name: str) -> set[int]:
    """oom_score_adj of every process of a workload."""
    pids = (scene.cgroup(name) / "cgroup.procs").read_text(encoding="ascii").split()
    return {int(Path(f"/proc/{pid}/oom_score_adj").read_text(encoding="ascii")) for pid in pids}


@pytest.mark.usefixtures("module")
def test_what_it_saw_is_read_at_once_as_at_length() -> None:
    """As this kernel and this module write it; the daemon kills by it."""
    opened, other = Module(), Module()
    try:
        before = opened.read_stats()
        other.write_thresholds(before.host, before.fill_kib_per_sec << 10)
        looks = [opened.read_look() for _ in range(2)]
        told = [event for event in opened.drain() if isinstance(event, LevelEvent)]
        assert opened.read_look() is None
    finally:
        opened.close()
        other.close()
    assert looks == [(told[0].stats.memory, told[0].stats.time_ns // 1000)] * 2


def status_of(scene: Scene) -> dict[str, Any]:
    """`cgoom status --json`."""
    done = scene.run("status", "--json")
    assert done.returncode == 0, done.stderr
    told: dict[str, Any] = json.loads(done.stdout)
    return told


def armed_kills(daemon: Daemon) -> list[dict[str, Any]]:
    """The records of what the module did."""
    return [record for record in daemon.records() if record["kind"] == "armed-kill"]


def fill(scene: Scene) -> None:
    """The less important one grows, the other one holds a third of the machine: both together do not fit."""
    gate = Gate(scene)
    scene.launch("batch", 100, *gate.behind(hog(1 << 20, rate_mib=60, ignore_term=True)))
    scene.launch("serve", 10, *gate.behind(hog(HOLD_MIB, rate_mib=60, ignore_term=True, hold=True)))
    gate.open()


def wait_armed(scene: Scene, count: int) -> None:
    """Until the module has an order of that many."""
    wait_until(lambda: read_stats().armed == count, 30, f"{count} to be armed, not {read_stats().armed}")


@pytest.mark.usefixtures("module")
def test_an_idle_daemon_is_never_woken(scene: Scene, measured: Callable[[Mapping[str, object]], None]) -> None:
    scene.env["WATCHDOG_USEC"] = str(WATCHED_USEC)
    daemon = scene.daemon()
    for number in range(3):
        scene.launch(f"idle{number}", 100 * number, "sleep", "3600")
    wait_armed(scene, 3)
    wait_quiet(daemon)
    asleep = read_stats()
    begun, before = time.monotonic(), read_switches(daemon.pid)
    wait_until(lambda: time.monotonic() - begun >= IDLE_SEC, IDLE_SEC + 5, "the idle time")
    woken = read_switches(daemon.pid) - before
    awake, minutes = read_stats(), (time.monotonic() - begun) / 60
    measured(
        {
            "idle_sec": IDLE_SEC,
            "wake_ups": woken,
            "looks_per_minute": round((awake.looks - asleep.looks) / minutes),
            "look_usec_per_minute": round((awake.look_ns - asleep.look_ns) / minutes / 1000),
        }
    )
    assert woken == 0
    assert status_of(scene)["source"] == "the kernel module memory_info"


@pytest.mark.usefixtures("module")
def test_a_warned_daemon_waits_for_the_modules_word(
    scene: Scene, measured: Callable[[Mapping[str, object]], None]
) -> None:
    daemon = scene.daemon(WARNED.format(kill="10%"))
    gate = Gate(scene)
    scene.launch("idle", 100, "sleep", "3600")
    scene.launch("batch", 900, *gate.behind(hog(1 << 20, rate_mib=60, ignore_term=True)))
    wait_armed(scene, 2)
    wait_until(lambda: "STATUS=2 workloads, level warn" in daemon.notified(), 30, "the warning")
    daemon.write_policy(WARNED.format(kill=f"{read_own_kib('MemAvailable') // 1024 - WARNED_MIB}M"))
    daemon.send(signal.SIGHUP)
    daemon.wait_for_log("policy loaded")
    wait_until(lambda: wake_rate(daemon, 1) < WARNED_MOST, 30, "the daemon to have taken the new policy")
    rate = wake_rate(daemon, WARNED_SEC)
    measured({"warned_sec": WARNED_SEC, "wake_ups_per_second": round(rate, 1)})
    assert rate < WARNED_MOST
    gate.open()
    wait_until(lambda: daemon.records(), 60, "the hog to be killed")
    assert [record["victim"]["name"] for record in daemon.records()] == ["batch"]
    assert scene.is_populated("idle")


@pytest.mark.long
@pytest.mark.usefixtures("module")
def test_the_thresholds_are_those_of_the_policy(scene: Scene) -> None:
    daemon = scene.daemon("host: {warn: {mem_available: 20%}, kill: {mem_available: 100M, swap_free: 7%}}")
    host = read_stats().host
    assert (str(host.warn.mem_available), str(host.kill.swap_free)) == ("20%", "7%")
    assert host.kill.mem_available.value == 100 << 20
    daemon.write_policy("host: {warn: {mem_available: 30%}, recover: {mem_available: 33.5%}}")
    daemon.send(signal.SIGHUP)
    daemon.wait_for_log("policy loaded")
    wait_until(lambda: str(read_stats().host.warn.mem_available) == "30%", 30, "the new threshold")
    assert str(read_stats().host.recover.mem_available) == "33.5%"


@pytest.mark.usefixtures("module")
def test_the_module_comes_and_goes_under_the_daemon(scene: Scene) -> None:
    daemon = scene.daemon("host: {warn: {mem_available: 12%}}")
    scene.launch("first", 900, "sleep", "3600")
    scene.launch("second", 100, "sleep", "3600")
    wait_armed(scene, 2)
    assert read_scores(scene, "first") == {899}
    module.remove()
    daemon.wait_for_log("memory_info is gone")
    # Without it the kernel's own first choice is prepared, and memory is sampled.
    wait_until(lambda: read_scores(scene, "first") == {1000}, 30, "the score of the next victim")
    assert status_of(scene)["source"] == "/proc/meminfo, sampled"
    module.insert()
    daemon.wait_for_log("memory_info is there")
    wait_armed(scene, 2)
    wait_until(lambda: read_scores(scene, "first") == {899}, 30, "the score to be put back")
    assert str(read_stats().host.warn.mem_available) == "12%"
    wait_quiet(daemon)
    # And it kills as before.
    victim = scene.launch("victim", 1000, *hog(1 << 20, rate_mib=60, ignore_term=True))
    assert victim.wait(OOM_LIMIT) == 137
    record = wait_until(daemon.records, 30, "the record")[-1]
    assert (record["kind"], record["victim"]["name"]) == ("shortage", "victim")


@pytest.mark.usefixtures("module")
def test_the_order_follows_the_tree_and_ends_with_the_daemon(scene: Scene) -> None:
    daemon = scene.daemon()
    scene.launch("a", 100, "sleep", "3600")
    scene.launch("b", 200, "sleep", "3600")
    spared = scene.launch("spared", 900, "sleep", "3600", protect=True)
    wait_armed(scene, 2)
    assert scene.run("priority", "a", "300").returncode == 0
    order = Path(scene.env["CGOOM_RUN_DIR"]) / "standby.json"

    def names() -> list[str]:
        return [each["name"] for each in json.loads(order.read_text(encoding="ascii"))["order"]]

    wait_until(lambda: names() == ["a", "b"], 30, "the new order")
    assert scene.run("kill", "a").returncode == 0
    wait_armed(scene, 1)
    assert names() == ["b"]
    assert daemon.terminate() == 0
    assert read_stats().armed == 0
    assert spared.poll() is None


@pytest.mark.long
@pytest.mark.usefixtures("module")
def test_a_dry_run_leaves_the_module_alone(scene: Scene) -> None:
    before = read_stats().host
    daemon = scene.daemon("host: {warn: {mem_available: 20%}}", "--dry-run")
    scene.launch("a", 100, "sleep", "3600")
    wait_until(lambda: "STATUS=1 workloads, level ok" in daemon.notified(), 30, "it to be seen")
    assert (read_stats().armed, read_stats().host) == (0, before)


@pytest.mark.usefixtures("module")
def test_a_stopped_daemon_changes_nothing_but_the_killer(scene: Scene) -> None:
    daemon = scene.daemon("version: 1")
    fill(scene)
    wait_armed(scene, 2)
    victim_id = cgroup_id(scene, "batch")
    daemon.send(signal.SIGSTOP)
    try:
        wait_until(lambda: not scene.is_populated("batch") or not scene.is_populated("serve"), OOM_LIMIT, "an end")
        assert scene.is_populated("serve")
        assert [kill.cgroup_id for kill in read_stats().kills] == [victim_id]
    finally:
        daemon.send(signal.SIGCONT)
    require_one_record(daemon)
    assert scene.is_populated("serve")
    assert "killed by memory_info" in scene.stderr("batch")


@pytest.mark.usefixtures("module")
def test_a_dead_daemon_is_told_of_by_the_next_one(scene: Scene) -> None:
    daemon = scene.daemon("version: 1")
    fill(scene)
    wait_armed(scene, 2)
    daemon.kill9()
    wait_until(lambda: not scene.is_populated("batch") or not scene.is_populated("serve"), OOM_LIMIT, "an end")
    assert scene.is_populated("serve")
    daemon.start()
    require_one_record(daemon)
    daemon.restart()
    daemon.restart()
    assert len(armed_kills(daemon)) == 1


def require_one_record(daemon: Daemon) -> None:
    """Exactly one, which says who and by whom; nothing else is said of that death."""
    (record,) = wait_until(lambda: armed_kills(daemon), 30, "the record of the armed kill")
    assert (record["victim"]["name"], record["by"], record["outcome"]) == ("batch", "memory_info", "done")
    assert [each["name"] for each in record["considered"]] == ["batch", "serve"]
    daemon.send(signal.SIGHUP)  # whatever it still has to say comes before the end of a reload
    daemon.wait_for_log("policy loaded")
    assert [each["kind"] for each in daemon.records()] == ["armed-kill"]


@pytest.mark.usefixtures("module")
def test_the_shipped_unit_may_talk_to_the_module(scene: Scene) -> None:
    scene.env.clear()  # the unit's own directories
    with run_shipped_unit() as unit:
        scene.launch("armed", 100, "sleep", "3600")
        wait_armed(scene, 1)
        assert status_of(scene)["source"] == "the kernel module memory_info"
        module.remove()
        wait_until(lambda: read_scores(scene, "armed") == {1000}, 30, "the score in place of the module")
        module.insert()
        wait_armed(scene, 1)
        wait_until(lambda: read_scores(scene, "armed") == {100}, 30, "the score to be put back")
        log = read_log(unit)
    assert "does not take" not in log
    assert "CAP_SYS_RESOURCE" not in log

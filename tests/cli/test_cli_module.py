"""`cgoom module`: what it shows of an answer, and that it says so when there is no module."""

from __future__ import annotations

import os
from typing import Any

import pytest

from cgoom.cli.module import render_event, render_stats
from tests.support.cli import run_cgoom

STATS: dict[str, Any] = {
    "total_kib": 1 << 20,
    "available_kib": 1 << 18,
    "free_kib": 1 << 17,
    "swap_total_kib": 0,
    "swap_free_kib": 0,
    "page_size": 4096,
    "level": 1,
    "seq": 7,
    "time_ns": 12_345_678_901,
}
THRESHOLD = {"mem_ppm": 125_000, "swap_kib": 2048}
ANSWER = STATS | {
    **dict.fromkeys(("warn", "kill", "recover"), THRESHOLD),
    "fill_kib_per_sec": 1 << 20,
    "armed": 3,
    "ooms": 2,
    "looks": 100,
    "look_ns": 5_000_000,
    "kills": [{"cgroup_id": 55, "processes": 4, "seq": 6, "time_ns": 1_000_000_000}],
}


def test_the_answer_in_words() -> None:
    lines = [line.split(maxsplit=1) for line in render_stats(ANSWER).splitlines()]
    assert ["memory", "256M of 1.0G (25.0%) available, 128M free"] in lines
    assert ["swap", "none"] in lines
    assert ["level", "warn"] in lines
    assert ["kill", "at      MemAvailable 12.5%, SwapFree 2.0M"] in lines
    assert ["armed", "3 cgroups"] in [line for line in lines if "cgroups" in line[1]]
    assert any("cgroup 55, 4 processes" in line[1] for line in lines)


@pytest.mark.parametrize(
    ("name", "more", "said"),
    [
        ("level", {"previous_level": 0}, "level ok -> warn"),
        ("level", {"previous_level": 9}, "level 9 -> warn"),
        ("oom", {"ooms": 4}, "the kernel was about to kill, 4 times so far"),
        ("armed-kill", {"cgroup_id": 55, "processes": 4}, "armed kill of cgroup 55, 4 processes"),
        ("event-9", {}, "event-9"),
    ],
)
def test_an_event_is_one_line(name: str, more: dict[str, int], said: str) -> None:
    line = render_event(name, STATS | more)
    assert line == f"12.345679 #7 {said}: 256M of 1.0G (25.0%) available"


@pytest.mark.parametrize("command", ["stats", "watch"])
def test_without_the_module_there_is_an_error_with_a_hint(command: str) -> None:
    if os.path.exists("/proc/oom_notifier"):
        pytest.skip("the module is loaded here: unload it to run this test")
    done = run_cgoom("module", command)
    assert done.returncode == 7
    assert done.stderr.splitlines()[0] == "cgoom: error: the kernel module memory_info is not loaded"
    assert done.stderr.splitlines()[1].startswith("hint: ")
    assert len(done.stderr.splitlines()) == 2

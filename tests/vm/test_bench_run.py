"""One run of the benchmark: what it says of a contestant is what happened."""

from __future__ import annotations

import pytest

from bench.contestants import CGOOM_BEST, EARLYOOM_BEST
from bench.host import run
from bench.race import run_once
from bench.scenario import SCENARIOS
from bench.stage import UNITS, prepare_guest
from bench.trace import INSTANCE, Trace
from tests.support.cli import run_cgoom
from tests.support.scene import find_cgroup2

pytestmark = pytest.mark.vm


@pytest.mark.long
def test_a_run_tells_who_killed_whom_and_leaves_nothing(request: pytest.FixtureRequest) -> None:
    prepare_guest()
    request.addfinalizer(mask_daemons)
    with Trace() as trace:
        shown = {each.name: run_once(trace, each, SCENARIOS["original"]) for each in (CGOOM_BEST, EARLYOOM_BEST)}
    for seen in shown.values():
        assert seen["died"]
        assert seen["first"] == "low"
        assert seen["alive"] == ["high"]
        assert seen["probe_turns"] > 0
        assert seen["available_at_kill_kib"] is not None
    assert shown["cgoom-best"]["by"] == "daemon"
    assert shown["cgoom-best"]["oom_kills"] == 0
    assert not list(find_cgroup2().glob("bench.slice/*.scope"))
    assert not INSTANCE.exists()
    assert "bench" not in run_cgoom("ls").stdout


def mask_daemons() -> None:
    """As the guest's image has it."""
    run("systemctl", "mask", "--quiet", "--now", *UNITS)

"""Many of the same priority: the policy's tie-break decides, and takes no time when there is none."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import pytest

from tests.support.hogs import hog
from tests.support.scene import Scene
from tests.support.wait import wait_until
from tests.vm.gate import Gate

pytestmark = pytest.mark.vm

# Workloads of one priority; chosen: their sizes take several slices to read.
EQUALS = 20
STEP_MIB = 1
KILL_ONLY = "version: 1\nladder: {warn: [], kill: [kill]}\n"


@pytest.mark.parametrize("policy", [None, KILL_ONLY], ids=["asked first", "killed at once"])
def test_b12_the_largest_of_many_equals_dies_first(
    scene: Scene, policy: str | None, measured: Callable[[Mapping[str, object]], None]
) -> None:
    daemon = scene.daemon(policy)
    gate = Gate(scene)
    for number in range(EQUALS):
        size_mib = 4 + STEP_MIB * (number * 7 % EQUALS)  # not in the order of their launch
        command = hog(size_mib, burst_mib=size_mib, ignore_term=True, hold=True)
        scene.launch(f"e{size_mib}", 700, *command)
    scene.launch("filler", 10, *gate.behind(hog(1 << 20, rate_mib=80, ignore_term=True)))
    largest = f"e{4 + STEP_MIB * (EQUALS - 1)}"
    gate.open()
    wait_until(lambda: daemon.records(), 120, "somebody to die")
    wait_until(lambda: not scene.is_populated(largest), 60, f"{largest} to be gone")
    record = daemon.records()[0]
    kill = next(step for step in record["steps"] if step["what"] == "kill")
    measured({"victim": record["victim"]["name"], "choice": record["choice"], "kill_at_usec": kill["at_usec"]})
    assert record["victim"]["name"] == largest
    assert record["choice"].startswith("same priority 700, larger")
    assert record["considered"][0]["name"] == largest
    assert scene.oom_kills() == 0

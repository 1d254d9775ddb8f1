"""The rounds of a boot."""

from __future__ import annotations

import json
from contextlib import nullcontext
from pathlib import Path

import pytest

import bench.guest as guest_module
from bench.contestant import Contestant
from bench.guest import Plan, race
from bench.scenario import SCENARIOS

NAMES = ["cgoom-best", "kernel"]


@pytest.mark.parametrize("is_broken", [False, True])
def test_the_first_run_is_left_out_whatever_comes_of_it(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, is_broken: bool
) -> None:
    ran: list[str] = []

    def run(_: object, contestant: Contestant, __: object) -> dict[str, object]:
        ran.append(contestant.name)
        assert len(ran) > is_broken
        return {"first": "low", "by": "daemon", "kill_ms": len(ran), "probe_worst_usec": 1}

    monkeypatch.setattr(guest_module, "Trace", nullcontext)
    monkeypatch.setattr(guest_module, "zram", nullcontext)
    monkeypatch.setattr(guest_module, "refuse", lambda _: None)
    monkeypatch.setattr(guest_module, "run_once", run)
    out = tmp_path / "out.jsonl"
    plan = Plan(out=str(out), contestants=NAMES, scenarios=["fast"], costs=[], runs=2, seconds=1.0)
    assert not race(plan, SCENARIOS["fast"])
    assert ran == [*NAMES[:1], *NAMES, *NAMES]
    assert [json.loads(line)["kill_ms"] for line in out.read_text("ascii").splitlines()] == [2, 3, 4, 5]

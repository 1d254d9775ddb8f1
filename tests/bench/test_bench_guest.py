"""The rounds of a boot."""

from __future__ import annotations

import json
from contextlib import nullcontext
from itertools import pairwise
from pathlib import Path

import pytest

import bench.guest as guest_module
from bench.contestant import Contestant
from bench.guest import Plan, race
from bench.scenario import SCENARIOS

NAMES = ["cgoom-best", "kernel"]
MANY = [*NAMES, "earlyoom-best", "nohang-best"]


def take_down(monkeypatch: pytest.MonkeyPatch, ran: list[str], *, is_broken: bool = False) -> None:
    """Let nobody run, and note who would have."""

    def run(_: object, contestant: Contestant, __: object) -> dict[str, object]:
        ran.append(contestant.name)
        assert len(ran) > is_broken
        return {"first": "low", "by": "daemon", "kill_ms": len(ran), "probe_worst_usec": 1}

    monkeypatch.setattr(guest_module, "Trace", nullcontext)
    monkeypatch.setattr(guest_module, "zram", nullcontext)
    monkeypatch.setattr(guest_module, "refuse", lambda _: None)
    monkeypatch.setattr(guest_module, "run_once", run)


@pytest.mark.parametrize("is_broken", [False, True])
def test_the_first_run_of_each_is_left_out_whatever_comes_of_it(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, is_broken: bool
) -> None:
    ran: list[str] = []
    take_down(monkeypatch, ran, is_broken=is_broken)
    out = tmp_path / "out.jsonl"
    plan = Plan(out=str(out), contestants=NAMES, scenarios=["fast"], costs=[], runs=2, seconds=1.0)
    assert not race(plan, SCENARIOS["fast"])
    assert ran[: len(NAMES)] == NAMES
    assert sorted(ran[len(NAMES) :]) == sorted([*NAMES, *NAMES])
    assert [json.loads(line)["kill_ms"] for line in out.read_text("ascii").splitlines()] == [3, 4, 5, 6]


def test_nobody_always_runs_behind_the_same_one(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    boots = []
    for boot in range(2):
        ran: list[str] = []
        take_down(monkeypatch, ran)
        plan = Plan(out=str(tmp_path / str(boot)), contestants=MANY, scenarios=["fast"], costs=[], runs=10, seconds=1.0)
        assert not race(plan, SCENARIOS["fast"])
        boots.append(ran[len(MANY) :])
    rounds = [boots[0][at : at + len(MANY)] for at in range(0, len(boots[0]), len(MANY))]
    assert all(sorted(each) == sorted(MANY) for each in rounds)
    for name in MANY:
        before = [one for one, other in pairwise(boots[0]) if other == name]
        assert max(map(before.count, MANY)) <= len(before) * 0.7  # of one order for all it is nine of ten
    assert boots[0] == boots[1]  # another boot can be compared with

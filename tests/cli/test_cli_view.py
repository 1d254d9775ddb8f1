"""What ls, status and explain say about one look at the host."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest

from cgoom.cli.look import require_one
from cgoom.cli.view import (
    InForce,
    document_explain,
    document_explain_one,
    document_ls,
    document_status,
    render_explain,
    render_explain_one,
    render_ls,
    render_status,
)
from cgoom.errors import ConflictError, UnknownWorkloadError
from cgoom.model import CgroupRef, HostMemory, Ladder, Origin, Policy, Workload
from tests.cli.scenery import GIB, PLENTY, make_candidate, make_view
from tests.record.examples import USUAL

BATCH = make_candidate("batch", 100)
WEB = make_candidate("web", 10)
DB = make_candidate("db", 900, skip="protected")
SHORT = HostMemory(16 * GIB, GIB // 2, 0, 0)
STOPPED = InForce(Policy(), "built in", None)


def test_ls_begins_with_who_dies_first() -> None:
    header, *rows = render_ls(make_view(WEB, DB, BATCH)).splitlines()
    assert header.split()[:5] == ["\x1b[1mNAME", "PRIORITY", "CURRENT", "FREEABLE", "PROCS"]
    assert [row.removeprefix("\x1b[1m").removeprefix("\x1b[2m").split()[0] for row in rows] == ["batch", "web", "db"]
    assert "dies first" in rows[0]
    assert "protected" in rows[2]
    assert "dies first" not in rows[1] + rows[2]


def test_nobody_dies_first_when_nobody_can_be_chosen() -> None:
    view = make_view(DB)
    assert "dies first" not in render_ls(view)
    assert "none of which can be chosen" in render_status(view)
    assert document_status(view)["dies_first"] is None


def test_a_workload_without_usage_has_dashes() -> None:
    assert render_ls(make_view(make_candidate("batch", 1, None))).splitlines()[1].split()[2:4] == ["-", "-"]


def test_the_keys_of_ls_stay() -> None:
    document = document_ls(make_view(WEB, BATCH, DB))
    assert set(document) == {"workloads", "notes"}
    workloads = document["workloads"]
    assert isinstance(workloads, list)
    assert set(workloads[0]) == {
        "name",
        "cgroup",
        "cgroup_id",
        "priority",
        "protect",
        "origin",
        "grace_usec",
        "current_bytes",
        "freeable_bytes",
        "process_count",
        "place",
        "skip",
        "why",
    }
    assert [each["place"] for each in workloads] == [1, 2, None]


def test_status_tells_what_wakes_the_daemon_and_who_is_armed() -> None:
    view = make_view(BATCH)
    assert "/proc/meminfo, sampled" in render_status(view)
    assert "without the kernel module nobody" in render_status(view)
    assert document_status(view)["armed_count"] is None
    watched = replace(view, source="module", armed=1)
    assert "the kernel module memory_info" in render_status(watched)
    assert "armed        1 workload\n" in render_status(watched)
    assert document_status(watched)["armed_count"] == 1
    assert "not known" in render_status(replace(view, source="unknown"))


def test_the_keys_of_status_stay() -> None:
    document = document_status(make_view(BATCH, last=USUAL))
    assert set(document) == {
        "memory",
        "pressure",
        "level",
        "thresholds",
        "source",
        "armed_count",
        "daemon",
        "daemon_pid",
        "policy_source",
        "hybrid",
        "workload_count",
        "dies_first",
        "last_decision",
        "notes",
    }
    assert json.loads(json.dumps(document))["thresholds"]["kill"] == {
        "mem_available_bytes": 16 * GIB * 5 // 100,
        "swap_free_bytes": 2 * GIB * 5 // 100,
    }
    assert document["dies_first"] == "batch"


def test_status_tells_the_level_of_this_moment() -> None:
    assert document_status(make_view(BATCH))["level"] == "ok"
    assert document_status(make_view(BATCH, memory=SHORT))["level"] == "kill"
    assert "kill" in render_status(make_view(BATCH, memory=SHORT)).split("level", 1)[1].splitlines()[0]


def test_status_speaks_of_swap_only_where_there_is_some() -> None:
    assert "SwapFree <= 5%" in render_status(make_view(memory=PLENTY))
    text = render_status(make_view(memory=SHORT))
    assert "SwapFree" not in text
    assert "none" in text.splitlines()[1]


def test_status_tells_a_stopped_daemon_from_one_that_cannot_be_seen() -> None:
    hidden = replace(STOPPED, refusal="/run/cgoom: Permission denied")
    assert document_status(make_view(in_force=STOPPED))["daemon"] == "stopped"
    assert "start it with" in render_status(make_view(in_force=STOPPED))
    assert document_status(make_view(in_force=hidden))["daemon"] == "unknown"
    assert "Permission denied" in render_status(make_view(in_force=hidden))
    assert document_status(make_view())["daemon"] == "running"


def test_status_without_psi() -> None:
    assert document_status(make_view(pressure=None))["pressure"] is None
    assert "not available" in render_status(make_view(pressure=None))


def test_status_ends_with_the_last_decision_and_the_notes() -> None:
    text = render_status(make_view(last=USUAL, notes=("a note\n",)))
    assert f"cgoom history {USUAL.record_id}" in text
    assert text.endswith("a note\\n")


def test_explain_tells_order_and_reason() -> None:
    text = render_explain(make_view(WEB, BATCH, DB))
    assert "priority 100 over 10" in text.splitlines()[1]
    assert "MemAvailable <= 5%" in text
    document = document_explain(make_view(WEB, BATCH, DB))
    assert set(document) == {"level", "conditions", "order", "notes"}


def test_explain_one_tells_who_is_before_it() -> None:
    view = make_view(WEB, BATCH, DB)
    text = render_explain_one(view, 1)
    assert "2 of 2" in text
    assert "batch" in text.split("before it", 1)[1].splitlines()[0]
    document = document_explain_one(view, 1)
    assert document["before"] == ["batch"]
    assert document["place"] == 2


def test_explain_one_of_a_protected_one_tells_that_it_is_never_chosen() -> None:
    assert "never chosen while this holds: protected" in render_explain_one(make_view(DB), 0)


def test_explain_counts_the_own_grace_of_the_workload() -> None:
    own = replace(BATCH, workload=replace(BATCH.workload, grace_usec=3_000_000))
    assert "3.00s later" in render_explain_one(make_view(own), 0)
    assert "10.00s later" in render_explain_one(make_view(BATCH), 0)


def test_explain_of_an_empty_ladder_says_that_nothing_is_done() -> None:
    policy = Policy(ladder=Ladder(warn=()))
    text = render_explain(make_view(BATCH, in_force=InForce(policy, "x", 1)))
    assert "nothing is done" in text.split("at warn", 1)[1].splitlines()[0]


def make_workload(name: str, path: str) -> Workload:
    """A launched workload."""
    return Workload(CgroupRef(path, 1), name, 1, False, Origin.LAUNCHED)


def test_a_name_or_a_cgroup_path_finds_its_workload() -> None:
    everyone = [make_workload("a", "s/a.scope"), make_workload("b", "s/b.scope")]
    assert require_one(everyone, "b") == 1
    assert require_one(everyone, "s/a.scope") == 0


def test_an_unknown_name_is_answered_with_the_nearest() -> None:
    with pytest.raises(UnknownWorkloadError) as caught:
        require_one([make_workload("batch", "s/batch.scope")], "bacth")
    assert caught.value.hint == "did you mean batch?"


def test_two_of_a_name_are_told_apart_by_their_paths() -> None:
    with pytest.raises(ConflictError) as caught:
        require_one([make_workload("a", "s/a.scope"), make_workload("a", "s/x-a.scope")], "a")
    assert "s/a.scope s/x-a.scope" in caught.value.hint

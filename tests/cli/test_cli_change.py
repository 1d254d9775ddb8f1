"""Whom `cgoom kill` refuses, and how it waits."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

import pytest

from cgoom.cli.change import require_killable, wait_depopulated
from cgoom.errors import RefusedError
from cgoom.kernel.cgroup import open_cgroup
from tests.cli.scenery import make_candidate

BATCH = make_candidate("batch", 100).workload
PATH = BATCH.ref.path


def test_an_ordinary_workload_may_be_killed() -> None:
    require_killable(BATCH, False, "", "")
    require_killable(BATCH, False, "system.slice/cgoom.service", "user.slice/user-0.slice")
    require_killable(BATCH, False, PATH + "x", "")


def test_a_protected_one_only_by_force() -> None:
    protected = replace(BATCH, protect=True)
    with pytest.raises(RefusedError) as caught:
        require_killable(protected, False, "", "")
    assert "--force" in caught.value.hint
    require_killable(protected, True, "", "")


@pytest.mark.parametrize("inside", [PATH, PATH + "/below/it"])
@pytest.mark.parametrize("force", [False, True])
def test_never_where_cgoom_itself_would_die(inside: str, force: bool) -> None:
    with pytest.raises(RefusedError):
        require_killable(BATCH, force, inside, "")
    with pytest.raises(RefusedError):
        require_killable(replace(BATCH, protect=force), force, "", inside)


def test_an_empty_cgroup_is_not_waited_for(tmp_path: Path) -> None:
    (tmp_path / "cgroup.events").write_text("populated 0\nfrozen 0\n", encoding="ascii")
    with open_cgroup(str(tmp_path)) as cgroup:
        events_fd = cgroup.open_control("cgroup.events", os.O_RDONLY)
        try:
            assert wait_depopulated(cgroup, events_fd, 0)
        finally:
            os.close(events_fd)


def test_the_time_to_wait_is_bounded(tmp_path: Path) -> None:
    (tmp_path / "cgroup.events").write_text("populated 1\nfrozen 0\n", encoding="ascii")
    with open_cgroup(str(tmp_path)) as cgroup:
        events_fd = cgroup.open_control("cgroup.events", os.O_RDONLY)
        try:
            assert not wait_depopulated(cgroup, events_fd, 1000)
        finally:
            os.close(events_fd)

"""oom_score_adj of real processes, listed in a directory that stands for their cgroup."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from cgoom.kernel.capability import read_effective
from cgoom.kernel.cgroup import open_cgroup
from cgoom.kernel.proc import read_oom_score_adj, read_stat, write_oom_score_adj
from cgoom.kernel.score import OwnScore, Scores, put_back_scores, raise_scores, read_scores


class Group:
    """Four sleeping processes and the directory that lists them."""

    def __init__(self, directory: Path) -> None:
        self.path = directory
        self._children = [subprocess.Popen(["sleep", "600"]) for _ in range(4)]
        self.pids = [child.pid for child in self._children]
        self.list_pids(self.pids)

    def list_pids(self, pids: list[int]) -> None:
        """What `cgroup.procs` says."""
        (self.path / "cgroup.procs").write_text("".join(f"{pid}\n" for pid in pids), encoding="ascii")

    def scores(self) -> list[int]:
        """oom_score_adj of each."""
        return [read_oom_score_adj(pid) for pid in self.pids]

    def close(self) -> None:
        """End them."""
        for child in self._children:
            child.kill()
            child.wait()


@pytest.fixture
def group(tmp_path: Path) -> Iterator[Group]:
    """Scores 100, 100, 300 and 1000."""
    made = Group(tmp_path)
    for pid, score in zip(made.pids, (100, 100, 300, 1000), strict=True):
        write_oom_score_adj(pid, score)
    yield made
    made.close()


def test_everybody_is_raised_and_gets_back_what_was_its_own(group: Group) -> None:
    with open_cgroup(str(group.path)) as cgroup:
        scores = read_scores(cgroup)
        assert scores.common == 100
        assert [(each.pid, each.score) for each in scores.others] == [(group.pids[2], 300), (group.pids[3], 1000)]
        raise_scores(cgroup)
        assert group.scores() == [1000] * 4
        raise_scores(cgroup)
        assert put_back_scores(cgroup, scores) == 0
        assert group.scores() == [100, 100, 300, 1000]
        assert put_back_scores(cgroup, scores) == 0


def test_a_child_that_inherited_it_gets_what_most_have(group: Group) -> None:
    with open_cgroup(str(group.path)) as cgroup:
        group.list_pids(group.pids[:2])
        scores = read_scores(cgroup)
        group.list_pids(group.pids)
        raise_scores(cgroup)
        put_back_scores(cgroup, scores)
        assert group.scores() == [100] * 4


def test_a_pid_that_is_another_process_now_is_not_mistaken(group: Group) -> None:
    with open_cgroup(str(group.path)) as cgroup:
        raise_scores(cgroup)
        old = OwnScore(group.pids[0], read_stat(group.pids[0]).starttime - 1, 777)
        put_back_scores(cgroup, Scores(5, (old,)))
        assert group.scores() == [5] * 4


def test_who_changed_its_score_meanwhile_keeps_it(group: Group) -> None:
    with open_cgroup(str(group.path)) as cgroup:
        scores = read_scores(cgroup)
        raise_scores(cgroup)
        write_oom_score_adj(group.pids[1], 444)
        put_back_scores(cgroup, scores)
        assert group.scores() == [100, 444, 300, 1000]


def test_who_is_never_to_be_killed_stays_so(group: Group) -> None:
    if "CAP_SYS_RESOURCE" not in read_effective():
        pytest.skip("to lower a score below zero takes CAP_SYS_RESOURCE: run as root, outside of a container")
    write_oom_score_adj(group.pids[0], -1000)
    with open_cgroup(str(group.path)) as cgroup:
        scores = read_scores(cgroup)
        raise_scores(cgroup)
        assert group.scores() == [-1000, 1000, 1000, 1000]
        put_back_scores(cgroup, scores)
        assert group.scores() == [-1000, 100, 300, 1000]


def test_who_comes_later_or_writes_its_own_is_raised_again_and_gets_that_back(group: Group) -> None:
    with open_cgroup(str(group.path)) as cgroup:
        group.list_pids(group.pids[1:3])
        scores = read_scores(cgroup)
        raise_scores(cgroup)
        assert read_scores(cgroup, scores) == scores
        write_oom_score_adj(group.pids[2], 600)
        write_oom_score_adj(group.pids[0], 700)
        group.list_pids(group.pids)
        scores = read_scores(cgroup, scores)
        raise_scores(cgroup)
        assert group.scores() == [1000] * 4
        put_back_scores(cgroup, scores)
        assert group.scores() == [700, 100, 600, 100]  # what the last one had was ours, for all that is known


def test_a_launch_that_writes_its_score_after_us_gets_it_back_with_its_children(group: Group) -> None:
    with open_cgroup(str(group.path)) as cgroup:
        group.list_pids(group.pids[:1])
        scores = read_scores(cgroup)
        raise_scores(cgroup)
        write_oom_score_adj(group.pids[0], 899)
        scores = read_scores(cgroup, scores)
        assert scores == Scores(899)
        raise_scores(cgroup)
        group.list_pids([group.pids[0], group.pids[3]])
        put_back_scores(cgroup, read_scores(cgroup, scores))
        assert [group.scores()[0], group.scores()[3]] == [899, 899]
        group.list_pids([])
        assert read_scores(cgroup, scores) == scores


def test_nobody_at_all_and_one_that_is_gone(group: Group) -> None:
    with open_cgroup(str(group.path)) as cgroup:
        gone = subprocess.run([sys.executable, "-c", "import os; print(os.getpid())"], capture_output=True, check=True)
        group.list_pids([int(gone.stdout)])
        assert read_scores(cgroup) == Scores(0)
        raise_scores(cgroup)
        assert put_back_scores(cgroup, Scores(0)) == 0

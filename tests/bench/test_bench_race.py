"""One run's waiting, as far as it needs no guest."""

from __future__ import annotations

import os
import subprocess
import time
from pathlib import Path
from types import SimpleNamespace
from typing import cast

import pytest

import bench.race as race_module
from bench.stage import Placed, Turn, has_begun
from tests.support.wait import wait_until


@pytest.mark.parametrize("dies", [False, True])
def test_a_run_ends_after_the_first_death_or_in_vain(monkeypatch: pytest.MonkeyPatch, dies: bool) -> None:
    slept: list[float] = []
    monkeypatch.setattr(time, "sleep", slept.append)
    with subprocess.Popen(["sleep", "60"]) as lives, subprocess.Popen(["sleep", "0" if dies else "60"]) as other:
        placed = [Placed(name, Path(name), process) for name, process in (("high", lives), ("low", other))]
        turn = cast("Turn", SimpleNamespace(placed=placed))
        if dies:  # before anybody looks
            os.waitid(os.P_PID, other.pid, os.WEXITED | os.WNOWAIT)
        assert race_module._wait_for_death(turn, 5.0 if dies else 0.01) is dies
        lives.kill()
        other.kill()
    assert set(slept) == {race_module.AFTER_SEC if dies else race_module.LOOK_SEC}


def test_who_is_still_a_shell_at_the_gate_has_not_begun(tmp_path: Path) -> None:
    program = tmp_path / "bench-important"
    program.symlink_to("/bin/sleep")
    waiting = ["sh", "-c", f"read line; exec {program} 60"]
    with subprocess.Popen(waiting, stdin=subprocess.PIPE) as process:
        assert process.stdin is not None
        (tmp_path / "cgroup.procs").write_text(f"{process.pid}\n", encoding="ascii")
        placed = Placed("important", tmp_path, process)
        assert not has_begun(placed)
        process.stdin.write(b"go\n")
        process.stdin.flush()
        wait_until(lambda: has_begun(placed), 10.0, "the program to run")
        process.kill()
    assert has_begun(placed), "and is over"

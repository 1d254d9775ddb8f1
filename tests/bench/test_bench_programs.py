"""The benchmark's own C programs, as far as they need no guest."""

from __future__ import annotations

import json
import signal
import subprocess
import time
from itertools import pairwise
from operator import itemgetter
from pathlib import Path

import pytest

from bench import race
from tests.support.hogs import build_program

HERE = Path(race.__file__).parent


def test_the_probe_sees_that_it_was_kept_from_its_work(tmp_path: Path) -> None:
    out = tmp_path / "probe.json"
    with subprocess.Popen([build_program("probe", HERE), "--out", str(out)], stdout=subprocess.PIPE) as probe:
        assert probe.stdout is not None
        assert probe.stdout.readline() == b"probing\n"
        time.sleep(0.1)  # some turns
        stopped_usec = time.clock_gettime_ns(time.CLOCK_MONOTONIC) // 1000
        probe.send_signal(signal.SIGSTOP)
        time.sleep(0.3)  # the stall
        probe.send_signal(signal.SIGCONT)
        time.sleep(0.05)
        probe.terminate()
        assert probe.wait(10) == 0
    turns = json.loads(out.read_text(encoding="ascii"))
    assert len(turns) >= 3
    dues = [due_usec for due_usec, _ in turns]
    assert all(later - earlier >= 10_000 for earlier, later in pairwise(dues))
    worst_at_usec, worst_usec = max(turns, key=itemgetter(1))
    assert 250_000 <= worst_usec < 5_000_000
    assert -100_000 < worst_at_usec - stopped_usec < 1_000_000


@pytest.mark.parametrize(
    ("program", "options"),
    [("probe", []), ("probe", ["--out", "x", "more"]), ("crowd", ["--count", "3"]), ("crowd", ["--count", "x"])],
)
def test_what_cannot_be_read_is_refused(program: str, options: list[str]) -> None:
    done = subprocess.run([build_program(program, HERE), *options], capture_output=True, check=False, timeout=10)
    assert done.returncode == 2

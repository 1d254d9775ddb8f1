"""Real-time and ordinary scheduling of a process, as the kernel tells it."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from tests.support.cli import environment

pytestmark = pytest.mark.live

SCRIPT = """
import os, subprocess
from cgoom.kernel import sched
from cgoom.kernel.sched import Importance

def tell():
    print(os.sched_getscheduler(0) & ~os.SCHED_RESET_ON_FORK, os.sched_getparam(0).sched_priority, os.getpriority(0, 0))

importance = Importance()
importance.lower()
importance.restore()
tell()
importance.raise_()
tell()
importance.lower()
importance.lower()
tell()
importance.lower(is_patient=False)
tell()
child = subprocess.run(["nice"], capture_output=True, text=True).stdout.strip()
sched.FEW_EACH = 1_000_000
importance.raise_()
importance.stand_back()
tell()
importance.restore()
tell()
print(child)
"""


def test_it_is_real_time_but_for_the_time_between() -> None:
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT], capture_output=True, text=True, check=False, env=environment(), timeout=30
    )
    if "Operation not permitted" in done.stderr:
        pytest.skip("no real-time scheduling here")
    assert done.stderr == ""
    real_time, patient, eager = f"{os.SCHED_FIFO} 1 -20", f"{os.SCHED_BATCH} 0 -20", f"{os.SCHED_OTHER} 0 -20"
    any_other, common = f"{os.SCHED_OTHER} 0 0", f"{os.SCHED_BATCH} 0 0"
    assert done.stdout.splitlines() == [any_other, real_time, patient, eager, common, real_time, "0"]

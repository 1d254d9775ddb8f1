"""The module comes and goes at any moment, while hogs allocate and listeners read."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Mapping

import pytest

from tests.support.family import Family
from tests.support.hogs import build_program
from tests.support.module import LEVEL, insert, remove
from tests.vm.cells import Cells, available_mib

pytestmark = pytest.mark.vm

# Again and again: takes all but a little of the memory, and gives it back. $1 hog, $2 MiB.
TIDE = 'while true; do "$1" --limit "$2"; done'
# Reads the level as often as it can, and hears of its end.
READER = """
import sys
while True:
    try:
        with open(sys.argv[1]) as file:
            assert file.read() in ("0\\n", "1\\n", "2\\n")
    except (FileNotFoundError, OSError):
        pass
"""


def test_it_comes_and_goes_under_load(
    request: pytest.FixtureRequest, module: None, cells: Cells, measured: Callable[[Mapping[str, object]], None]
) -> None:
    loads = request.config.getoption("--loads")
    tide = ["sh", "-c", TIDE, "sh", build_program("hog"), str(available_mib() * 98 // 100)]
    cells.add("tide", tide, 900)
    listeners = []
    for number in range(loads):
        remove()
        # A socket outlives the family that it listens to; a request finds nobody.
        insert()
        with Family() as family:
            family.arm([number + 2])
            assert family.stats()["ARMED"] == 1
            assert family.stats()["LEVEL"] in (0, 1, 2)
        listeners.append(Family(listen=True))
        if len(listeners) > 4:
            listeners.pop(0).__exit__()
    for listener in listeners:
        listener.__exit__()
    measured({"loads": loads})


def test_a_reader_only_delays_it(module: None) -> None:
    with subprocess.Popen([sys.executable, "-c", READER, str(LEVEL)]) as reader:
        try:
            removed = 0
            for _ in range(20):
                try:
                    remove()
                except AssertionError as error:
                    # The file is open: seen by rmmod, or by the kernel. No other error is right.
                    assert any(word in str(error) for word in ("in use", "temporarily unavailable"))  # noqa: PT017
                    continue
                removed += 1
                insert()
            assert removed > 0
            assert reader.poll() is None
        finally:
            reader.kill()

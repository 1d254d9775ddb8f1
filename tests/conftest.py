"""Fixtures of all tests, and what a run prints at its end."""

from __future__ import annotations

import functools
from collections.abc import Callable, Generator, Iterator, Mapping
from typing import Any

import pytest
from hypothesis import settings

from tests.support.measured import record_measurement, render_measurements
from tests.support.scene import Scene

# No example is too slow on a machine that does something else too; what is slow is the stage's limit to find.
settings.register_profile("cgoom", settings.default, deadline=None)
settings.load_profile("cgoom")

FAILED = pytest.StashKey[bool]()


def pytest_addoption(parser: pytest.Parser) -> None:
    """How often a scenario that is measured is run: few times in a test, many for the acceptance table."""
    parser.addoption("--runs", type=int, default=3, metavar="N", help="runs of each measured scenario")
    parser.addoption("--ladders", type=int, default=1, metavar="N", help="ladders of eleven with a stopped daemon")
    parser.addoption("--loads", type=int, default=10, metavar="N", help="times that the module is removed and inserted")


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, Any, None]:
    """Remember on the test that it failed: a fixture learns it no other way."""
    outcome = yield
    report: pytest.TestReport = outcome.get_result()
    item.stash[FAILED] = item.stash.get(FAILED, False) or report.failed


@pytest.fixture
def scene(request: pytest.FixtureRequest) -> Iterator[Scene]:
    """An empty stage; what happened on it is printed when the test fails."""
    with Scene() as stage:
        yield stage
        if request.node.stash.get(FAILED, False):
            print(stage.report())


@pytest.fixture
def measured(request: pytest.FixtureRequest) -> Callable[[Mapping[str, object]], None]:
    """Call it with the numbers that the test measured."""
    return functools.partial(record_measurement, request.node)


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Print the measured numbers of all tests, one line each."""
    reports = [report for reports in terminalreporter.stats.values() for report in reports]
    lines = render_measurements(report for report in reports if isinstance(report, pytest.TestReport))
    if lines:
        terminalreporter.section("measured")
        for line in lines:
            terminalreporter.write_line(line)

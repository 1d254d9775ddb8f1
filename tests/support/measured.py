"""Numbers that a test measured: kept with its result, printed at the end of the run, stored in the JUnit file."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping

import pytest

PROPERTY = "measured"


def record_measurement(node: pytest.Item, measurement: Mapping[str, object]) -> None:
    """Keep one set of numbers with the test's result; the fixture `measured` does it for the test that asks."""
    node.user_properties.append((PROPERTY, json.dumps(dict(measurement))))


def render_measurements(reports: Iterable[pytest.TestReport]) -> list[str]:
    """One line `test: {json}` for each set of numbers."""
    return [
        f"{report.nodeid}: {value}"
        for report in reports
        if report.when == "call"
        for name, value in report.user_properties
        if name == PROPERTY
    ]

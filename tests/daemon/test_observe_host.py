"""How fast memory can be filled, measured while others are in the way."""

from __future__ import annotations

import os
import time

import pytest

from cgoom.observe import host

MIB = 1 << 20


@pytest.mark.parametrize(("took_ms", "rate_mib"), [(1, 8000), (8, 1000), (4000, 512)])
def test_a_probe_that_was_held_up_does_not_make_the_host_slow(
    monkeypatch: pytest.MonkeyPatch, took_ms: int, rate_mib: int
) -> None:
    """`took_ms` of processor time for 8 MiB, on one processor; the clock on the wall says more."""
    moments = iter(range(100))
    monkeypatch.setattr(os, "cpu_count", lambda: 1)
    monkeypatch.setattr(time, "thread_time_ns", lambda: next(moments) * took_ms * 1_000_000)
    assert host.measure_fill_rate() == rate_mib * MIB

"""The line that the owner of a victim reads."""

from __future__ import annotations

from dataclasses import replace

from hypothesis import given, settings
from hypothesis import strategies as st

from cgoom.model import Record, Why
from cgoom.record.verdict import VERDICT_LIMIT_BYTES, render_verdict
from tests.record.examples import USUAL, records


def test_verdict_says_why_and_where_to_read_on() -> None:
    assert render_verdict(USUAL) == (
        "killed by cgoom: the host was short of memory (MemAvailable 4.8% (762M) <= 5%), "
        "'batch' priority 100 was first of 3 (priority 100 over 10); history 1a20aba5cc2"
    )


def test_verdict_of_the_kernels_own_kill() -> None:
    record = replace(USUAL, kind="kernel-oom", why=Why("'batch' reached its own memory.max", ""))
    assert render_verdict(record) == "killed by the kernel: 'batch' reached its own memory.max; history 1a20aba5cc2"


def test_verdict_keeps_the_id_when_it_cuts_the_reasons() -> None:
    verdict = render_verdict(replace(USUAL, why=Why("x" * 5000, "y")))
    assert len(verdict) == VERDICT_LIMIT_BYTES
    assert verdict.endswith("xxx...; history 1a20aba5cc2")


def test_verdict_of_a_person() -> None:
    record = replace(USUAL, kind="manual", by="uid 1000", why=Why("", "uid 1000 asked for it"))
    assert render_verdict(record) == "killed by cgoom: uid 1000 asked for it; history 1a20aba5cc2"


@settings(deadline=None)
@given(records, st.sampled_from(["shortage", "manual", "kernel-oom", "?"]))
def test_verdict_is_one_line_of_ascii(record: Record, kind: str) -> None:
    verdict = render_verdict(replace(record, kind=kind, why=Why(record.why.shortage * 40, record.why.choice)))
    assert verdict.isascii()
    assert verdict.isprintable()
    assert len(verdict) <= VERDICT_LIMIT_BYTES

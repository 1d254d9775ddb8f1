"""`cgoom history`: past decisions."""

from __future__ import annotations

import json
import os

import click

from cgoom.cli.errors import write_note, write_out
from cgoom.cli.render import (
    Row,
    render_json,
    render_pairs,
    render_size_or_dash,
    render_table,
    render_when,
)
from cgoom.errors import InputError
from cgoom.model import Record, parse_layout
from cgoom.record.codec import encode_record
from cgoom.record.history import History
from cgoom.units import render_size, render_time

# Decisions that are shown unless --limit says otherwise; chosen: one screen.
LIMIT_DEFAULT = 20


@click.command()
@click.argument("record_id", metavar="[ID]", required=False)
@click.option("--limit", type=click.IntRange(1), default=LIMIT_DEFAULT, show_default=True, help="How many, the newest.")
@click.option("--json", "as_json", is_flag=True, help="One JSON document.")
def history(record_id: str | None, limit: int, as_json: bool) -> None:
    """Past decisions, the newest last; with ID everything that is known about one."""
    past = History(parse_layout(os.environ).state_dir)
    records, broken_lines = past.read_records(None if record_id else limit, record_id)
    if broken_lines:
        write_note(f"cgoom: note: {broken_lines} line{'s' * (broken_lines != 1)} of the history cannot be read")
    if record_id and not records:
        raise InputError(f"no decision has the id {record_id}", "`cgoom history` lists them")
    if as_json:
        write_out(render_json(document_history(records, broken_lines)))
    elif record_id:
        write_out("\n\n".join(map(render_record, records)))
    elif records:
        write_out(render_history(records))
    else:
        write_note("cgoom: note: no decision yet; `cgoom explain` tells who would be first")


def document_history(records: list[Record], broken_lines: int) -> dict[str, object]:
    """The JSON of `cgoom history`; a record is as it is in the history file."""
    return {"records": [json.loads(encode_record(record)) for record in records], "broken_lines": broken_lines}


def render_history(records: list[Record]) -> str:
    """One line per decision."""
    header = ("ID", "TIME", "KIND", "VICTIM", "PRIORITY", "USAGE", "OUTCOME", "TOOK", "WHY")
    rows = (
        Row(
            (
                record.record_id,
                render_when(record.time_usec),
                record.kind,
                record.victim.name,
                str(record.victim.priority),
                render_size_or_dash(record.usage_bytes),
                record.outcome.value,
                render_time(record.steps[-1].at_usec) if record.steps else "-",
                record.why.shortage or record.why.choice,
            )
        )
        for record in records
    )
    return render_table(header, rows, frozenset({"PRIORITY", "USAGE", "TOOK"}))


def render_record(record: Record) -> str:
    """Everything about one decision: what was seen, who was considered, what was done and when."""
    victim, memory, has_swap = record.victim, record.memory, record.memory.swap_total_bytes > 0
    pairs = [
        ("id", record.record_id),
        ("time", render_when(record.time_usec)),
        ("kind", f"{record.kind}, by {record.by}"),
        ("victim", f"{victim.name} (priority {victim.priority}, {render_size_or_dash(record.usage_bytes)})"),
        ("cgroup", f"{victim.ref.path} (id {victim.ref.cgroup_id})"),
        ("level", record.level.name.lower()),
        ("memory", f"{render_size(memory.available_bytes)} of {render_size(memory.total_bytes)} available"),
        ("swap", f"{render_size(memory.swap_free_bytes)} of {render_size(memory.swap_total_bytes)} free" * has_swap),
        ("shortage", record.why.shortage),
        ("choice", record.why.choice),
        ("outcome", record.outcome.value),
        ("after", f"{render_size_or_dash(record.available_after_bytes)} available"),
        ("note", record.note),
    ]
    parts = [render_pairs((name, text) for name, text in pairs if text)]
    if record.steps:
        steps = (Row((f"+{render_time(s.at_usec)}", s.what, s.outcome.value, s.note)) for s in record.steps)
        parts.append(render_table(("AT", "STEP", "OUTCOME", "NOTE"), steps, frozenset({"AT"})))
    if record.considered:
        order = (
            Row((each.name, str(each.priority), render_size_or_dash(each.usage_bytes), each.why))
            for each in record.considered
        )
        parts.append(render_table(("CONSIDERED", "PRIORITY", "USAGE", "WHY"), order, frozenset({"PRIORITY", "USAGE"})))
        left_out = record.candidates - len(record.considered)
        if left_out > 0:
            parts.append(f"and {left_out} more")
    return "\n\n".join(parts)

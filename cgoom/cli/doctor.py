"""`cgoom doctor`: what this host can and cannot do."""

from __future__ import annotations

import os

import click

from cgoom.cli.errors import write_out
from cgoom.cli.facts import read_facts
from cgoom.cli.findings import Finding, Grade, judge
from cgoom.cli.render import Row, Style, render_json, render_table
from cgoom.model import parse_layout

_STYLES = {Grade.OK: Style.DIM, Grade.WARN: Style.PLAIN, Grade.FAIL: Style.BOLD}


@click.command()
@click.option("--json", "as_json", is_flag=True, help="One JSON document.")
@click.pass_context
def doctor(context: click.Context, as_json: bool) -> None:
    """What this host can and cannot do: one finding a line, with its remedy.

    The exit status is 1 when a finding is `fail`, and 0 otherwise.
    """
    findings = judge(read_facts(parse_layout(os.environ)))
    write_out(render_json(document_doctor(findings)) if as_json else render_doctor(findings))
    if any(finding.grade == Grade.FAIL for finding in findings):
        context.exit(1)


def render_doctor(findings: tuple[Finding, ...]) -> str:
    """One line per finding."""
    rows = (
        Row(
            (each.grade.value, each.topic, f"{each.what} -> {each.remedy}" if each.remedy else each.what),
            _STYLES[each.grade],
        )
        for each in findings
    )
    return render_table(("", "", ""), rows)


def document_doctor(findings: tuple[Finding, ...]) -> dict[str, object]:
    """The JSON of `cgoom doctor`."""
    return {
        "findings": [
            {"grade": each.grade.value, "topic": each.topic, "what": each.what, "remedy": each.remedy}
            for each in findings
        ],
        "fail_count": sum(each.grade == Grade.FAIL for each in findings),
    }

"""Commits read as `area: verb what`, and every one says why."""

from __future__ import annotations

import re

import pytest

from tests.house.sources import run_git

# Characters; what `git log --oneline` and a mail subject show without a cut.
SUBJECT_LIMIT = 60
_AREA = r"[A-Za-z.][A-Za-z0-9_./-]*"
_SUBJECT = re.compile(rf"{_AREA}(, {_AREA})*: [a-z][a-z-]* \S.*[^.\s]")
_TRAILER = re.compile(r"[A-Z][A-Za-z-]+: .+")


def violations(subject: str, body: str) -> list[str]:
    """What is wrong with one commit message."""
    found = []
    if not _SUBJECT.fullmatch(subject):
        found.append("the subject is not `area: verb what`")
    if len(subject) > SUBJECT_LIMIT:
        found.append(f"the subject has {len(subject)} characters, at most {SUBJECT_LIMIT}")
    if not [line for line in body.splitlines() if line.strip() and not _TRAILER.fullmatch(line)]:
        found.append("the body does not say why")
    return found


def test_every_commit_says_what_and_why() -> None:
    if not run_git("rev-list", "--all", "--max-count=1"):
        pytest.skip("no commits yet: commit something to run this test")
    log = run_git("log", "--no-merges", "--format=%h%x00%s%x00%b%x01").split("\x01")
    commits = [entry.strip("\n").split("\0") for entry in log if entry.strip()]
    assert commits, "found no commit"
    broken = [f"{sha} {subject!r}: {why}" for sha, subject, body in commits for why in violations(subject, body)]
    assert not broken, "\n".join(broken)


@pytest.mark.parametrize(
    ("subject", "body"),
    [
        ("fix things", "Because."),
        ("core: Rank by priority", "Because."),
        ("core: rank", "Because."),
        ("core: rank by priority.", "Because."),
        ("core: rank " + "x" * SUBJECT_LIMIT, "Because."),
        ("core: rank by priority", ""),
        ("core: rank by priority", "Signed-off-by: A <a@example.org>\n"),
    ],
)
def test_a_bad_message_is_seen(subject: str, body: str) -> None:
    assert len(violations(subject, body)) == 1


def test_a_good_message_passes() -> None:
    assert violations("core, policy: rank by priority first", "Size says nothing about worth.\n") == []
    assert violations(".ci/run: end with the tally line", "Whoever reads the log looks there first.\n") == []

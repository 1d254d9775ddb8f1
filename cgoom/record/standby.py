"""What the next daemon has to know of this one: the order it handed over, the scores it raised, the kills it has told.

One small file in the run directory, replaced as a whole. It counts for the boot that it was written in.
"""

from __future__ import annotations

import json
import os
from dataclasses import dataclass

from cgoom.errors import CgoomError, FormatError, GoneError
from cgoom.kernel.fault import kernel_errors
from cgoom.kernel.score import OwnScore, Scores
from cgoom.kernel.text import read_all
from cgoom.model import Workload
from cgoom.record.codec import Fields, decode_victim, encode_victim
from cgoom.record.directory import open_directory, open_file, replace_file

FILE_NAME = "standby.json"
VERSION = 1
# -1000..1000 of oom_score_adj, written as a count.
_SCORE_OFFSET = 1000


@dataclass(frozen=True, slots=True)
class Raised:
    """The workload whose processes have the score of the next victim, and what they had before."""

    workload: Workload
    scores: Scores


@dataclass(frozen=True, slots=True)
class Memo:
    """`told_ns`: CLOCK_MONOTONIC of the newest armed kill that is in the history.

    `source`: what wakes the daemon `pid`.
    """

    boot_id: str
    pid: int = 0
    source: str = ""
    told_ns: int = 0
    order: tuple[Workload, ...] = ()
    raised: Raised | None = None


def write_memo(run_dir: str, memo: Memo) -> None:
    """Raises RefusedError, NotPermittedError, KernelError."""
    raised = memo.raised
    document = {
        "v": VERSION,
        "boot_id": memo.boot_id,
        "pid": memo.pid,
        "source": memo.source,
        "told_ns": memo.told_ns,
        "order": [encode_victim(workload, None) for workload in memo.order],
        "raised": None if raised is None else _encode_raised(raised),
    }
    replace_file(run_dir, FILE_NAME, json.dumps(document, separators=(",", ":")).encode("ascii"))


def read_memo(run_dir: str, boot_id: str) -> Memo:
    """What the last daemon of this boot left; an empty one where there is none.

    Raises RefusedError, NotPermittedError, KernelError, FormatError.
    """
    try:
        with kernel_errors(os.path.join(run_dir, FILE_NAME)):
            dir_fd = open_directory(run_dir)
            try:
                fd = open_file(FILE_NAME, os.O_RDONLY, dir_fd)
            finally:
                os.close(dir_fd)
            try:
                text = read_all(fd)
            finally:
                os.close(fd)
    except GoneError:
        return Memo(boot_id)
    memo = decode_memo(text)
    return memo if memo.boot_id == boot_id else Memo(boot_id)


def decode_memo(text: bytes) -> Memo:
    """The memo of `write_memo`. Raises FormatError."""
    try:
        fields = Fields(json.loads(text))
    except (ValueError, RecursionError) as error:
        raise FormatError(f"{FILE_NAME}: not JSON") from error
    if fields.count("v") != VERSION:
        raise FormatError(f"{FILE_NAME}: version {fields.count('v')}; this cgoom reads version {VERSION}")
    return Memo(
        fields.text("boot_id"),
        fields.count("pid"),
        fields.text("source"),
        fields.count("told_ns"),
        tuple(decode_victim(each) for each in fields.items("order")),
        None if fields.raw("raised") is None else _decode_raised(Fields(fields.raw("raised"))),
    )


def read_source(run_dir: str, pid: int) -> str:
    """What wakes the daemon `pid`, as it says itself; empty where that cannot be read."""
    try:
        with kernel_errors(os.path.join(run_dir, FILE_NAME)):
            fd = os.open(os.path.join(run_dir, FILE_NAME), os.O_RDONLY | os.O_CLOEXEC)
            try:
                memo = decode_memo(read_all(fd))
            finally:
                os.close(fd)
    except CgoomError:
        return ""
    return memo.source if memo.pid == pid else ""


def _encode_raised(raised: Raised) -> dict[str, object]:
    return {
        "workload": encode_victim(raised.workload, None),
        "score": raised.scores.common + _SCORE_OFFSET,
        "others": [
            {"pid": each.pid, "starttime": each.starttime, "score": each.score + _SCORE_OFFSET}
            for each in raised.scores.others
        ],
    }


def _decode_raised(fields: Fields) -> Raised:
    others = (
        OwnScore(each.count("pid"), each.count("starttime"), _decode_score(each)) for each in fields.items("others")
    )
    return Raised(decode_victim(Fields(fields.raw("workload"))), Scores(_decode_score(fields), tuple(others)))


def _decode_score(fields: Fields) -> int:
    return fields.count("score", 2 * _SCORE_OFFSET) - _SCORE_OFFSET

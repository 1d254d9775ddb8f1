"""What a workload may be called and be worth, and where it lives. `cgoom/model.py` has these words too.

They stand apart because every launch needs them and nothing else of the model: no regular expression, no dataclass.
"""

from __future__ import annotations

from cgoom.errors import InputError
from cgoom.frozen import Frozen

TYPE_CHECKING = False
if TYPE_CHECKING:
    import os

PRIORITY_DEFAULT = 500
PRIORITY_MOST = 1000  # the least important, dies first
# Characters; a systemd unit name ends at 255 and `cgoom-NAME.scope` spends 12 of them. Chosen: what still fits a table.
NAME_LIMIT = 128
_DIGITS = "0123456789"
_LOWER = "abcdefghijklmnopqrstuvwxyz"
NAME_CHARACTERS = f"{_LOWER}{_LOWER.upper()}{_DIGITS}._-"
_SLICE_CHARACTERS = f"{_LOWER}{_DIGITS}_"
_SLICE_LIMIT = 64  # characters before the suffix; chosen: as short as a name that people type


class Layout(Frozen):
    """Where things are: the slice below the cgroup2 mount and cgoom's own directories."""

    slice_name: str = "cgoom.slice"
    run_dir: str = "/run/cgoom"
    state_dir: str = "/var/lib/cgoom"


def parse_layout(environ: dict[str, str] | os._Environ[str]) -> Layout:
    """The layout that CGOOM_SLICE, CGOOM_RUN_DIR and CGOOM_STATE_DIR ask for. Raises InputError.

    A slice name has no dash: systemd reads `a-b.slice` as a child of `a.slice`, and the two ways to place would differ.
    """
    chosen = Layout()
    slice_name = environ.get("CGOOM_SLICE", chosen.slice_name)
    stem, suffix, rest = slice_name.partition(".slice")
    if not suffix or rest or not 1 <= len(stem) <= _SLICE_LIMIT or stem.strip(_SLICE_CHARACTERS):
        raise InputError(
            f"CGOOM_SLICE is not a slice: {slice_name!r}", "use lower-case letters and digits, such as test.slice"
        )
    run_dir = environ.get("CGOOM_RUN_DIR", chosen.run_dir)
    state_dir = environ.get("CGOOM_STATE_DIR", chosen.state_dir)
    for name, path in (("CGOOM_RUN_DIR", run_dir), ("CGOOM_STATE_DIR", state_dir)):
        if not path.startswith("/"):
            raise InputError(f"{name} is not an absolute path: {path!r}", "begin it with a slash")
    return Layout(slice_name, run_dir, state_dir)


def require_name(name: str) -> str:
    """`name` if it may name a workload. Raises InputError."""
    # What strip() leaves begins and ends with a character that is not in the set.
    if not name or len(name) > NAME_LIMIT or name.strip(NAME_CHARACTERS) or name[0] in ".-":
        raise InputError(
            f"not a workload name: {name[: NAME_LIMIT + 1]!r}",
            f"use 1 to {NAME_LIMIT} of the characters A-Z a-z 0-9 . _ -, and begin with a letter, a digit or _",
        )
    return name


def require_priority(priority: int) -> int:
    """`priority` if it is 0..1000. Raises InputError."""
    if not 0 <= priority <= PRIORITY_MOST:
        raise InputError(f"not a priority: {priority}", f"0 is the most important, {PRIORITY_MOST} dies first")
    return priority

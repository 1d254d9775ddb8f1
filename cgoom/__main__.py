"""`cgoom`, and `python -m cgoom`, which is the same."""

# ruff: noqa: PLC0415 - a plain launch must not pay for click, which everything else needs

from __future__ import annotations

import sys


def main() -> int:
    """Entry point: run the command line in `sys.argv` and return the exit status. Raises nothing."""
    if sys.argv[1:2] == ["launch"]:
        from cgoom.cli.start import run_plain

        status = run_plain(sys.argv[2:])
        if status is not None:
            return status
    from cgoom.cli.main import main as run

    return run()


if __name__ == "__main__":
    sys.exit(main())

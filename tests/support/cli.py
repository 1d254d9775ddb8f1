"""The command as a user runs it."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Mapping

# -P: the installed package, not whatever lies in the current directory.
COMMAND = (sys.executable, "-P", "-m", "cgoom")
# Seconds; a slow guest needs 4 s to import everything once.
LIMIT = 60.0


def environment(extra: Mapping[str, str] | None = None) -> dict[str, str]:
    """This process's environment without what a service manager told it, and with `extra`."""
    kept = {name: value for name, value in os.environ.items() if name not in _FROM_A_MANAGER}
    return kept | dict(extra or {})


_FROM_A_MANAGER = {"NOTIFY_SOCKET", "WATCHDOG_USEC", "WATCHDOG_PID", "JOURNAL_STREAM", "INVOCATION_ID"}


def run_cgoom(
    *args: str,
    env: Mapping[str, str] | None = None,
    input: str = "",  # noqa: A002 - the word of subprocess.run
    timeout: float = LIMIT,
) -> subprocess.CompletedProcess[str]:
    """Run `cgoom ARGS` to its end; `env` is added to this process's. Bytes that are not UTF-8 become surrogates."""
    return subprocess.run(
        [*COMMAND, *args],
        env=environment(env),
        input=input,
        capture_output=True,
        encoding="utf-8",
        errors="surrogateescape",
        check=False,
        timeout=timeout,
    )

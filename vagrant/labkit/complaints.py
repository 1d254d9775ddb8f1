"""Finds, in the kernel's log, the lines with which a kernel says that it is broken. Pure: lines in, complaints out."""

from __future__ import annotations

import re

_COMPLAINT = re.compile(
    r"WARNING: |BUG: |rcu: INFO|INFO: task .* blocked|INFO: possible|INFO: inconsistent|INFO: trying to register|"
    r"suspicious RCU usage|Oops|general protection fault|watchdog: .*lockup|self-detected stall|detected stalls|"
    r"refcount_t: |UBSAN: |KASAN: |KCSAN: |kmemleak: [1-9]|list_(add|del) corruption|sysfs: cannot create duplicate"
)
_CALL_TRACE = re.compile(r"Call Trace")
# Reports of a guest that is out of memory, which is what these guests are for: the OOM killer's (mm/oom_kill.c
# dump_header) and that of an allocation that failed (mm/page_alloc.c warn_alloc). Each prints one Call Trace.
_MEMORY_REPORT = re.compile(r"invoked oom-killer|page allocation failure|allocation failure: ")


class Complaints:
    """Reads a kernel log line by line."""

    def __init__(self) -> None:
        """Start before the first line."""
        self.lines: list[str] = []
        self._reports_open = 0

    def feed(self, line: str) -> None:
        """Take the next line and remember it when it is a complaint."""
        if _MEMORY_REPORT.search(line):
            self._reports_open += 1
        elif _CALL_TRACE.search(line) and self._reports_open:
            self._reports_open -= 1
        elif _COMPLAINT.search(line) or _CALL_TRACE.search(line):
            self.lines.append(line)

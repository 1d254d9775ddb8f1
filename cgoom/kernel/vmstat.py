"""/proc/vmstat: what the kernel's own OOM killer did."""

from __future__ import annotations

from cgoom.kernel.text import make_format_error, parse_count, read_file

_PATH = "/proc/vmstat"


def read_oom_kills() -> int:
    """Processes that the kernel's OOM killer killed since boot, on the whole host. Raises KernelError, FormatError."""
    return parse_oom_kills(read_file(_PATH))


def parse_oom_kills(text: bytes) -> int:
    """`oom_kill` in the text of /proc/vmstat, which is there since Linux 4.13. Raises FormatError."""
    for line in text.splitlines():
        if line.startswith(b"oom_kill "):
            return parse_count(line.removeprefix(b"oom_kill "), _PATH, line)
    raise make_format_error(_PATH, text)

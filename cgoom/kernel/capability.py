"""What this process may do."""

from __future__ import annotations

import re

from cgoom.kernel.text import make_format_error, read_file

_PATH = "/proc/self/status"
_LINE = re.compile(rb"^CapEff:\t([0-9a-f]{16})$", re.MULTILINE)
# include/uapi/linux/capability.h, in the order of their bits
# fmt: off
_NAMES = (
    "CHOWN", "DAC_OVERRIDE", "DAC_READ_SEARCH", "FOWNER", "FSETID", "KILL", "SETGID", "SETUID", "SETPCAP",
    "LINUX_IMMUTABLE", "NET_BIND_SERVICE", "NET_BROADCAST", "NET_ADMIN", "NET_RAW", "IPC_LOCK", "IPC_OWNER",
    "SYS_MODULE", "SYS_RAWIO", "SYS_CHROOT", "SYS_PTRACE", "SYS_PACCT", "SYS_ADMIN", "SYS_BOOT", "SYS_NICE",
    "SYS_RESOURCE", "SYS_TIME", "SYS_TTY_CONFIG", "MKNOD", "LEASE", "AUDIT_WRITE", "AUDIT_CONTROL", "SETFCAP",
    "MAC_OVERRIDE", "MAC_ADMIN", "SYSLOG", "WAKE_ALARM", "BLOCK_SUSPEND", "AUDIT_READ", "PERFMON", "BPF",
    "CHECKPOINT_RESTORE",
)
# fmt: on


def read_effective() -> frozenset[str]:
    """Effective capabilities of this process by name, such as CAP_SYS_RESOURCE. Raises KernelError, FormatError."""
    return parse_effective(read_file(_PATH))


def parse_effective(text: bytes) -> frozenset[str]:
    """The capabilities in the text of /proc/PID/status; bits without a name here are left out. Raises FormatError."""
    found = _LINE.search(text)
    if found is None:
        raise make_format_error(_PATH, text)
    bits = int(found[1], 16)
    return frozenset(f"CAP_{name}" for bit, name in enumerate(_NAMES) if bits >> bit & 1)

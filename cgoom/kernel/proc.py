"""/proc/PID: what one process says of itself. By the next read a pid may be another process; a pidfd tells."""

from __future__ import annotations

import os

from cgoom.frozen import Frozen
from cgoom.kernel.fault import kernel_errors
from cgoom.kernel.text import make_format_error, parse_count, read_file

# Bytes; chosen: what a person reads of a command line, which may be 2 MiB.
_CMDLINE_SIZE = 4096
_PAGE_BYTES = os.sysconf("SC_PAGE_SIZE")
# Fields of /proc/PID/stat behind the name, counted from 0; proc_pid_stat(5) counts them from 3.
_STATE, _PPID, _NUM_THREADS, _STARTTIME = 0, 1, 17, 19


class ProcStat(Frozen):
    """Parts of /proc/PID/stat. `state` is one letter, `starttime` is in clock ticks after boot."""

    comm: str
    state: str
    ppid: int
    num_threads: int
    starttime: int

    @property
    def is_alive(self) -> bool:
        """Whether a thread still runs: a zombie with more than one thread lost only its first."""
        return self.state not in ("Z", "X") or self.num_threads > 1


def read_stat(pid: int) -> ProcStat:
    """Raises GoneError, KernelError, FormatError."""
    path = f"/proc/{pid}/stat"
    return parse_stat(read_file(path), path)


def parse_stat(text: bytes, what: str) -> ProcStat:
    """The text of /proc/PID/stat. Raises FormatError.

    The name may hold anything, `) Z 1` and newlines included, and the kernel escapes nothing: it ends at the last `)`.
    """
    before, closing, after = text.rpartition(b")")
    _, opening, comm = before.partition(b"(")
    fields = after.split()
    if not opening or not closing or len(fields) <= _STARTTIME or len(fields[_STATE]) != 1:
        raise make_format_error(what, text)
    return ProcStat(
        comm.decode("utf-8", "replace"),
        fields[_STATE].decode("ascii", "replace"),
        parse_count(fields[_PPID], what, text),
        parse_count(fields[_NUM_THREADS], what, text),
        parse_count(fields[_STARTTIME], what, text),
    )


def read_cgroup_path(pid: int) -> str:
    """The process's cgroup below the cgroup2 mount, without a leading slash. Not UTF-8: surrogates.

    Of a zombie whose cgroup was removed it ends with ` (deleted)`; outside of our cgroup namespace it begins with
    `../`. Neither can be opened. Raises GoneError, NotPermittedError, KernelError, FormatError.
    """
    path = f"/proc/{pid}/cgroup"
    return parse_cgroup_path(read_file(path), path)


def parse_cgroup_path(text: bytes, what: str) -> str:
    """The path in the `0::` line of /proc/PID/cgroup. Raises FormatError."""
    for line in text.split(b"\n"):
        if line.startswith(b"0::/"):
            return os.fsdecode(line.removeprefix(b"0::/"))
    raise make_format_error(what, text)


def read_oom_score_adj(pid: int) -> int:
    """-1000..1000. Raises GoneError, KernelError, FormatError."""
    path = f"/proc/{pid}/oom_score_adj"
    text = read_file(path).strip()
    sign = -1 if text.startswith(b"-") else 1
    return sign * parse_count(text.removeprefix(b"-"), path, text)


def write_oom_score_adj(pid: int, value: int) -> None:
    """-1000..1000; to go below the last value that root set needs CAP_SYS_RESOURCE.

    Raises GoneError, NotPermittedError, KernelError.
    """
    path = f"/proc/{pid}/oom_score_adj"
    with kernel_errors(path):
        fd = os.open(path, os.O_WRONLY)
        try:
            os.write(fd, str(value).encode())
        finally:
            os.close(fd)


def read_resident_bytes(pid: int) -> int:
    """What the process has in memory (VmRSS), without a lock; 0 of one that has ended. Raises GoneError, KernelError,
    FormatError.
    """
    path = f"/proc/{pid}/statm"
    text = read_file(path)
    fields = text.split()
    if len(fields) < 2:
        raise make_format_error(path, text)
    return parse_count(fields[1], path, text) * _PAGE_BYTES


def read_cmdline(pid: int) -> str:
    """The arguments with spaces between, the first 4096 bytes; empty for a kernel thread.

    It may wait for the process's memory map lock, so never on the way to a kill. Raises GoneError, NotPermittedError,
    KernelError.
    """
    path = f"/proc/{pid}/cmdline"
    with kernel_errors(path):
        fd = os.open(path, os.O_RDONLY)
        try:
            text = os.read(fd, _CMDLINE_SIZE)
        finally:
            os.close(fd)
    return text.rstrip(b"\0").replace(b"\0", b" ").decode("utf-8", "replace")


def read_boot_id() -> str:
    """The random id of this boot, 36 characters. Raises KernelError."""
    return read_file("/proc/sys/kernel/random/boot_id").decode("ascii", "replace").strip()

"""One cgroup through a held directory descriptor: every read and write goes through it, never through a path again."""

from __future__ import annotations

import errno
import os

from cgoom.errors import ConflictError, HostError, KernelError, NotPermittedError
from cgoom.frozen import Frozen
from cgoom.kernel.fault import kernel_errors, make_kernel_error
from cgoom.kernel.text import make_format_error, parse_count, read_all, read_file

TYPE_CHECKING = False
if TYPE_CHECKING:
    from cgoom.model import CgroupRef

_UNIFIED_PATH = "/sys/fs/cgroup"
_OPENAT2 = 437  # the same on every architecture, as every call since Linux 5.1
# RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS | RESOLVE_NO_MAGICLINKS | RESOLVE_NO_XDEV, include/uapi/linux/openat2.h
_RESOLVE = 0x08 | 0x04 | 0x02 | 0x01
_CHILD_MODE = 0o755
# Bytes; measured: cgroup.events has 21.
_EVENTS_SIZE = 256
# Fields of a line of /proc/PID/mountinfo, counted from 0.
_MOUNT_DEVICE, _MOUNT_ROOT, _MOUNT_POINT = 2, 3, 4
# What a walk over a tree passes over: removed meanwhile, a threaded cgroup, a path that is too long.
_UNLISTED = frozenset({errno.ENOENT, errno.ENODEV, errno.EOPNOTSUPP, errno.ENAMETOOLONG})


class Mount(Frozen):
    """Where cgroup2 is. `hybrid`: it has no memory controller, or cgroup v1 sits at /sys/fs/cgroup."""

    path: str
    hybrid: bool


class Cgroup:
    """A held cgroup. It also works on a plain directory, as tests use it.

    Every method raises GoneError when the cgroup was removed, NotPermittedError, and KernelError otherwise; one that
    parses raises FormatError. A file that is missing from a living cgroup is a KernelError, or None and an empty dict
    where its controller may be off.
    """

    __slots__ = ("_ref", "cgroup_id", "fd", "path")

    def __init__(self, fd: int, path: str) -> None:
        """Take over the directory descriptor `fd`; `path` is below the mount."""
        self.fd = fd
        self.path = path
        self.cgroup_id = os.fstat(fd).st_ino
        self._ref: CgroupRef | None = None

    @property
    def ref(self) -> CgroupRef:
        """Its identity."""
        if self._ref is None:
            from cgoom.model import CgroupRef  # noqa: PLC0415 - a launch can do without the model

            self._ref = CgroupRef(self.path, self.cgroup_id)
        return self._ref

    def __enter__(self) -> Cgroup:
        return self

    def __exit__(self, *_exc: object) -> None:
        self.close()

    def close(self) -> None:
        """Let go of the descriptor; a second call does nothing."""
        if self.fd >= 0:
            os.close(self.fd)
            self.fd = -1

    def open_control(self, name: str, flags: int) -> int:
        """A descriptor of the control file, for polling or for a write that must not open anything first."""
        fd = self._open(name, flags)
        if fd is None:
            raise KernelError(
                f"{self._join(name)}: no such file",
                "the kernel is too old for it, or its controller is not enabled here",
            )
        return fd

    def read_control(self, name: str) -> str:
        """The whole control file, as it is; bytes that are not UTF-8 become surrogates."""
        return self._read(name).decode("utf-8", "surrogateescape")

    def write_control(self, name: str, text: str) -> None:
        """One write of `text` to the control file."""
        fd = self.open_control(name, os.O_WRONLY)
        try:
            with kernel_errors(self._join(name)):
                os.write(fd, text.encode("utf-8", "surrogateescape"))
        finally:
            os.close(fd)

    def read_memory_current(self) -> int | None:
        """Bytes in memory; None where the memory controller is off."""
        return self._read_count("memory.current")

    def read_memory_swap_current(self) -> int | None:
        """Bytes in swap; None where the kernel does not count it."""
        return self._read_count("memory.swap.current")

    def read_memory_stat(self) -> dict[str, int]:
        """Bytes and event counts by the kernel's names; empty where the memory controller is off."""
        return self._read_flat("memory.stat")

    def read_memory_events(self, local: bool = False) -> dict[str, int]:
        """Counters such as `oom_kill`, of the whole subtree unless `local`; empty where the memory controller is off.

        A counter that this kernel does not have is not in the dict.
        """
        return self._read_flat("memory.events.local" if local else "memory.events")

    def read_populated(self, events_fd: int | None = None) -> bool:
        """Whether a process lives in it or below (`cgroup.events`, at best through a descriptor of it)."""
        if events_fd is None:
            text = self._read("cgroup.events")
        else:
            with kernel_errors(self._join("cgroup.events")):
                text = os.pread(events_fd, _EVENTS_SIZE, 0)
        for line in text.split(b"\n"):
            if line in (b"populated 0", b"populated 1"):
                return line.endswith(b"1")
        raise make_format_error(self._join("cgroup.events"), text)

    def read_procs(self) -> list[int]:
        """Pids of this cgroup, not of its children.

        The kernel writes 0 for a process outside our pid namespace. It is left out: as a pid, 0 means ourselves.
        """
        what = self._join("cgroup.procs")
        pids = [parse_count(line, what, line) for line in self._read("cgroup.procs").splitlines()]
        return [pid for pid in pids if pid]

    def read_procs_recursive(self) -> list[int]:
        """Pids of this cgroup and all below; what goes away meanwhile is left out.

        So are paths of more than 4095 bytes. A threaded cgroup lists nothing: its processes stand in the one above it.
        """
        pids = self.read_procs()
        paths = list(self.children())
        while paths:
            path = paths.pop()
            try:
                with _open_below(self.fd, path, self._join(path)) as child:
                    paths.extend(f"{path}/{name}" for name in child.children())
                    pids.extend(child.read_procs())
            except KernelError as error:
                if not isinstance(error.__cause__, OSError) or error.__cause__.errno not in _UNLISTED:
                    raise
        return pids

    def read_controllers(self) -> frozenset[str]:
        """The controllers that may be enabled for its children."""
        return frozenset(self.read_control("cgroup.controllers").split())

    def write_kill(self) -> None:
        """SIGKILL to every process in it and below, those being forked included."""
        self.write_control("cgroup.kill", "1")

    def open_kill(self) -> int:
        """A descriptor for `write_kill_fd`, which then opens and allocates nothing."""
        return self.open_control("cgroup.kill", os.O_WRONLY)

    def make_child(self, name: str) -> Cgroup:
        """Make and hold a child. Raises ConflictError when there is one of that name."""
        path = self._join_child(name)
        with kernel_errors(path):
            try:
                os.mkdir(name, _CHILD_MODE, dir_fd=self.fd)
            except FileExistsError as error:
                raise ConflictError(f"{path}: a cgroup of that name exists") from error
        return self.open_child(name)

    def open_child(self, name: str) -> Cgroup:
        """Hold the child `name`."""
        path = self._join_child(name)
        return _open_below(self.fd, name, path)

    def remove_child(self, name: str) -> None:
        """Remove the child `name`, which must have neither processes nor children."""
        path = self._join_child(name)
        with kernel_errors(path):
            os.rmdir(name, dir_fd=self.fd)

    def children(self) -> dict[str, int]:
        """Name and cgroup id of each child, in no order; bytes that are not UTF-8 are surrogates."""
        with kernel_errors(self.path):
            with os.scandir(self.fd) as listing:
                entries = list(listing)
            # readdir(3) shows a removed directory as one without any entry, not even control files.
            if not entries and _is_removed(self.fd):
                raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT))
        return {entry.name: entry.inode() for entry in entries if entry.is_dir(follow_symlinks=False)}

    def _join(self, name: str) -> str:
        return f"{self.path}/{name}" if self.path else name

    def _join_child(self, name: str) -> str:
        path = self._join(name)
        if "/" in name or not _is_plain(name):
            raise KernelError(f"{path!r}: not the name of a child")
        return path

    def _open(self, name: str, flags: int) -> int | None:
        """None: this living cgroup has no such file."""
        with kernel_errors(self._join(name)):
            try:
                return os.open(name, flags, dir_fd=self.fd)
            except FileNotFoundError:
                if _is_removed(self.fd):
                    raise
                return None

    def _read(self, name: str) -> bytes:
        return self._drain(name, self.open_control(name, os.O_RDONLY))

    def _read_optional(self, name: str) -> bytes | None:
        fd = self._open(name, os.O_RDONLY)
        return None if fd is None else self._drain(name, fd)

    def _drain(self, name: str, fd: int) -> bytes:
        try:
            with kernel_errors(self._join(name)):
                return read_all(fd)
        finally:
            os.close(fd)

    def _read_count(self, name: str) -> int | None:
        text = self._read_optional(name)
        return None if text is None else parse_count(text.removesuffix(b"\n"), self._join(name), text)

    def _read_flat(self, name: str) -> dict[str, int]:
        text = self._read_optional(name)
        return {} if text is None else parse_flat(text, self._join(name))


def write_kill_fd(fd: int) -> None:
    """`Cgroup.write_kill` through a descriptor of `open_kill`. Raises GoneError, KernelError."""
    try:
        os.write(fd, b"1")
    except OSError as error:
        raise make_kernel_error("cgroup.kill", error) from error


def open_cgroup(parent: int | str, path: str = "") -> Cgroup:
    """Hold the cgroup `path` below `parent`: the path of a mount or a held descriptor; no path: `parent` itself.

    `path` is without a leading slash and without `.` and `..`. The kernel resolves it below `parent` only, through no
    symbolic link and into no other mount. Raises GoneError, NotPermittedError, KernelError.
    """
    if isinstance(parent, int):
        return _open_below(parent, path, path)
    with kernel_errors(parent):
        root = Cgroup(os.open(parent, os.O_RDONLY | os.O_DIRECTORY), "")
    if not path:
        return root
    with root:
        return _open_below(root.fd, path, path)


def find_mount(mountinfo: str = "/proc/self/mountinfo") -> Mount:
    """The cgroup2 mount, /sys/fs/cgroup first. Raises HostError when there is none."""
    mounts = _list_mounts(read_file(mountinfo))
    for path, device in sorted(mounts, key=lambda mount: mount[0] != _UNIFIED_PATH):
        try:
            with open_cgroup(path) as root:
                found = os.fstat(root.fd).st_dev
                if device == b"%d:%d" % (os.major(found), os.minor(found)):
                    return Mount(path, path != _UNIFIED_PATH or "memory" not in root.read_controllers())
        except (KernelError, NotPermittedError):
            continue
    raise HostError(
        "no cgroup2 filesystem is mounted",
        "boot with systemd.unified_cgroup_hierarchy=1, or mount one at /sys/fs/cgroup",
    )


def parse_cgroup2_mounts(text: bytes) -> list[str]:
    """Mount points of type cgroup2 in the text of /proc/PID/mountinfo, those of a whole hierarchy first."""
    return [path for path, _ in _list_mounts(text)]


def _list_mounts(text: bytes) -> list[tuple[str, bytes]]:
    """The same with `major:minor` of the filesystem: whether it, or what is mounted on top of it, is at the path."""
    found = []
    for line in text.split(b"\n"):
        before, _, after = line.partition(b" - ")
        fields = before.split(b" ")
        if after.startswith(b"cgroup2 ") and len(fields) > _MOUNT_POINT:
            path = os.fsdecode(_unescape(fields[_MOUNT_POINT]))
            found.append((fields[_MOUNT_ROOT] != b"/", path, fields[_MOUNT_DEVICE]))
    return [(path, device) for _, path, device in sorted(found, key=lambda mount: mount[0])]


def parse_flat(text: bytes, what: str) -> dict[str, int]:
    """`key number` lines, as in memory.stat. Raises FormatError."""
    values = {}
    for line in text.splitlines():
        key, _, value = line.partition(b" ")
        if not key:
            raise make_format_error(what, line)
        values[key.decode("utf-8", "backslashreplace")] = parse_count(value, what, line)
    return values


def _unescape(path: bytes) -> bytes:
    """A path of mountinfo without its octal escapes (space, tab, newline, backslash)."""
    if b"\\" not in path:
        return path
    import re  # noqa: PLC0415 - costs a launch 5 ms, and hardly any mount point has one

    return re.sub(rb"\\([0-7]{3})", lambda octal: bytes([int(octal[1], 8) & 0xFF]), path)


def _is_removed(fd: int) -> bool:
    from cgoom.kernel.libc import is_removed_directory  # noqa: PLC0415 - as in _open_below

    return is_removed_directory(fd)


def _is_plain(name: str) -> bool:
    """Whether it can be the name of a directory, and names one in only one way."""
    try:
        encoded = os.fsencode(name)
    except UnicodeEncodeError:
        return False
    return encoded not in (b"", b".", b"..") and b"\0" not in encoded


def _open_below(parent_fd: int, path: str, shown: str) -> Cgroup:
    if path and not all(map(_is_plain, path.split("/"))):
        raise KernelError(f"{shown!r}: not the path of a cgroup")
    # Imported here: ctypes costs a launch 3 ms, and where systemd places, none of this is called.
    import ctypes  # noqa: PLC0415

    from cgoom.kernel.libc import syscall  # noqa: PLC0415

    # struct open_how: u64 flags, mode, resolve.
    how = (ctypes.c_uint64 * 3)(os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC, 0, _RESOLVE)
    with kernel_errors(shown):
        fd = syscall(_OPENAT2, parent_fd, os.fsencode(path or "."), ctypes.byref(how), ctypes.sizeof(how))
        try:
            return Cgroup(fd, shown)
        except OSError:
            os.close(fd)
            raise

"""What a cgroup is worth, kept in `trusted.cgoom.*` xattrs of its directory: they live and die with it.

Only CAP_SYS_ADMIN can write or even see `trusted.*`, so that the owner of a delegated cgroup cannot forge them.
"""

from __future__ import annotations

import errno
import os

from cgoom.errors import InputError
from cgoom.frozen import Frozen
from cgoom.kernel.fault import kernel_errors
from cgoom.names import PRIORITY_DEFAULT, require_name, require_priority

_NAME = "trusted.cgoom.name"
_PRIORITY = "trusted.cgoom.priority"
_PROTECT = "trusted.cgoom.protect"
_GRACE = "trusted.cgoom.grace_usec"
_VERDICT = "trusted.cgoom.verdict"
# Bytes; chosen: a verdict is one line.
VERDICT_SIZE = 1024
# Microseconds, 31 years; chosen: more than any grace and still an exact number everywhere.
GRACE_MOST_USEC = 10**15 - 1
# What a verdict that will be replaced begins with; no final one does.
_PROVISIONAL = "?"
# Digits of GRACE_MOST_USEC, the largest number here.
_DIGITS_MOST = 15


class Identity(Frozen):
    """Name, priority 0..1000, protect, and the launcher's own grace in microseconds (None: the policy's)."""

    name: str
    priority: int = PRIORITY_DEFAULT
    protect: bool = False
    grace_usec: int | None = None


class Verdict(Frozen):
    """Why a workload died or was asked to end; empty where that is still to be said. `is_final`: none follows."""

    text: str
    is_final: bool


def write_identity(fd: int, identity: Identity) -> None:
    """Make the cgroup behind the directory descriptor a workload.

    Raises InputError for a value out of range, GoneError, NotPermittedError, KernelError. The name is written last and
    nothing counts without it, so that a reader in between never sees half an identity.
    """
    require_name(identity.name)
    require_priority(identity.priority)
    grace = identity.grace_usec
    if grace is not None and not 0 <= grace <= GRACE_MOST_USEC:
        raise InputError(f"not a grace: {grace} us", f"use at most {GRACE_MOST_USEC} us")
    write_priority(fd, identity.priority)
    with kernel_errors("identity"):
        os.setxattr(fd, _PROTECT, b"1" if identity.protect else b"0")
        if grace is not None:
            os.setxattr(fd, _GRACE, str(grace).encode())
        elif _read(fd, _GRACE) is not None:
            os.removexattr(fd, _GRACE)
        os.setxattr(fd, _NAME, identity.name.encode())


def read_identity(fd: int) -> Identity | None:
    """The identity of the cgroup behind the directory descriptor; None: it has none, or one that cannot be trusted.

    Without CAP_SYS_ADMIN the answer is always None. Raises GoneError, NotPermittedError, KernelError.
    """
    with kernel_errors("identity"):
        name = _read(fd, _NAME)
        if name is None:
            return None
        return parse_identity(name, _read(fd, _PRIORITY), _read(fd, _PROTECT), _read(fd, _GRACE))


def read_child_priority(fd: int, name: str) -> int | None:
    """The priority that the child `name` of the directory behind the descriptor has, without opening it.

    None: it has none of its own, or one that cannot be trusted, or it is gone; who opens it learns more.
    """
    try:
        value = os.getxattr(f"/proc/self/fd/{fd}/{name}", _PRIORITY, follow_symlinks=False)
        return require_priority(_parse_digits(value))
    except (OSError, InputError):
        return None


def parse_identity(name: bytes, priority: bytes | None, protect: bytes | None, grace: bytes | None) -> Identity | None:
    """The identity that the four values say (None: no such xattr); None when one of them is not as we write it."""
    if protect not in (None, b"0", b"1"):
        return None
    try:
        return Identity(
            require_name(name.decode("ascii")),
            PRIORITY_DEFAULT if priority is None else require_priority(_parse_digits(priority)),
            protect == b"1",
            None if grace is None else _parse_digits(grace),
        )
    except (InputError, UnicodeDecodeError):
        return None


def write_priority(fd: int, priority: int) -> None:
    """Change what the cgroup is worth. Raises InputError, GoneError, NotPermittedError, KernelError."""
    value = str(require_priority(priority)).encode()
    with kernel_errors("identity"):
        os.setxattr(fd, _PRIORITY, value)


def write_verdict(fd: int, text: str, *, is_final: bool = True) -> None:
    """Leave the sentence why it died for whoever holds the directory, cut at 1024 bytes; empty takes it back.

    One that is not final says that another follows should it be killed. Raises GoneError, NotPermittedError,
    KernelError.
    """
    value = ("" if is_final else _PROVISIONAL) + text
    with kernel_errors("verdict"):
        os.setxattr(fd, _VERDICT, value.encode("utf-8", "backslashreplace")[:VERDICT_SIZE])


def read_verdict(fd: int) -> Verdict | None:
    """The verdict; None: nobody passed one, or it was taken back.

    It can be read through a held descriptor after the cgroup was removed.

    Raises NotPermittedError, KernelError.
    """
    with kernel_errors("verdict"):
        value = _read(fd, _VERDICT)
    if not value:
        return None
    text = value[:VERDICT_SIZE].decode("utf-8", "replace")
    return Verdict(text.removeprefix(_PROVISIONAL), not text.startswith(_PROVISIONAL))


def _read(fd: int, name: str) -> bytes | None:
    try:
        return os.getxattr(fd, name)
    except OSError as error:
        if error.errno == errno.ENODATA:
            return None
        raise


def _parse_digits(value: bytes) -> int:
    if len(value) > _DIGITS_MOST or not value.isdigit():
        raise InputError(f"not a number: {value[: _DIGITS_MOST + 1]!r}")
    return int(value)

"""One tree of errors. Each has a sentence, a hint that stands apart from it, and a documented exit status."""

from __future__ import annotations


class CgoomError(Exception):
    """Base of everything that a user may see: `cgoom: error: message`, `hint: hint`, exit status `status`."""

    status = 1

    def __init__(self, message: str, hint: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint


class InputError(CgoomError):
    """What the user typed cannot be used: a name, a size, a priority."""

    status = 2


class PolicyError(CgoomError):
    """A policy file that does not say what it may say. The message begins with `file:line:column`."""

    status = 3


class UnknownWorkloadError(CgoomError):
    """No workload of that name."""

    status = 4


class ConflictError(CgoomError):
    """Something of that name, or another daemon, is there already."""

    status = 5


class NotPermittedError(CgoomError):
    """The kernel or systemd refused for lack of privilege (EPERM, EACCES, EROFS)."""

    status = 6


class HostError(CgoomError):
    """This host lacks something without which the command cannot work, such as cgroup2."""

    status = 7


class RefusedError(CgoomError):
    """cgoom itself refuses: a protected workload, its own cgroup, an ancestor of it."""

    status = 8


class KernelError(CgoomError):
    """The kernel answered with an errno that nothing here expects; the message carries path and errno."""

    status = 9


class GoneError(KernelError):
    """The cgroup or process is not there any more (ENOENT, ENODEV, ESRCH). Collectors treat it as an answer."""


class FormatError(KernelError):
    """A kernel file had an unexpected line; the message carries the path and the line."""

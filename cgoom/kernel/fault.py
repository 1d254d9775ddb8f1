"""Where an OSError becomes an error of ours, and the only place that decides which."""

from __future__ import annotations

import errno

from cgoom.errors import GoneError, KernelError, NotPermittedError

# A removed cgroup answers ENOENT to openat and ENODEV to a read of a file that was open; a dead process answers ESRCH.
_GONE = frozenset({errno.ENOENT, errno.ENODEV, errno.ESRCH})
_REFUSED = frozenset({errno.EPERM, errno.EACCES, errno.EROFS})


def kernel_errors(what: str) -> _KernelErrors:
    """Raise GoneError, NotPermittedError or KernelError for an OSError inside; `what` is a path or a file name."""
    return _KernelErrors(what)


class _KernelErrors:
    # Not contextlib's generator: it costs a launch the import, and every read of the daemon a generator.
    __slots__ = ("_what",)

    def __init__(self, what: str) -> None:
        self._what = what

    def __enter__(self) -> None:
        pass

    def __exit__(self, _kind: object, error: BaseException | None, _trace: object) -> None:
        if not isinstance(error, OSError):
            return
        message = f"{self._what}: {error.strerror or error}"
        if error.errno in _GONE:
            raise GoneError(message) from error
        if error.errno in _REFUSED:
            raise NotPermittedError(message, "run it as root, or below a cgroup that is delegated to you") from error
        raise KernelError(message) from error

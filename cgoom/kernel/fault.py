"""Where an OSError becomes an error of ours, and the only place that decides which."""

from __future__ import annotations

import errno

from cgoom.errors import CgoomError, GoneError, KernelError, NotPermittedError

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
        if isinstance(error, OSError):
            raise make_kernel_error(self._what, error) from error


def make_kernel_error(what: str, error: OSError) -> CgoomError:
    """What `kernel_errors` raises, for what comes before a kill: a `try` is no call, a block of `with` is three."""
    message = f"{what}: {error.strerror or error}"
    if error.errno in _GONE:
        return GoneError(message)
    if error.errno in _REFUSED:
        return NotPermittedError(message, "run it as root, or below a cgroup that is delegated to you")
    return KernelError(message)

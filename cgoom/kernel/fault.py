"""Where an OSError becomes an error of ours, and the only place that decides which."""

from __future__ import annotations

import errno
from collections.abc import Iterator
from contextlib import contextmanager

from cgoom.errors import GoneError, KernelError, NotPermittedError

# A removed cgroup answers ENOENT to openat and ENODEV to a read of a file that was open; a dead process answers ESRCH.
_GONE = frozenset({errno.ENOENT, errno.ENODEV, errno.ESRCH})
_REFUSED = frozenset({errno.EPERM, errno.EACCES, errno.EROFS})


@contextmanager
def kernel_errors(what: str) -> Iterator[None]:
    """Raise GoneError, NotPermittedError or KernelError for an OSError inside; `what` is a path or a file name."""
    try:
        yield
    except OSError as error:
        message = f"{what}: {error.strerror or error}"
        if error.errno in _GONE:
            raise GoneError(message) from error
        if error.errno in _REFUSED:
            raise NotPermittedError(message, "run it as root, or below a cgroup that is delegated to you") from error
        raise KernelError(message) from error

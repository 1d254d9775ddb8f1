"""Locked memory: whoever frees memory must not wait for a page of their own."""

from __future__ import annotations

import errno

from cgoom.errors import NotPermittedError
from cgoom.kernel.fault import kernel_errors
from cgoom.kernel.libc import LIBC, require_result

# include/uapi/asm-generic/mman.h (alpha, powerpc and sparc differ)
_MCL_CURRENT = 1
_MCL_FUTURE = 2
_MCL_ONFAULT = 4


def lock_memory(on_fault: bool = False) -> None:
    """Keep all pages of this process in memory, those to come included.

    `on_fault` locks a page only once it was touched, which costs less memory and brings nothing in beforehand.
    Raises NotPermittedError, KernelError.
    """
    flags = _MCL_CURRENT | _MCL_FUTURE | (_MCL_ONFAULT if on_fault else 0)
    with kernel_errors("mlockall"):
        try:
            require_result(LIBC.mlockall(flags))
        except OSError as error:
            if error.errno in (errno.EPERM, errno.ENOMEM):
                hint = "run it as root, or raise LimitMEMLOCK= (ulimit -l)"
                raise NotPermittedError(f"mlockall: {error.strerror}", hint) from error
            raise

"""One place decides what an errno means."""

from __future__ import annotations

import errno
import os

import pytest

from cgoom.errors import CgoomError, FormatError, GoneError, KernelError, NotPermittedError
from cgoom.kernel.fault import kernel_errors


@pytest.mark.parametrize(
    ("code", "kind"),
    [
        (errno.ENOENT, GoneError),
        (errno.ENODEV, GoneError),
        (errno.ESRCH, GoneError),
        (errno.EPERM, NotPermittedError),
        (errno.EACCES, NotPermittedError),
        (errno.EROFS, NotPermittedError),
        (errno.EIO, KernelError),
        (errno.EBUSY, KernelError),
    ],
)
def test_kinds(code: int, kind: type[CgoomError]) -> None:
    with pytest.raises(kind) as raised, kernel_errors("a/cgroup.kill"):
        raise OSError(code, os.strerror(code))
    assert type(raised.value) is kind
    assert raised.value.message == f"a/cgroup.kill: {os.strerror(code)}"
    assert bool(raised.value.hint) == (kind is NotPermittedError)
    assert isinstance(raised.value.__cause__, OSError)


def test_an_oserror_without_errno() -> None:
    with pytest.raises(KernelError, match=r"^x: odd$"), kernel_errors("x"):
        raise OSError("odd")


def test_other_errors_pass() -> None:
    for error in (FormatError("x: y"), ValueError("z")):
        with pytest.raises(type(error)) as raised, kernel_errors("x"):
            raise error
        assert raised.value is error

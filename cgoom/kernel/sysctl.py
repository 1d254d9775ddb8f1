"""Kernel settings below /proc/sys."""

from __future__ import annotations

from cgoom.errors import GoneError
from cgoom.kernel.text import read_file


def read_sysctl(name: str) -> str | None:
    """The value of a setting such as `vm.overcommit_memory`; None: this kernel has no such setting.

    Raises NotPermittedError, KernelError.
    """
    try:
        text = read_file("/proc/sys/" + name.replace(".", "/"))
    except GoneError:
        return None
    return text.decode("utf-8", "replace").strip()

"""One question to the kernel module `memory_info`, for who does not listen to it: anybody may ask."""

from __future__ import annotations

import os
from contextlib import closing, suppress

from cgoom.errors import CgoomError
from cgoom.kernel.memory_info import LEVEL_PATH, Answer, Module


def read_answer() -> Answer:
    """What the module sees now. Raises NotPermittedError, GoneError, KernelError, FormatError.

    To ask for a family that is not there makes the kernel look for its module: only where LEVEL_PATH is there.
    """
    with closing(Module()) as module:
        return module.read_stats()


def find_answer() -> Answer | None:
    """The same; None without the module, or where it does not answer."""
    if os.path.exists(LEVEL_PATH):
        with suppress(CgoomError):
            return read_answer()
    return None

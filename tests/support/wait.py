"""Waiting for something to become true, with a deadline and a reason."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")

# Seconds; chosen: the first looks cost nothing, the last ones do not disturb what is waited for.
FIRST_PAUSE = 0.001
LONGEST_PAUSE = 0.1


def wait_until(predicate: Callable[[], T], timeout: float, what: str) -> T:
    """The first true value of `predicate`, looked at again and again for `timeout` seconds.

    Raises AssertionError with `what` and the last value.
    """
    deadline = time.monotonic() + timeout
    pause = FIRST_PAUSE
    while True:
        value = predicate()
        if value:
            return value
        left = deadline - time.monotonic()
        if left <= 0:
            raise AssertionError(f"waited {timeout:g} s in vain: {what} (last seen: {value!r})")
        time.sleep(min(pause, left))
        pause = min(pause * 2, LONGEST_PAUSE)

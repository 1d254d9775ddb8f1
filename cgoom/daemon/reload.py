"""A new policy, compiled by another process: the YAML parser never enters the daemon's memory."""

from __future__ import annotations

import os
import subprocess
import sys

from cgoom.errors import PolicyError
from cgoom.model import Policy
from cgoom.policy.codec import decode_policy

# Bytes of a compiled policy; chosen: 256 rules of the longest pattern.
OUTPUT_LIMIT_BYTES = 4 << 20
_READ_BYTES = 65536


class Reload:
    """One compilation under way: `fd` becomes readable, `read()` tells whether it has ended."""

    def __init__(self, path: str) -> None:
        """Start to compile the file. Raises OSError when no process can be had."""
        self._path = path
        self._child = subprocess.Popen(
            [sys.executable, "-P", "-m", "cgoom", "policy", "show", "--json", path],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
        )
        assert self._child.stdout is not None
        self.fd = self._child.stdout.fileno()
        os.set_blocking(self.fd, False)
        self._text = b""

    def read(self) -> bool:
        """Take what is there; whether the output is complete."""
        try:
            block = os.read(self.fd, _READ_BYTES)
        except BlockingIOError:
            return False
        self._text += block
        if len(self._text) > OUTPUT_LIMIT_BYTES:
            self._child.kill()
            return True
        return not block

    def finish(self) -> Policy:
        """The new policy. Raises PolicyError with the compiler's own words."""
        status = self._child.wait()
        assert self._child.stdout is not None
        self._child.stdout.close()
        text = self._text.decode("utf-8", "replace")
        if status != 0:
            said = text.strip().splitlines() or [f"{self._path}: the policy compiler ended with status {status}"]
            hint = next((line.removeprefix("hint: ") for line in said if line.startswith("hint: ")), "")
            raise PolicyError(said[0].removeprefix("cgoom: error: "), hint)
        return decode_policy(text)

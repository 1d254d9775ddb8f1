"""A new policy, compiled by another process: the YAML parser never enters the daemon's memory."""

from __future__ import annotations

import os
import signal
import sys

from cgoom.daemon.notify import Notifier
from cgoom.daemon.sources import Sources
from cgoom.errors import PolicyError
from cgoom.kernel.clock import read_usec
from cgoom.model import Policy
from cgoom.policy.codec import decode_policy
from cgoom.record.journal import Journal, Severity

# Bytes of a compiled policy; chosen: 256 rules of the longest pattern.
OUTPUT_LIMIT_BYTES = 4 << 20
_READ_BYTES = 65536


class Reload:
    """One compilation under way: `fd` becomes readable, `read()` tells whether it has ended.

    Spawned without the subprocess module, which would cost the daemon 0.6 MB (measured) for this one call.
    """

    def __init__(self, path: str) -> None:
        """Start to compile the file. Raises OSError when no process can be had."""
        self._path = path
        self.fd, written_fd = os.pipe()
        try:
            self._pid = os.posix_spawn(
                sys.executable,
                [sys.executable, "-P", "-m", "cgoom", "policy", "show", "--json", path],
                os.environ,
                file_actions=[
                    (os.POSIX_SPAWN_OPEN, 0, os.devnull, os.O_RDONLY, 0),
                    (os.POSIX_SPAWN_DUP2, written_fd, 1),
                    (os.POSIX_SPAWN_DUP2, written_fd, 2),
                ],
                setsigmask=(),  # ours blocks what the loop reads from its signalfd
            )
        except BaseException:
            os.close(self.fd)
            raise
        finally:
            os.close(written_fd)
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
            os.kill(self._pid, signal.SIGKILL)
            return True
        return not block

    def finish(self) -> Policy:
        """The new policy. Raises PolicyError with the compiler's own words."""
        _, status = os.waitpid(self._pid, 0)
        os.close(self.fd)
        text = self._text.decode("utf-8", "replace")
        if status != 0:
            ended = f"the policy compiler ended with status {os.waitstatus_to_exitcode(status)}"
            said = text.strip().splitlines() or [f"{self._path}: {ended}"]
            hint = next((line.removeprefix("hint: ") for line in said if line.startswith("hint: ")), "")
            raise PolicyError(said[0].removeprefix("cgoom: error: "), hint)
        return decode_policy(text)


class Reloads:
    """One reload at a time; one that is asked for meanwhile follows, since the file may have changed after it was read.

    The supervisor is told READY=1 by `send_ready` when the last of them is over.
    """

    def __init__(self, path: str, sources: Sources, journal: Journal, notifier: Notifier) -> None:
        self._path, self._sources, self._journal, self._notifier = path, sources, journal, notifier
        self._running: Reload | None = None
        self._again = False

    def start(self, status: str) -> None:
        """Begin to read the file again."""
        if self._running is not None:
            self._again = True
            return
        self._notifier.send_reloading(read_usec())
        try:
            self._running = Reload(self._path)
        except OSError as error:
            self._journal.write(Severity.ERR, f"the policy stays as it is, no process to read it: {error.strerror}")
            self._notifier.send_ready(read_usec(), status)
        else:
            self._sources.add_reload(self._running.fd)

    def take(self) -> Policy | None:
        """The new policy when it is complete; None: not yet, or the old one stays and that is said."""
        running = self._running
        if running is None or not running.read():
            return None
        self._sources.remove(running.fd)
        self._running = None
        try:
            policy = running.finish()
        except PolicyError as error:
            hint = f" (hint: {error.hint})" if error.hint else ""
            self._journal.write(Severity.ERR, f"the policy stays as it is: {error.message}{hint}")
            return None
        self._journal.write(Severity.INFO, f"policy loaded: {self._path}")
        return policy

    def finish(self, status: str) -> None:
        """To be called after every `take`: start what was asked for meanwhile, or say that it is over."""
        if self._running is not None:
            return
        if self._again:
            self._again = False
            self.start(status)
        else:
            self._notifier.send_ready(read_usec(), status)

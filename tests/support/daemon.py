"""A real daemon to start, kill and start again."""

from __future__ import annotations

import json
import signal
import subprocess
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Any

from tests.support.cli import COMMAND, environment
from tests.support.notify import NotifySocket
from tests.support.wait import wait_until

# Seconds; a slow guest imports for 4 s, and the machine may be full when the daemon is started again.
START_LIMIT = 60.0
END_LIMIT = 30.0


class Daemon:
    """`cgoom daemon`, running and READY inside the `with` block.

    `env` carries CGOOM_RUN_DIR, CGOOM_STATE_DIR and CGOOM_SLICE; `directory` takes the policy and the log.
    `policy` is YAML text; without one the daemon looks for its own.
    """

    def __init__(self, env: Mapping[str, str], directory: Path, policy: str | None = None, *options: str) -> None:
        self._env = dict(env)
        self._log = directory / "daemon.stderr"
        self._history = Path(env["CGOOM_STATE_DIR"]) / "history.jsonl"
        self._policy = directory / "policy.yaml"
        self._options = list(options)
        if policy is not None:
            self.write_policy(policy)
            self._options += ["--policy", str(self._policy)]
        self._notify: NotifySocket | None = None
        self._running: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Daemon:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def start(self) -> None:
        """Start it and wait for READY=1. Raises AssertionError with its log when it ends instead."""
        assert self._running is None, "the daemon runs already"
        self._notify = self._notify or NotifySocket()
        self._notify.forget()
        env = environment(self._env | {"NOTIFY_SOCKET": self._notify.path})
        with self._log.open("ab") as log:
            self._running = subprocess.Popen(
                [*COMMAND, "daemon", *self._options], env=env, stdin=subprocess.DEVNULL, stdout=log, stderr=log
            )
        wait_until(lambda: self._is_ready() or self._running_status() is not None, START_LIMIT, "READY of the daemon")
        assert self._is_ready(), f"the daemon ended with status {self._running_status()}:\n{self.log()}"

    def _is_ready(self) -> bool:
        return "READY=1" in self.notified()

    def _running_status(self) -> int | None:
        assert self._running is not None, "the daemon does not run"
        return self._running.poll()

    @property
    def pid(self) -> int:
        """The daemon's process id."""
        assert self._running is not None, "the daemon does not run"
        return self._running.pid

    def notified(self) -> list[str]:
        """The `NAME=value` messages of sd_notify since it was started."""
        return self._notify.fields() if self._notify is not None else []

    def send(self, signo: signal.Signals) -> None:
        """Send it a signal."""
        assert self._running is not None, "the daemon does not run"
        self._running.send_signal(signo)

    def _end(self, signo: signal.Signals) -> int:
        assert self._running is not None, "the daemon does not run"
        self._running.send_signal(signo)
        status = self._running.wait(END_LIMIT)
        self._running = None
        return status

    def kill9(self) -> None:
        """SIGKILL, and wait until it is dead."""
        self._end(signal.SIGKILL)

    def terminate(self) -> int:
        """SIGTERM; its exit status. Raises TimeoutExpired."""
        return self._end(signal.SIGTERM)

    def restart(self) -> None:
        """SIGKILL, and start it again."""
        self.kill9()
        self.start()

    def close(self) -> None:
        """End it for good, by force; may be called twice."""
        if self._running is not None:
            self.kill9()
        if self._notify is not None:
            self._notify.close()
            self._notify = None

    def write_policy(self, policy: str) -> None:
        """Replace the text of its policy file; it reads it at SIGHUP."""
        self._policy.write_text(policy, encoding="utf-8")

    def log(self) -> str:
        """Everything it has said so far, over all its lives."""
        return self._log.read_text(encoding="utf-8", errors="replace") if self._log.exists() else ""

    def wait_for_log(self, text: str, timeout: float = END_LIMIT) -> str:
        """The log as soon as it holds `text`. Raises AssertionError."""
        wait_until(lambda: text in self.log(), timeout, f"{text!r} in the daemon's log:\n{self.log()}")
        return self.log()

    def records(self) -> list[dict[str, Any]]:
        """The history as JSON objects, oldest first; a broken line fails the test."""
        if not self._history.exists():
            return []
        return [json.loads(line) for line in self._history.read_text(encoding="utf-8").splitlines()]

"""The agent in the guest: takes jobs from the virtio-serial port, runs them, reports. Started by lab-agent.service.

Rules of this file:
- It must outlive every out-of-memory the guest stages: its memory is locked, its oom_score_adj is -1000 (from the
  unit), and it allocates little while a job runs.
- One connection at a time, one job at a time. A new HELLO or a lab that went away ends the job that runs.
"""

from __future__ import annotations

import contextlib
import ctypes
import errno
import fcntl
import json
import os
import pty
import select
import signal
import struct
import subprocess
import termios
import time
from collections.abc import Callable

from labkit import wire
from labkit.port import IDLE_SECONDS, KMSG_ALL, KernelLog, LabGoneError, Port

# oom_score_adj of a job. Chosen: a test run must survive the out-of-memory that it stages, so it comes close after
# the agent (-1000, never killed), yet the kernel may still end it when nothing else is left. Children inherit it:
# whoever starts a hog from a job gives the hog a score of its own (cgoom launch does).
JOB_OOM_SCORE_ADJ = -900

# Seconds to wait for more output once the command itself has ended. Chosen: what the command wrote is already in the
# pipe; only a child that kept the pipe open can write more.
DRAIN_SECONDS = 0.5

_MCL_CURRENT_AND_FUTURE = 3  # MCL_CURRENT | MCL_FUTURE of <sys/mman.h>


class SetupError(Exception):
    """A share or the swap disk could not be set up."""


def lock_memory() -> None:
    """Keep the agent's pages in memory, so that it answers while the guest thrashes."""
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.mlockall(_MCL_CURRENT_AND_FUTURE) != 0:
        print(f"lab-agent: mlockall: {os.strerror(ctypes.get_errno())}", flush=True)


def run_tool(*argv: str) -> None:
    """Run a helper of the set-up and raise with what it said when it fails."""
    done = subprocess.run(argv, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise SetupError(f"{' '.join(argv)}: {done.stderr.strip() or done.returncode}")


def set_up(setup: dict[str, object]) -> None:
    """Mount the shares ({"mounts": [[tag, path, options], ...]}) and turn on the swap disk ({"swap": device})."""
    mounts = setup.get("mounts", [])
    assert isinstance(mounts, list)
    for tag, path, options in mounts:
        if not os.path.ismount(path):
            os.makedirs(path, exist_ok=True)
            run_tool("mount", "-t", "9p", "-o", options, tag, path)
    device = setup.get("swap")
    if isinstance(device, str):
        with open("/proc/swaps", encoding="ascii") as swaps:
            if device in swaps.read():
                return
        run_tool("mkswap", "-q", device)
        run_tool("swapon", device)


class Running:
    """A job that has been started."""

    def __init__(self, job: wire.Job) -> None:
        """Start the command; raises OSError like execve(2)."""
        self.master: int | None = None
        self.outputs: dict[int, bytes] = {}
        if job.tty is None:
            self._process = self._start(job, subprocess.PIPE, subprocess.PIPE, subprocess.DEVNULL, _prepare_child)
            assert self._process.stdout is not None
            assert self._process.stderr is not None
            self.outputs = {self._process.stdout.fileno(): wire.OUT, self._process.stderr.fileno(): wire.ERR}
        else:
            self.master, slave = pty.openpty()
            fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", *job.tty, 0, 0))
            try:
                self._process = self._start(job, slave, slave, slave, _prepare_terminal_child)
            finally:
                os.close(slave)
            self.outputs = {self.master: wire.OUT}
        self.pidfd = os.pidfd_open(self._process.pid)

    @staticmethod
    def _start(job: wire.Job, out: int, err: int, stdin: int, prepare: Callable[[], None]) -> subprocess.Popen[bytes]:
        return subprocess.Popen(
            job.argv,
            cwd=job.cwd,
            env=job.env,
            stdin=stdin,
            stdout=out,
            stderr=err,
            bufsize=0,
            start_new_session=True,
            preexec_fn=prepare,  # noqa: PLW1509 - the agent has one thread
        )

    def forward(self, fd: int, port: Port) -> None:
        """Send what one of the outputs has; forget the output at its end."""
        try:
            data = os.read(fd, wire.MAX_PAYLOAD_BYTES)
        except OSError as error:
            if error.errno != errno.EIO:  # a terminal whose last user is gone says EIO instead of an empty read
                raise
            data = b""
        if data:
            port.send(self.outputs[fd], data)
        else:
            del self.outputs[fd]

    def type(self, data: bytes) -> None:
        """Give bytes to the command's terminal."""
        if self.master is not None:
            os.write(self.master, data)

    def reap(self) -> int:
        """Return the exit status as a shell would say it."""
        status = self._process.wait()
        return 128 - status if status < 0 else status

    def kill(self) -> None:
        """End the job and what it started in its process group."""
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()

    def close(self) -> None:
        """Give back the descriptors."""
        os.close(self.pidfd)
        if self.master is not None:
            os.close(self.master)
        for stream in (self._process.stdout, self._process.stderr):
            if stream is not None:
                stream.close()


def _prepare_child() -> None:
    with open("/proc/self/oom_score_adj", "w", encoding="ascii") as file:
        file.write(str(JOB_OOM_SCORE_ADJ))


def _prepare_terminal_child() -> None:
    _prepare_child()
    fcntl.ioctl(0, termios.TIOCSCTTY, 0)


class Agent:
    """Serves one lab after the other."""

    def __init__(self, port: Port, log: KernelLog) -> None:
        """Serve on `port`, forwarding `log`."""
        self._port = port
        self._log = log
        self._pending: list[tuple[bytes, bytes]] = []

    def serve(self) -> None:
        """Serve for ever."""
        # Nobody expects this at a boot; a lab that waits for a job's end learns that its agent began anew.
        with contextlib.suppress(LabGoneError):
            self._port.send_json(wire.FAULT, message="it began anew, the job is lost")
        while True:
            try:
                if not self._port.connected():
                    self._pending = []
                    time.sleep(IDLE_SECONDS)
                    continue
                self._serve_one()
            except (LabGoneError, wire.WireError) as error:
                print(f"lab-agent: connection ended: {error!r}", flush=True)

    def _serve_one(self) -> None:
        poller = select.poll()
        poller.register(self._port.fd, select.POLLIN)
        if not self._pending:
            poller.poll(1000)
            self._pending = self._port.receive()
        while self._pending:
            kind, payload = self._pending.pop(0)
            if kind == wire.HELLO:
                self._hello(json.loads(payload))
            elif kind == wire.JOB:
                self._run(wire.Job(**json.loads(payload)))

    def _hello(self, hello: dict[str, object]) -> None:
        # READY comes first: it is what the lab looks for in a stream that may begin with an old connection's rest.
        self._port.send_json(wire.READY, nonce=hello["nonce"], release=os.uname().release)
        setup = hello["setup"]
        assert isinstance(setup, dict)
        try:
            set_up(setup)
        except SetupError as error:
            self._port.send_json(wire.FAULT, message=str(error))

    def _run(self, job: wire.Job) -> None:
        try:
            running = Running(job)
        except OSError as error:
            self._port.send(wire.ERR, f"lab: {job.argv[0]}: {error.strerror}\n".encode())
            self._port.send_json(wire.DONE, status=127 if isinstance(error, FileNotFoundError) else 126)
            return
        try:
            status = self._follow(running, log_waits=job.log_waits)
        except OSError as error:
            running.kill()
            self._port.send_json(wire.FAULT, message=f"the agent could not follow the job: {error}")
            return
        except BaseException:
            running.kill()
            raise
        finally:
            running.close()
        self._log.forward(self._port, limit=KMSG_ALL)
        os.sync()  # the lab may end the guest as soon as it knows the status
        self._port.send_json(wire.DONE, status=status)

    def _follow(self, running: Running, *, log_waits: bool) -> int:
        """Forward output, kernel log and typed bytes until the command has ended; return its status."""
        poller = select.poll()
        for fd in (self._port.fd, running.pidfd, *running.outputs, *(() if log_waits else (self._log.fd,))):
            poller.register(fd, select.POLLIN)
        ended: float | None = None
        while running.outputs or ended is None:
            for fd, events in poller.poll(None if ended is None else 50):
                if fd == running.pidfd:
                    ended = time.monotonic()
                    poller.unregister(fd)
                elif fd == self._log.fd:
                    self._log.forward(self._port)
                elif fd == self._port.fd:
                    self._attend(running, events)
                else:
                    running.forward(fd, self._port)
                    if fd not in running.outputs:
                        poller.unregister(fd)
                    if log_waits:
                        self._log.forward(self._port, limit=KMSG_ALL)
            if ended is not None and time.monotonic() > ended + DRAIN_SECONDS:
                break
        return running.reap()

    def _attend(self, running: Running, events: int) -> None:
        if events & select.POLLHUP:
            raise LabGoneError
        frames = self._port.receive()
        for index, (kind, payload) in enumerate(frames):
            if kind == wire.STDIN:
                running.type(payload)
            elif kind == wire.HELLO:
                self._pending = frames[index:]
                raise LabGoneError


def main() -> None:
    """Run the agent."""
    lock_memory()
    path = f"/dev/virtio-ports/{wire.PORT_NAME}"
    while not os.path.exists(path):  # udev makes it when the driver is loaded
        time.sleep(IDLE_SECONDS)
    Agent(Port(path), KernelLog()).serve()


if __name__ == "__main__":
    main()

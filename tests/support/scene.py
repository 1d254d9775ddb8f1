"""A scene: workloads, a daemon, a slice, and a stage that is empty again afterwards whatever happened."""

from __future__ import annotations

import contextlib
import itertools
import os
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType

from tests.support.cli import COMMAND, environment, run_cgoom
from tests.support.daemon import Daemon
from tests.support.wait import wait_until

# Seconds; what is left after `cgroup.kill` of a full guest has to give back its pages first.
END_LIMIT = 60.0
START_LIMIT = 60.0
_NUMBERS = itertools.count(1)


def find_cgroup2(mountinfo: str = "/proc/self/mountinfo") -> Path:
    """Where cgroup2 is mounted. Raises AssertionError where it is not."""
    for line in Path(mountinfo).read_text(encoding="utf-8", errors="surrogateescape").splitlines():
        mount, _, kind = line.partition(" - ")
        if kind.split(" ")[0] == "cgroup2":
            return Path(mount.split(" ")[4])
    raise AssertionError("cgroup2 is not mounted: mount -t cgroup2 none /sys/fs/cgroup")


def read_oom_kills() -> int:
    """The kernel's own count of processes that it killed for memory."""
    lines = Path("/proc/vmstat").read_text(encoding="ascii").splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("oom_kill "))


class Scene:
    """Workloads in a slice of their own (where systemd runs: in cgoom.slice) with their own run and state directory.

    A context manager. `report()` tells what happened, for a test that failed.
    """

    def __init__(self) -> None:
        self._scratch = tempfile.TemporaryDirectory(prefix="cgoom-scene-")
        self.directory = Path(self._scratch.name)
        self.systemd = os.path.isdir("/run/systemd/system")
        slice_name = "cgoom.slice" if self.systemd else f"test{os.getpid()}x{next(_NUMBERS)}.slice"
        self.slice = find_cgroup2() / slice_name
        self.env = {
            "CGOOM_SLICE": slice_name,
            "CGOOM_RUN_DIR": str(self.directory / "run"),
            "CGOOM_STATE_DIR": str(self.directory / "state"),
        }
        for name in ("run", "state"):
            (self.directory / name).mkdir(mode=0o750)
        self._launchers: dict[str, subprocess.Popen[bytes]] = {}
        self._daemon: Daemon | None = None
        self._oom_kills = read_oom_kills()
        # systemd's slice is shared: what was there before is somebody's, and stays.
        self._foreign = frozenset(scopes_of(self.slice))

    def __enter__(self) -> Scene:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if error is not None:
            print(self.report())
        self.close()

    def run(self, *args: str, input: str = "") -> subprocess.CompletedProcess[str]:  # noqa: A002 - as in run_cgoom
        """`cgoom ARGS` in this scene, to its end."""
        return run_cgoom(*args, env=self.env, input=input)

    def daemon(self, policy: str | None = None, *options: str) -> Daemon:
        """This scene's daemon, started and ready; it ends with the scene. `policy` is YAML text."""
        assert self._daemon is None, "a scene has one daemon"
        self._daemon = Daemon(self.env, self.directory, policy, *options)
        self._daemon.start()
        return self._daemon

    def launch(
        self, name: str, priority: int, *command: str, placed: bool = True, **limits: str | bool
    ) -> subprocess.Popen[bytes]:
        """Start `cgoom launch`; `memory_max="64M"`, `protect=True` become its options. Returns the launcher.

        Returns when the workload runs in its cgroup (or is over already), or at once with `placed=False`.
        """
        options = [f"--priority={priority}", f"--name={name}"]
        for limit, value in limits.items():
            option = f"--{limit.replace('_', '-')}"
            options += [option] * value if isinstance(value, bool) else [f"{option}={value}"]
        with self._output(name, "stdout").open("ab") as out, self._output(name, "stderr").open("ab") as err:
            launcher = subprocess.Popen(
                [*COMMAND, "launch", *options, "--", *command],
                env=environment(self.env),
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=err,
            )
        self._launchers[name] = launcher
        if placed:
            wait_until(lambda: self._is_placed(name) or launcher.poll() is not None, START_LIMIT, f"{name} to run")
        return launcher

    def _output(self, name: str, stream: str) -> Path:
        return self.directory / f"{name}.{stream}"

    def stdout(self, name: str) -> str:
        """What the workload and its launcher wrote to stdout."""
        return self._output(name, "stdout").read_text(encoding="utf-8", errors="replace")

    def stderr(self, name: str) -> str:
        """What the workload and its launcher wrote to stderr."""
        return self._output(name, "stderr").read_text(encoding="utf-8", errors="replace")

    def cgroup(self, name: str) -> Path:
        """The directory of a workload's cgroup, there or not."""
        return self.slice / (f"cgoom-{name}.scope" if self.systemd else f"{name}.scope")

    def _is_placed(self, name: str) -> bool:
        """Whether it runs and is marked as a workload; the name is the last thing that a launch writes."""
        with contextlib.suppress(OSError):
            marked = os.getxattr(self.cgroup(name), "trusted.cgoom.name") == name.encode("ascii")
            return marked and self.is_populated(name)
        return False

    def is_populated(self, name: str) -> bool:
        """Whether any process lives in the workload; a cgroup that is not there has none."""
        return is_populated(self.cgroup(name))

    def oom_kills(self) -> int:
        """How many processes the kernel itself killed for memory since the scene began."""
        return read_oom_kills() - self._oom_kills

    def report(self) -> str:
        """What everybody said: the daemon's log, the history, the launchers' stderr, the kernel's own kills."""
        parts = [f"kernel OOM kills: {self.oom_kills()}"]
        if self._daemon is not None:
            history = Path(self.env["CGOOM_STATE_DIR"]) / "history.jsonl"
            said = history.read_text(encoding="utf-8", errors="replace") if history.exists() else "(none)\n"
            parts += ["--- daemon", self._daemon.log(), "--- history", said]
        for name, launcher in self._launchers.items():
            parts += [f"--- {name} (exit status {launcher.poll()})", self.stderr(name)]
        return "\n".join(parts)

    def close(self) -> None:
        """Kill the daemon and every workload, and wait until nothing is left; may be called twice."""
        with contextlib.ExitStack() as stack:  # every step runs, also when one before it fails
            stack.callback(self._scratch.cleanup)
            stack.callback(self._remove_slice)
            stack.callback(self._end_launchers)
            stack.callback(self._kill_workloads)
            if self._daemon is not None:
                stack.callback(self._daemon.close)

    def _own_scopes(self) -> list[Path]:
        return [scope for scope in scopes_of(self.slice) if scope not in self._foreign]

    def _kill_workloads(self) -> None:
        for scope in self._own_scopes():
            with contextlib.suppress(OSError):
                (scope / "cgroup.kill").write_text("1", encoding="ascii")
        wait_until(
            lambda: not any(map(is_populated, self._own_scopes())), END_LIMIT, f"nobody to be left in {self.slice}"
        )

    def _end_launchers(self) -> None:
        for launcher in self._launchers.values():
            try:
                launcher.wait(END_LIMIT)
            finally:
                launcher.kill()
                launcher.wait()

    def _remove_slice(self) -> None:
        if not self.systemd:
            wait_until(lambda: remove_tree(self.slice), END_LIMIT, f"{self.slice} to be removed")
            return
        wait_until(lambda: not self._own_scopes(), END_LIMIT, f"systemd to remove what is in {self.slice}")


def is_populated(cgroup: Path) -> bool:
    """Whether any process lives in the cgroup or below it."""
    try:
        return "populated 1" in (cgroup / "cgroup.events").read_text(encoding="ascii")
    except OSError:  # ENOENT before the read, ENODEV in it: the cgroup is gone, and nobody lives there
        return False


def scopes_of(slice_path: Path) -> Iterator[Path]:
    """The scopes in a slice; none where the slice is not there."""
    with contextlib.suppress(FileNotFoundError):
        yield from (path for path in slice_path.iterdir() if path.suffix == ".scope")


def remove_tree(cgroup: Path) -> bool:
    """Remove an empty cgroup and those below it; False while the kernel still says that one is busy."""
    with contextlib.suppress(FileNotFoundError):
        for child in [path for path in cgroup.iterdir() if path.is_dir()]:
            remove_tree(child)
        with contextlib.suppress(OSError):
            cgroup.rmdir()
    return not cgroup.exists()

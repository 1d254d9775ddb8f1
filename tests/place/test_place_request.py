"""What a launch is made of, without a cgroup."""

from __future__ import annotations

import errno
import os
import signal
import socket
import subprocess
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st
from jeepney import DBusAddress, Parser, new_method_call  # type: ignore[import-untyped]

from cgoom.cli.launch import make_name
from cgoom.cli.params import CPU_WEIGHT, PIDS_MAX, PRIORITY, SIZE, TIME
from cgoom.errors import InputError, NotPermittedError
from cgoom.kernel.cgroup import Mount
from cgoom.model import parse_layout, require_name
from cgoom.place import child, systemd
from cgoom.place.child import list_paths, make_exec_error, read_environ, read_report
from cgoom.place.placement import LaunchRequest, Limits, find_systemd
from cgoom.place.signals import HELD, hold_signals, read_caller_signals, restore_signals
from cgoom.place.systemd import list_properties

PRIORITIES = st.integers(0, 1000)


@given(PRIORITIES, PRIORITIES)
def test_the_score_rises_with_the_priority_and_stays_below_1000(one: int, other: int) -> None:
    low, high = (LaunchRequest("a", ("x",), priority).oom_score_adj() for priority in sorted((one, other)))
    assert 0 <= low <= high <= 999


@given(PRIORITIES)
def test_a_protected_workload_is_never_pushed_forward(priority: int) -> None:
    assert LaunchRequest("a", ("x",), priority, protect=True).oom_score_adj() == 0


@given(st.text(), st.integers(1, 4_194_304))
def test_every_command_has_a_name(command: str, pid: int) -> None:
    assert require_name(make_name(command, pid)).endswith(f"-{pid}")


@pytest.mark.parametrize(
    ("command", "name"),
    [("/usr/bin/make", "make-7"), ("./.x", "x-7"), ("", "cmd-7"), ("a b\n", "a_b_-7"), ("a" * 300, "a" * 126 + "-7")],
)
def test_the_name_comes_from_the_command(command: str, name: str) -> None:
    assert make_name(command, 7) == name


@pytest.mark.parametrize(
    ("command", "path", "tried"),
    [
        ("x", b"/a:b:", [b"/a/x", b"b/x", b"x"]),
        ("./x", b"/a", [b"./x"]),
        ("\udcff", b"/a", [b"/a/\xff"]),
        ("x", None, [b"/bin/x", b"/usr/bin/x"]),
    ],
    ids=["names", "slash", "not-utf8", "no-path"],
)
def test_a_command_is_looked_up_as_execvp_does(command: str, path: bytes | None, tried: list[bytes]) -> None:
    assert list_paths(command, {} if path is None else {b"PATH": path}) == tried


@pytest.mark.parametrize("text", ["", " 1", "+1", "1_0", "\u0661", "1.5", "1e3", "-0", "9" * 5000])
def test_numbers_are_plain_decimal_digits(text: str) -> None:
    for kind in (PRIORITY, CPU_WEIGHT, PIDS_MAX):
        with pytest.raises(InputError) as caught:
            kind.convert(text, None, None)
        assert caught.value.hint


def test_sizes_and_times_are_bytes_and_microseconds() -> None:
    assert SIZE.convert("1.5K", None, None) == 1536
    assert TIME.convert("2s", None, None) == 2_000_000
    with pytest.raises(InputError, match="limit of nothing"):
        SIZE.convert("0", None, None)


@pytest.mark.parametrize(
    ("code", "status"),
    [(errno.ENOENT, 127), (errno.EACCES, 126), (errno.ENOEXEC, 126), (errno.ENOTDIR, 126), (errno.E2BIG, 126)],
)
def test_exec_errors_have_the_statuses_of_env(code: int, status: int) -> None:
    error = make_exec_error(code, ["cmd"])
    assert (error.status, error.message) == (status, f"cmd: {os.strerror(code)}")


@pytest.mark.parametrize(("report", "status"), [(b"2", 127), (b"13", 126), (b"ValueError: x", 1), (b"", None)])
def test_the_childs_report(report: bytes, status: int | None) -> None:
    read_fd, write_fd = os.pipe()
    os.write(write_fd, report)
    os.close(write_fd)
    error = read_report(read_fd, ["cmd"])
    os.close(read_fd)
    assert (None if error is None else error.status) == status


def test_a_refused_score_is_one_warning(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    # Only a process whose privileges were taken away gets this answer; the kernel's part is stood in for.
    def refuse(pid: int, value: int) -> None:
        raise NotPermittedError("oom_score_adj: Permission denied")

    monkeypatch.setattr(child, "write_oom_score_adj", refuse)
    child.write_score(LaunchRequest("a", ("x",), 10))
    said = capsys.readouterr().err
    assert said.startswith("cgoom: warning: oom_score_adj stays ")
    assert said.count("\n") == 1


def test_a_launch_that_starts_nobody_leaves_no_score_behind(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse() -> int:
        raise BlockingIOError(errno.EAGAIN, "fork")

    put_back: list[int | None] = []
    monkeypatch.setattr(os, "fork", refuse)
    monkeypatch.setattr(systemd, "write_score", lambda _: 7)
    monkeypatch.setattr(systemd, "put_back_score", put_back.append)
    request, mount = LaunchRequest("a", ("x",), 10), Mount("/", hybrid=False)
    with socket.socket() as connection, pytest.raises(BlockingIOError):
        systemd.start_systemd(request, parse_layout({}), mount, read_caller_signals(), connection)
    assert put_back == [7]


def test_the_environment_is_what_we_were_started_with() -> None:
    script = "from cgoom.place.child import read_environ; import os; os.environ['x'] = '1'; print(read_environ())"
    environ = {b"LANG": b"C", b"odd": b"a\nb=c\xff"}
    ended = subprocess.run([sys.executable, "-c", script], env=environ, capture_output=True, check=True, text=True)
    assert ended.stdout.strip() == repr(environ)
    assert read_environ()[b"PATH"]


def test_held_signals_are_given_back() -> None:
    before = signal.pthread_sigmask(signal.SIG_BLOCK, ())
    caller = hold_signals()
    assert signal.pthread_sigmask(signal.SIG_BLOCK, ()) >= HELD
    dispositions = [signal.getsignal(signo) for signo in (signal.SIGPIPE, signal.SIGXFSZ, signal.SIGINT)]
    restore_signals(caller)
    assert signal.pthread_sigmask(signal.SIG_BLOCK, ()) == before
    assert signal.getsignal(signal.SIGPIPE) == signal.SIG_DFL
    for signo, disposition in zip((signal.SIGPIPE, signal.SIGXFSZ, signal.SIGINT), dispositions, strict=True):
        signal.signal(signo, disposition)


@given(PRIORITIES, st.none() | st.integers(1, 2**63 - 1), st.none() | st.integers(1, 10_000))
def test_properties_are_what_dbus_can_carry(priority: int, memory: int | None, weight: int | None) -> None:
    request = LaunchRequest("a", ("x",), priority, limits=Limits(memory, memory, weight, weight))
    properties = list_properties(request, "s.slice", 7)
    address = DBusAddress("/a", "a.b", "a.b")
    call = new_method_call(address, "StartTransientUnit", "ssa(sv)a(sa(sv))", ("u.scope", "fail", properties, []))
    parser = Parser()
    parser.add_data(call.serialise(serial=1))
    sent = dict(parser.get_next_message().body[2])
    assert sent["PIDs"] == ("au", [7])
    assert sent.get("MemoryMax") == (None if memory is None else ("t", memory))
    assert properties[-1][0] == "OOMPolicy"


@pytest.mark.parametrize("mount", [Mount("/sys/fs/cgroup/unified", True), Mount("/mnt/cgroup2", False)])
def test_a_tree_that_is_not_systemds_is_ours(mount: Mount) -> None:
    assert not find_systemd(mount)


def test_launch_imports_only_what_it_needs() -> None:
    script = "import sys, cgoom.cli.launch; print(*sys.modules)"
    loaded = subprocess.run([sys.executable, "-c", script], capture_output=True, check=True, text=True).stdout.split()
    assert not {"yaml", "psutil", "pyroute2", "jeepney", "subprocess", "asyncio"} & set(loaded)

"""/proc/PID, of hostile processes and of this one."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cgoom.errors import FormatError, GoneError
from cgoom.kernel.proc import (
    ProcStat,
    parse_cgroup_path,
    parse_stat,
    read_boot_id,
    read_cgroup_path,
    read_cmdline,
    read_oom_score_adj,
    read_stat,
    write_oom_score_adj,
)

TAIL = b"S 3 4 5 0 -1 4194560 1 2 3 4 5 6 7 8 20 0 11 0 777 9 10 18446744073709551615 0 0\n"
HOSTILE = [b"foo) Z ", b"()()()())))(((()))()()", b"", b'   "\n\n    ', b": - )", b"a b", b") Z 1 1 1", b"caf\xc3"]


@pytest.mark.parametrize("comm", HOSTILE)
def test_b3_hostile_names(comm: bytes) -> None:
    stat = parse_stat(b"42 (" + comm + b") " + TAIL, "/proc/42/stat")
    assert stat == ProcStat(comm.decode("utf-8", "replace"), "S", 3, 11, 777)


@given(st.binary(max_size=15))
def test_any_name(comm: bytes) -> None:
    stat = parse_stat(b"42 (" + comm + b") " + TAIL, "x")
    assert (stat.comm, stat.ppid, stat.starttime) == (comm.decode("utf-8", "replace"), 3, 777)
    stat.comm.encode()  # what was cut within a character can still be written


@given(st.binary())
def test_one_error(text: bytes) -> None:
    with pytest.raises(FormatError):
        parse_stat(text, "x")


def test_b3_a_zombie_with_threads_is_alive() -> None:
    line = (
        b"777295 (zombiemem) Z 773303 777295 773303 34817 777295 4227084 262 0 1 0 18 121 0 0 20 0 2 0 669506 0 0"
        b" 18446744073709551615 0 0 0 0 0 0 0 0 0 0 0 0 17 0 0 0 0 0 0 0 0 0 0 0 0 0 0\n"
    )
    stat = parse_stat(line, "x")
    assert (stat.state, stat.ppid, stat.num_threads) == ("Z", 773303, 2)
    assert stat.is_alive
    assert not parse_stat(line.replace(b" 20 0 2 0 ", b" 20 0 1 0 "), "x").is_alive


def test_a_short_line() -> None:
    for text in (b"", b"42 (x) S 1", b"42 x S 1", b"42 (x) SS" + TAIL[1:], b"42 (x) S -3" + TAIL[3:]):
        with pytest.raises(FormatError, match=r"^x: unexpected line"):
            parse_stat(text, "x")


def test_this_process() -> None:
    stat = read_stat(os.getpid())
    assert stat.ppid == os.getppid()
    assert stat.state == "R"
    assert stat.is_alive
    assert read_stat(os.getpid()) == stat


def test_cgroup_path() -> None:
    text = b"12:memory:/v1/0::/x\n1:name=systemd:/a\n0::/system.slice/caf\xe9 x:y.service\n"
    assert os.fsencode(parse_cgroup_path(text, "x")) == b"system.slice/caf\xe9 x:y.service"
    assert parse_cgroup_path(b"0::/\n", "x") == ""
    assert parse_cgroup_path(b"0::/../a\n", "x") == "../a"
    for bad in (b"", b"1:name=systemd:/a\n", b"0::a\n", b"10::/a\n"):
        with pytest.raises(FormatError):
            parse_cgroup_path(bad, "x")


@contextmanager
def shell_with(*args: bytes) -> Iterator[int]:
    """The pid of a shell with these arguments that surely runs: before the end of its exec it has no command line."""
    script = b"echo; read line"
    with subprocess.Popen(
        [b"/bin/sh", b"-c", script, *args], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as child:
        assert child.stdout is not None
        child.stdout.readline()
        yield child.pid
        child.kill()


def test_the_command_line() -> None:
    with shell_with(b"two words", b"", b"caf\xc3") as pid:
        assert read_cmdline(pid) == "/bin/sh -c echo; read line two words  caf\ufffd"


def test_b4_a_long_command_line_is_cut_within_a_character() -> None:
    with shell_with(b"\xc3\xa9" * 5000) as pid:
        cmdline = read_cmdline(pid)
    assert len(cmdline) < 4096
    assert cmdline.endswith("\u00e9\ufffd")
    assert cmdline.encode()


def test_oom_score_adj() -> None:
    with subprocess.Popen(["/bin/cat"], stdin=subprocess.PIPE) as child:
        try:
            assert read_oom_score_adj(child.pid) == read_oom_score_adj(os.getpid())
            for value in (998, 1000):
                write_oom_score_adj(child.pid, value)
                assert read_oom_score_adj(child.pid) == value
        finally:
            child.kill()


def test_a_process_that_is_gone() -> None:
    child = subprocess.Popen(["/bin/true"])
    child.wait(10)
    for read in (read_stat, read_cgroup_path, read_oom_score_adj, read_cmdline):
        with pytest.raises(GoneError, match=str(child.pid)):
            read(child.pid)
    with pytest.raises(GoneError):
        write_oom_score_adj(child.pid, 0)


def test_a_zombie_can_be_read() -> None:
    child = subprocess.Popen(["/bin/true"])
    os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)
    assert read_stat(child.pid).state == "Z"
    assert not read_stat(child.pid).is_alive
    assert read_cmdline(child.pid) == ""
    child.wait(10)


def test_boot_id() -> None:
    assert len(read_boot_id()) == 36
    assert read_boot_id() == read_boot_id()

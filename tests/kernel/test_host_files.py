"""Capabilities, sysctls and counters: text that is made up, and this host's own."""

from __future__ import annotations

import subprocess

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cgoom.errors import FormatError
from cgoom.kernel.capability import parse_effective, read_effective
from cgoom.kernel.sysctl import read_sysctl
from cgoom.kernel.vmstat import parse_oom_kills, read_oom_kills


def test_capabilities() -> None:
    assert parse_effective(b"Name:\tx\nCapEff:\t0000000000000000\n") == frozenset()
    assert parse_effective(b"CapPrm:\tff\nCapEff:\t0000000001000001\n") == {"CAP_CHOWN", "CAP_SYS_RESOURCE"}
    every = parse_effective(b"CapEff:\tffffffffffffffff\n")
    assert len(every) == 41
    assert {"CAP_KILL", "CAP_IPC_LOCK", "CAP_SYS_ADMIN", "CAP_CHECKPOINT_RESTORE"} <= every


@pytest.mark.parametrize(
    "text",
    [
        b"",
        b"CapEff:\n"[:-2],
        b"CapEff:\txyz\n",
        b"CapEff:\t1\n",
        b"CapEff:\t00 00 00 00 00 1\n",
        b"CapEff:\t\xff\xff\n",
    ],
)
def test_capabilities_of_no_known_shape(text: bytes) -> None:
    with pytest.raises(FormatError):
        parse_effective(text)


def test_own_capabilities_are_whole() -> None:
    with open("/proc/self/status", encoding="ascii", errors="replace") as status:
        (line,) = [line for line in status if line.startswith("CapEff:")]
    known = (1 << 41) - 1
    assert len(read_effective()) == (int(line.split()[1], 16) & known).bit_count()


def test_sysctl() -> None:
    with open("/proc/sys/vm/overcommit_memory", encoding="ascii") as file:
        assert read_sysctl("vm.overcommit_memory") == file.read().strip()
    assert read_sysctl("vm.absent") is None
    assert read_sysctl("/../../etc/passwd") is None


def test_oom_kills() -> None:
    assert parse_oom_kills(b"nr_x 3\noom_kill 12\noom_kill_x 9\n") == 12
    for text in (b"", b"oom_kill\n", b"oom_kill -1\n", b"xoom_kill 1\n"):
        with pytest.raises(FormatError, match="/proc/vmstat: "):
            parse_oom_kills(text)
    counted = subprocess.run(["grep", "^oom_kill ", "/proc/vmstat"], capture_output=True, check=True, timeout=10)
    assert read_oom_kills() >= int(counted.stdout.split()[1]) >= 0


@given(st.binary())
def test_one_error(text: bytes) -> None:
    for parse in (parse_oom_kills, parse_effective):
        with pytest.raises(FormatError):
            parse(text)

"""What the kernel module sees, and how it tells."""

from __future__ import annotations

import ctypes
import functools
import os
import pwd
import select
import subprocess
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest

from cgoom.core.detect import raw_level
from cgoom.model import HostMemory, HostPolicy
from tests.support.family import LEVEL, Event, Family, as_user
from tests.support.hogs import hog
from tests.support.module import LEVEL as LEVEL_FILE
from tests.support.module import insert, read_level, read_parameter, remove, write_parameter
from tests.support.wait import wait_until
from tests.vm.cells import Cells, available_mib
from tests.vm.gate import read_own_kib

pytestmark = pytest.mark.vm

# KiB that /proc/meminfo may differ by from a reading a moment before it.
SLACK_KIB = 20_000
# CLONE_NEWUSER | CLONE_NEWNS of unshare(), MS_BIND of mount().
OWN_NAMESPACES, BIND = 0x10020000, 0x1000


def memory_of(event: Event) -> HostMemory:
    """The stats of a message, as cgoom's core has them."""
    names = ("TOTAL_KIB", "AVAILABLE_KIB", "SWAP_TOTAL_KIB", "SWAP_FREE_KIB")
    return HostMemory(*(event[name] << 10 for name in names))


def test_the_stats_are_those_of_meminfo(family: Family) -> None:
    stats = family.stats()
    assert stats["TOTAL_KIB"] == read_own_kib("MemTotal")
    assert stats["SWAP_TOTAL_KIB"] == read_own_kib("SwapTotal")
    assert stats["PAGE_SIZE"] == 4096
    for name, field in (("AVAILABLE_KIB", "MemAvailable"), ("FREE_KIB", "MemFree"), ("SWAP_FREE_KIB", "SwapFree")):
        assert abs(stats[name] - read_own_kib(field)) < SLACK_KIB, name
    later = family.stats()
    assert later["TIME_NS"] > stats["TIME_NS"]
    assert later["LOOKS"] > stats["LOOKS"]
    assert later["LOOK_NS"] > stats["LOOK_NS"]


def test_swap_that_comes_and_goes_is_seen(family: Family, tmp_path: Path) -> None:
    swap = tmp_path / "swap"
    before_kib = family.stats()["SWAP_TOTAL_KIB"]
    subprocess.run(["dd", "if=/dev/zero", f"of={swap}", "bs=1M", "count=16", "status=none"], check=True)
    swap.chmod(0o600)
    subprocess.run(["mkswap", "-q", swap], check=True)
    subprocess.run(["swapon", swap], check=True)
    try:
        assert family.stats()["SWAP_TOTAL_KIB"] == read_own_kib("SwapTotal") > before_kib
    finally:
        subprocess.run(["swapoff", swap], check=True)
    assert family.stats()["SWAP_TOTAL_KIB"] == before_kib


@pytest.mark.parametrize("stand_in", [os.mkfifo, lambda path: path.write_text("SwapTotal: 12345678 kB")])
def test_what_a_user_puts_over_meminfo_is_not_read(family: Family, stand_in: Callable[[Path], object]) -> None:
    """A FIFO would hold up everybody's generic netlink, a file would lie to everybody."""
    asked = functools.partial(ask_behind, stand_in)
    assert as_user(pwd.getpwnam("lab").pw_uid, asked) == (read_own_kib("SwapTotal"), "")


def ask_behind(stand_in: Callable[[Path], object]) -> tuple[int, str]:
    """The module's SwapTotal, or -1 and why not, with something else at /proc/meminfo in a namespace of our own."""
    libc = ctypes.CDLL(None, use_errno=True)
    with tempfile.TemporaryDirectory() as directory:
        path = Path(directory, "meminfo")
        stand_in(path)
        if libc.unshare(OWN_NAMESPACES) or libc.mount(os.fsencode(path), b"/proc/meminfo", None, BIND, None):
            return -1, os.strerror(ctypes.get_errno())
        with Family() as own:
            return int(own.stats()["SWAP_TOTAL_KIB"]), ""


def test_thresholds_are_parameters(family: Family) -> None:
    defaults = {"warn": "10", "kill": "5", "recover": "12"}
    for name, percent in defaults.items():
        assert (read_parameter(f"{name}_mem_pct"), read_parameter(f"{name}_swap_pct")) == (percent, percent)
    for wrong in ("101", "-1", "x", " ", "5.5", "4294967297"):
        with pytest.raises(OSError, match=r"Invalid argument|Numerical result"):
            write_parameter("kill_mem_pct", wrong)
    assert read_parameter("kill_mem_pct") == "5"
    write_parameter("warn_mem_pct", 100)
    write_parameter("warn_swap_pct", 100)
    wait_until(lambda: read_level() == 1, 5, "level 1")
    write_parameter("kill_mem_pct", 100)
    write_parameter("kill_swap_pct", 100)
    wait_until(lambda: read_level() == 2, 5, "level 2")
    for name, percent in defaults.items():
        write_parameter(f"{name}_mem_pct", percent)
    wait_until(lambda: read_level() == 0, 5, "level 0")


def test_thresholds_can_be_given_at_insertion(module: None) -> None:
    remove()
    try:
        insert("warn_mem_pct=100", "warn_swap_pct=100")
        assert (read_level(), read_parameter("warn_mem_pct")) == (1, "100")
    finally:
        remove()
        insert()


def test_thresholds_come_by_netlink(family: Family) -> None:
    total_kib = family.stats()["TOTAL_KIB"]
    share, size = ("MEM_PPM", 35_000, "SWAP_PPM", 12_345), ("MEM_KIB", total_kib, "SWAP_KIB", 1 << 40)
    family.set_thresholds(share, share, size, fill_kib_per_sec=123_456)
    stats = family.stats()
    assert stats["FILL_KIB_PER_SEC"] == 123_456
    for name, (mem, mem_value, swap, swap_value) in (("WARN", share), ("KILL", share), ("RECOVER", size)):
        assert dict(stats[name]["attrs"]) == {f"MEMORY_INFO_T_{mem}": mem_value, f"MEMORY_INFO_T_{swap}": swap_value}
    assert (read_parameter("kill_mem_pct"), read_parameter("kill_swap_pct")) == ("3.5000", "1.2345")
    assert read_parameter("recover_mem_pct") == "100"
    family.set_thresholds(size, share, size)
    wait_until(lambda: read_level() == 1, 5, "level 1")


def test_a_hog_takes_the_host_through_every_level(
    family: Family, cells: Cells, measured: Callable[[Mapping[str, object]], None]
) -> None:
    """Down to level 2 and up again: each change is an event, a POLLPRI and a digit."""
    poll = select.poll()
    with Family(listen=True) as listener, LEVEL_FILE.open("rb", buffering=0) as level:
        poll.register(level, select.POLLPRI)
        assert (level.read(), poll.poll(0)) == (b"0\n", [])
        before = family.stats()
        # It stops when level 2 is seen, seconds before there is nothing left: what is available, and what a hog of
        # that size would leave, are two things.
        burst_mib = max(1, available_mib() - read_own_kib("MemTotal") * 15 // 100 // 1024)
        cell = cells.add("hog", hog(1 << 20, burst_mib=burst_mib, rate_mib=20))
        down = listener.events(lambda seen: any(event["LEVEL"] == 2 for event in seen))
        assert poll.poll(0) == [(level.fileno(), select.POLLPRI | select.POLLERR)]
        level.seek(0)
        assert level.read() == b"2\n"
        cell.write("cgroup.kill", "1")
        up = listener.events(lambda seen: any(event["LEVEL"] == 0 for event in seen))
        assert poll.poll(0) != []
        level.seek(0)
        assert (level.read(), poll.poll(0)) == (b"0\n", [])
    changes = [event for event in down + up if event.cmd == LEVEL]
    after = family.stats()
    measured({"levels": [event["LEVEL"] for event in changes], "look_ns": mean_look_ns(before, after)})
    seen = [0, *(event["LEVEL"] for event in changes)]
    assert [event["PREVIOUS_LEVEL"] for event in changes] == seen[:-1]
    assert [event["SEQ"] for event in down + up] == list(range(before["SEQ"] + 1, after["SEQ"] + 1))
    for event in changes:
        if event["LEVEL"] > event["PREVIOUS_LEVEL"]:
            assert raw_level(HostPolicy(), memory_of(event)) == event["LEVEL"]
    assert seen[-1] == 0


def mean_look_ns(before: Event, after: Event) -> int:
    """What a look took on average."""
    return int((after["LOOK_NS"] - before["LOOK_NS"]) / (after["LOOKS"] - before["LOOKS"]))


def test_a_listener_that_does_not_listen_learns_it_and_asks(family: Family) -> None:
    with Family(listen=True, receive_bytes=4096) as listener:
        before = family.stats()["SEQ"]
        for number in range(60):
            percent = 100 if number % 2 == 0 else 10
            write_parameter("warn_swap_pct", percent)
            write_parameter("warn_mem_pct", percent)
            write_parameter("recover_mem_pct", percent)
            wait_until(functools.partial(has_level, int(percent == 100)), 5, "the level to follow")
        with pytest.raises(OSError, match="No buffer space"):
            listener.events(lambda _: False, timeout=5)
    stats = family.stats()
    assert stats["SEQ"] == before + 60 * 4  # three times a threshold was set, and then the level changed
    assert stats["LEVEL"] == read_level() == 0


def has_level(level: int) -> bool:
    """Whether it is the level now."""
    return read_level() == level


def test_an_open_file_holds_the_module(module: None) -> None:
    with LEVEL_FILE.open("rb"), pytest.raises(AssertionError, match="in use"):
        remove()
    assert read_level() == 0

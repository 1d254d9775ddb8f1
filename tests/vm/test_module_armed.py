"""The armed order, with nobody there to keep it but the kernel: no daemon runs in any of these."""

from __future__ import annotations

import contextlib
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import pytest

from tests.support.family import ARMED_KILL, Event, Family
from tests.support.hogs import hog
from tests.support.scene import read_oom_kills
from tests.support.wait import wait_until
from tests.vm.cells import LIMIT, Cell, Cells, available_mib

pytestmark = pytest.mark.vm

Measured = Callable[[Mapping[str, object]], None]

# MiB of a victim, and what a bystander leaves of MemAvailable. Measured: half of the page cache comes on
# top of what MemAvailable says, so that with 80 all of them fitted into the guest once, and nobody had to die.
VICTIM_MIB = 160
SPARE_MIB = 40
# MiB beyond what is available beside the crowd; a process of it has 150 KiB and more.
CROWDED_MIB = 80
# As cgoom launches priority 990: a score nearly as high as there is.
BYSTANDER_SCORE = 989
# Nanoseconds from the kill until the kernel has reaped one that cannot die: HOLD_NS of kmod/oom.c and the kernel's own
# OOM_REAPER_DELAY. A busy guest comes to it.
TURN_NS = 5_000_000_000
TURN_SLACK_NS = 3_000_000_000
# Takes memory, then writes to a file system that is frozen: uninterruptible until it is thawed.
STUCK = """
import sys
kept = bytearray(int(sys.argv[2]) << 20)
for at in range(0, len(kept), 4096):
    kept[at] = 1
open(sys.argv[1], "w").write("x")
"""
CROWD = "import os, time\nfor _ in range(1000):\n    if not os.fork():\n        break\ntime.sleep(3600)\n"


def add_bystander(cells: Cells, mib: int, score: int = BYSTANDER_SCORE) -> Cell:
    """One that takes `mib` as fast as it can and keeps it."""
    return cells.add("bystander", hog(mib, hold=True), score)


def require_survivor(bystander: Cell, mib: int) -> None:
    """It got all that it wanted and lives."""
    bystander.wait_for_rss(mib)
    assert bystander.is_alive(), "the bystander died"


def kills_of(family: Family) -> list[int]:
    """The cgroups that were killed, oldest first."""
    return [kill["cgroup_id"] for kill in family.stats().kills()]


def test_a_small_victim_dies_before_a_large_bystander(
    request: pytest.FixtureRequest, family: Family, cells: Cells, measured: Measured
) -> None:
    """Which is nearly as high in the kernel's own order, and holds three times as much."""
    runs, right, before = request.config.getoption("--runs"), 0, read_oom_kills()
    for run in range(runs):
        room_mib = available_mib()
        victim = cells.add(f"victim{run}", hog(VICTIM_MIB, hold=True), 1000 - run % 2)
        victim.wait_for_rss(VICTIM_MIB)
        family.arm([victim.cgroup_id])
        want_mib = room_mib - SPARE_MIB
        assert want_mib > 3 * VICTIM_MIB
        bystander = cells.add(f"bystander{run}", hog(want_mib, hold=True), BYSTANDER_SCORE)
        require_survivor(bystander, want_mib)
        victim.running.wait(LIMIT)  # its memory is back before it is gone
        right += victim.was_killed()
        assert kills_of(family)[-1:] == [victim.cgroup_id]
        bystander.end()
    measured({"runs": runs, "right": right, "kernel_oom_kills": read_oom_kills() - before})
    assert right == runs


def test_a_ladder_falls_in_its_order(family: Family, cells: Cells, measured: Measured) -> None:
    """Four that each want everything, armed against their size and their score."""
    mib = available_mib() - SPARE_MIB
    before = read_oom_kills()
    ladder = [
        cells.add(f"rung{number}", hog(mib, rate_mib=20 + 20 * number, hold=True), 900 - 300 * number)
        for number in range(3, -1, -1)
    ]
    with Family(listen=True) as listener:
        family.arm([cell.cgroup_id for cell in ladder])
        events = listener.events(lambda seen: sum(event.cmd == ARMED_KILL for event in seen) == 3, 2 * LIMIT)
    fallen = [event["CGROUP_ID"] for event in events if event.cmd == ARMED_KILL]
    require_survivor(ladder[-1], mib)
    measured({"order": [cell.path.name for cell in ladder], "kernel_oom_kills": read_oom_kills() - before})
    assert fallen == [cell.cgroup_id for cell in ladder[:-1]] == kills_of(family)
    assert [cell.was_killed() for cell in ladder] == [True, True, True, False]


@pytest.mark.long
def test_a_victim_of_a_thousand_processes_dies_whole(family: Family, cells: Cells, measured: Measured) -> None:
    crowd = cells.add("crowd/inner", [sys.executable, "-c", CROWD])
    wait_until(lambda: crowd.count() > 1000, LIMIT, "a thousand processes")
    room_mib = available_mib()
    with Family(listen=True) as listener:
        family.arm([crowd.path.parent.stat().st_ino])
        bystander = add_bystander(cells, room_mib + CROWDED_MIB)
        events = listener.events(lambda seen: any(event.cmd == ARMED_KILL for event in seen))
    wait_until(lambda: crowd.count() == 0, LIMIT, "the crowd to be gone")
    (kill,) = [event for event in events if event.cmd == ARMED_KILL]
    require_survivor(bystander, room_mib + CROWDED_MIB)
    measured({"processes": kill["PROCESSES"]})
    assert kill["PROCESSES"] > 1000


def test_a_frozen_victim_dies(family: Family, cells: Cells) -> None:
    room_mib = available_mib()
    victim = cells.add("frozen", hog(VICTIM_MIB, hold=True))
    victim.wait_for_rss(VICTIM_MIB)
    victim.write("cgroup.freeze", "1")
    events = victim.path / "cgroup.events"
    wait_until(lambda: "frozen 1" in events.read_text(encoding="ascii"), LIMIT, "it to be frozen")
    family.arm([victim.cgroup_id])
    bystander = add_bystander(cells, room_mib - SPARE_MIB)
    require_survivor(bystander, room_mib - SPARE_MIB)
    assert victim.was_killed()


@pytest.fixture
def ice(tmp_path: Path) -> Iterator[Path]:
    """A file system that is frozen: who writes to it sleeps, and no signal wakes them."""
    disk, mount = tmp_path / "disk", tmp_path / "ice"
    disk.write_bytes(b"")
    with disk.open("r+b") as file:
        file.truncate(16 << 20)
    mount.mkdir()
    subprocess.run(["mke2fs", "-q", "-t", "ext4", disk], check=True)
    subprocess.run(["mount", "-o", "loop", disk, mount], check=True)
    subprocess.run(["fsfreeze", "--freeze", mount], check=True)
    try:
        yield mount
    finally:
        subprocess.run(["fsfreeze", "--unfreeze", mount], check=False)
        wait_until(lambda: subprocess.run(["umount", mount], check=False).returncode == 0, LIMIT, "the umount")


def is_uninterruptible(cell: Cell) -> bool:
    """Whether its command is in state D."""
    stat = Path(f"/proc/{cell.running.pid}/stat").read_text(encoding="ascii")
    return stat.rpartition(")")[2].split()[0] == "D"


def test_a_victim_that_cannot_die_is_reaped_and_the_kernel_has_its_turn(
    family: Family, cells: Cells, ice: Path, measured: Measured
) -> None:
    room_mib = available_mib()
    victim = cells.add("stuck", [sys.executable, "-c", STUCK, str(ice / "file"), str(VICTIM_MIB)])
    wait_until(lambda: is_uninterruptible(victim) and victim.rss_mib() >= VICTIM_MIB, LIMIT, "it to be stuck")
    with Family(listen=True) as listener:
        family.arm([victim.cgroup_id])
        bystander = add_bystander(cells, room_mib - SPARE_MIB)
        kill = next_kill(listener)
    wait_until(lambda: victim.rss_mib() < VICTIM_MIB / 2, LIMIT, "it to be reaped")
    reaped_ns = time.clock_gettime_ns(time.CLOCK_MONOTONIC) - kill["TIME_NS"]
    assert is_uninterruptible(victim), "it died by itself"
    require_survivor(bystander, room_mib - SPARE_MIB)
    measured({"kill_to_reaped_ms": reaped_ns // 1_000_000})
    assert kill["CGROUP_ID"] == victim.cgroup_id
    assert TURN_NS <= reaped_ns < TURN_NS + TURN_SLACK_NS
    assert kills_of(family) == [victim.cgroup_id]
    subprocess.run(["fsfreeze", "--unfreeze", ice], check=True)


def next_kill(listener: Family) -> Event:
    """The next ARMED_KILL."""
    seen = listener.events(lambda events: any(event.cmd == ARMED_KILL for event in events))
    return next(event for event in seen if event.cmd == ARMED_KILL)


def test_an_order_without_anybody_alive_leaves_it_to_the_kernel(family: Family, cells: Cells) -> None:
    gone, empty = cells.add("gone", ["true"]), cells.add("empty", ["true"])
    with contextlib.suppress(OSError):
        gone.end()
    empty.running.wait(LIMIT)
    family.arm([gone.cgroup_id, empty.cgroup_id])
    ooms, kernels = family.stats()["OOMS"], read_oom_kills()
    largest = cells.add("largest", hog(1 << 20), BYSTANDER_SCORE)
    wait_until(largest.was_killed, LIMIT, "the kernel to kill the largest")
    stats = family.stats()
    assert stats["OOMS"] > ooms
    assert read_oom_kills() > kernels
    assert stats.kills() == []


@pytest.mark.long
def test_one_that_does_not_help_is_followed_by_the_next(family: Family, cells: Cells) -> None:
    idle = cells.add("idle", ["sleep", "3600"])
    room_mib = available_mib()
    victim = cells.add("victim", hog(VICTIM_MIB, hold=True))
    victim.wait_for_rss(VICTIM_MIB)
    family.arm([idle.cgroup_id, victim.cgroup_id])
    bystander = add_bystander(cells, room_mib - SPARE_MIB)
    require_survivor(bystander, room_mib - SPARE_MIB)
    assert (idle.was_killed(), victim.was_killed()) == (True, True)
    assert kills_of(family) == [idle.cgroup_id, victim.cgroup_id]


@pytest.mark.long
def test_sysrq_takes_the_first_of_the_order_and_nobody_else(family: Family, cells: Cells) -> None:
    """The kernel kills one whatever a notifier says; it is asked to by hand here, with memory to spare."""
    victim = cells.add("victim", hog(8, hold=True))
    bystander = cells.add("bystander", hog(200, hold=True), BYSTANDER_SCORE)
    bystander.wait_for_rss(200)
    family.arm([victim.cgroup_id])
    Path("/proc/sysrq-trigger").write_text("f", encoding="ascii")
    wait_until(victim.was_killed, LIMIT, "the victim to die")
    assert bystander.is_alive()
    assert family.stats().kills() == []


@pytest.mark.long
def test_who_is_exempt_from_the_kernels_killer_is_from_ours(family: Family, cells: Cells) -> None:
    room_mib = available_mib()
    exempt = cells.add("mixed", ["sleep", "3600"], -1000)
    victim = cells.add("mixed/below", hog(VICTIM_MIB, hold=True))
    victim.wait_for_rss(VICTIM_MIB)
    family.arm([exempt.cgroup_id])
    bystander = add_bystander(cells, room_mib - SPARE_MIB)
    require_survivor(bystander, room_mib - SPARE_MIB)
    assert (victim.was_killed(), exempt.is_alive()) == (True, True)

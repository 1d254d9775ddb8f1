"""The programs that other tests believe: what they take, when they end, what they see."""

from __future__ import annotations

import socket
import subprocess
import time
from pathlib import Path

import pytest

from tests.support.hogs import build_program, hog
from tests.support.notify import NotifySocket
from tests.support.sampler import Sampler
from tests.support.wait import wait_until


def read_rss_mib(pid: int) -> float:
    pages = int(Path(f"/proc/{pid}/statm").read_text(encoding="ascii").split()[1])
    return pages * 4096 / 2**20


def test_a_hog_takes_what_it_was_told_and_keeps_it() -> None:
    with subprocess.Popen(hog(24, burst_mib=8, hold=True, ignore_term=True)) as running:
        try:
            wait_until(lambda: read_rss_mib(running.pid) >= 24, 10, "24 MiB")
            running.terminate()
            with pytest.raises(subprocess.TimeoutExpired):
                running.wait(0.2)
            assert read_rss_mib(running.pid) < 30
        finally:
            running.kill()


def test_a_hog_keeps_its_rate() -> None:
    begin = time.monotonic()
    subprocess.run(hog(12, rate_mib=20, burst_mib=2), check=True, timeout=30)
    assert time.monotonic() - begin >= 0.5  # 10 MiB at 20 MiB/s; a busy host may take longer, never less


@pytest.mark.parametrize("options", [[], ["--limit", "x"], ["--limit", "1", "--burst", "2"], ["--limit", "1", "more"]])
def test_a_hog_refuses_what_it_cannot_read(options: list[str]) -> None:
    assert (
        subprocess.run([build_program("hog"), *options], capture_output=True, check=False, timeout=10).returncode == 2
    )


def test_the_sampler_sees_memory_and_a_cgroup_that_becomes_empty(tmp_path: Path) -> None:
    events, never = tmp_path / "cgroup.events", tmp_path / "never"
    watch = {"low": str(events), "never": str(never)}
    with Sampler(tmp_path, below_kib=2**40, watch=watch) as sampler:
        never.write_text("populated 0\n", encoding="ascii")
        events.write_text("populated 1\n", encoding="ascii")
        begin_usec = time.clock_gettime_ns(time.CLOCK_MONOTONIC) // 1000
        time.sleep(0.1)  # the sampler has to look while it is populated; nothing tells when it did
        events.write_text("populated 0\n", encoding="ascii")
        time.sleep(0.1)
    seen = sampler.seen
    assert len(seen.samples) > 5
    assert all(sample.available_kib > 0 for sample in seen.samples)
    assert seen.crossed_usec == seen.samples[0].t_usec
    empty_usec = seen.empty_usec["low"]
    assert empty_usec is not None
    assert begin_usec + 100_000 <= empty_usec <= seen.samples[-1].t_usec + 100_000
    assert seen.empty_usec["never"] is None


def test_waiting_ends_and_says_for_what() -> None:
    assert wait_until(lambda: "yes", 1, "anything") == "yes"
    with pytest.raises(AssertionError, match="a miracle"):
        wait_until(lambda: "", 0.01, "a miracle")


def test_the_notify_socket_collects_and_closes() -> None:
    notify = NotifySocket()
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sender:
        sender.sendto(b"READY=1\nSTATUS=two workloads", notify.path)
    wait_until(lambda: len(notify.fields()) == 2, 5, "two fields")
    assert notify.fields() == ["READY=1", "STATUS=two workloads"]
    notify.close()
    assert not Path(notify.path).exists()

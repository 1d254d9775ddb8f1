"""Signals as the kernel's tracepoints tell them."""

from __future__ import annotations

from bench.trace import Sent, parse_trace

HEAD = "# tracer: nop\n#\n# entries-in-buffer/entries-written: 2/2   #P:2\n"
SIGNAL = "signal_generate: sig={signo} errno=0 code=0 comm={comm} pid={pid} grp=1 res=0\n"


def line(sender: str, t_sec: str, event: str) -> str:
    return f"{sender:>24}     [001] d..1.  {t_sec}: {event}"


def test_a_signal_tells_who_whom_and_when() -> None:
    text = HEAD + line("cgoom-417", "123.456789", SIGNAL.format(signo=9, comm="bench-low", pid=901))
    assert parse_trace(text) == [Sent(123_456_789, 417, "cgoom", 9, 901, by_kernel=False)]


def test_a_hostile_name_fools_nobody() -> None:
    text = line("a b-1 [000]-77", "1.000002", SIGNAL.format(signo=15, comm="x pid=1 grp=0", pid=12))
    assert parse_trace(text) == [Sent(1_000_002, 77, "a b-1 [000]", 15, 12, by_kernel=False)]


def test_what_the_kernel_marks_in_the_same_breath_is_its_own() -> None:
    kill = line("hog-33", "5.000001", SIGNAL.format(signo=9, comm="hog", pid=34))
    for mark in ("mark_victim: pid=34\n", "mark_victim: pid=34 comm=hog total-vm=1kB uid=0\n"):
        marked = line("hog-33", "5.000002", mark)
        assert [one.by_kernel for one in parse_trace(kill + marked)] == [True]
        assert [one.by_kernel for one in parse_trace(marked + kill)] == [True]


def test_what_a_daemon_killed_before_the_kernel_marked_it_is_the_daemons() -> None:
    kill = line("earlyoom-7", "5.000001", SIGNAL.format(signo=9, comm="hog", pid=34))
    assert [one.by_kernel for one in parse_trace(kill + line("hog-33", "5.1", "mark_victim: pid=34\n"))] == [False]


def test_what_is_not_a_signal_is_passed_over() -> None:
    assert parse_trace(HEAD + "CPU:1 [LOST 3 EVENTS]\n" + line("x-1", "1.000000", "sched_switch: prev_comm=x\n")) == []

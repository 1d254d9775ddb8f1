"""What the demo shows of the kernel's log."""

from __future__ import annotations

from cgoom.cli.demo_view import render_module_log
from cgoom.kernel.kmsg import LogLine


def test_only_the_module_is_quoted_as_dmesg_has_it() -> None:
    lines = [
        LogLine(1_500_000, "memory_info: level 1: memory 9.9% available, no swap"),
        LogLine(1_600_000, "audit: memory_info: nothing of ours"),
        LogLine(12_345_678, "memory_info: level 2: memory 4.9% available, no swap"),
    ]
    assert render_module_log(lines).splitlines() == [
        "",
        "dmesg",
        "  [    1.500000] memory_info: level 1: memory 9.9% available, no swap",
        "  [   12.345678] memory_info: level 2: memory 4.9% available, no swap",
    ]


def test_without_the_module_nothing_is_shown() -> None:
    assert render_module_log([]) == ""
    assert render_module_log([LogLine(1, "eth0: link up")]) == ""

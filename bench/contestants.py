"""Everybody who takes part: each once as Debian ships it, and once configured as well as it can be.

`best`: the less important workload first, killed (not asked) as soon as a tenth of the memory is left, and whatever
the daemon offers to be quicker. Whoever has no word for importance is told by the workloads' names; of a herd, where
nobody can be told twenty of them, only who is the least important. To avoid all others was tried: with only those left,
nohang killed what remained, journald and the measuring program.
"""

from __future__ import annotations

import json
from pathlib import Path

from bench.contestant import UNIT_DIR, Contestant, unit_change

TOP = Path(__file__).resolve().parents[1]

KERNEL = Contestant("kernel", "nobody but the kernel's own out-of-memory killer")
KERNEL_ADJ = Contestant(
    "kernel-adj", "nobody but the kernel, the less important workload with oom_score_adj 900", low_score=900
)

EARLYOOM = Contestant("earlyoom", "as shipped: SIGTERM at 10 %, SIGKILL at 5 %", unit="earlyoom", kill_share=0.05)
EARLYOOM_BEST = Contestant(
    "earlyoom-best",
    "SIGKILL at 10 %, prefers one name and avoids another, no reports",
    unit="earlyoom",
    files=unit_change("earlyoom", "/usr/bin/earlyoom -r 0 -m 10,10 -s 10,10 --prefer ^bench-low$ --avoid ^bench-high$"),
)

NOHANG = Contestant("nohang", "as shipped: SIGTERM at 5 %, SIGKILL at 2 %", unit="nohang", kill_share=0.02)
# 0.01: the shortest sleep that it accepts. The fill rates stay its own, above what the guest can fill.
_NOHANG_BEST = {
    "soft_threshold_min_mem": "10 %",
    "soft_threshold_min_swap": "10 %",
    "hard_threshold_min_mem": "10 %",
    "hard_threshold_min_swap": "10 %",
    "min_sleep": "0.01",
    "max_sleep": "0.1",
    "print_statistics": "False",
    "max_victim_ancestry_depth": "1",
}
_NOHANG_LINES = "".join(f"{name} = {value}\n" for name, value in _NOHANG_BEST.items())
_NOHANG_RULES = "@BADNESS_ADJ_RE_NAME 1000 /// ^bench-low$\n@BADNESS_ADJ_RE_NAME -1000 /// ^bench-high$\n"
NOHANG_BEST = Contestant(
    "nohang-best",
    "SIGKILL at 10 %, badness by name, looks every 10 to 100 ms",
    unit="nohang",
    files=unit_change("nohang", "/usr/sbin/nohang --monitor --config /run/bench-nohang.conf")
    | {"/run/bench-nohang.conf": f"@BASE /etc/nohang/nohang.conf@{_NOHANG_LINES}{_NOHANG_RULES}"},
)

OOMD = Contestant("oomd", "as shipped: pressure and swap of user.slice and system.slice", unit="oomd")
_OOMD_BEST = {
    "rulesets": [
        {
            "name": "memory",
            "silence-logs": "engine",
            "detectors": [
                [
                    "the workloads took it all",
                    {
                        "name": "memory_above",
                        "args": {"cgroup": "bench.slice", "threshold": "@ROOM_MIB@M", "duration": "0"},
                    },
                ],
            ],
            "actions": [
                {"name": "kill_by_memory_size_or_growth", "args": {"cgroup": "bench.slice/*", "post_action_delay": "1"}}
            ],
        }
    ]
}
OOMD_BEST = Contestant(
    "oomd-best",
    "kills in the slice as soon as it has taken what leaves 10 %, looks every second, prefer and avoid xattrs",
    unit="oomd",
    files=unit_change("oomd", "/usr/bin/oomd --interval 1 --config /run/bench-oomd.json")
    | {"/run/bench-oomd.json": json.dumps(_OOMD_BEST)},
    low_xattrs={"trusted.oomd_prefer": "1"},
    high_xattrs={"trusted.oomd_avoid": "1"},
)

SYSTEMD_OOMD = Contestant(
    "systemd-oomd",
    "as shipped, the slice set to be watched: swap used 90 %, pressure above 60 % for 20 s",
    unit="systemd-oomd",
    slice_properties=("ManagedOOMSwap=kill", "ManagedOOMMemoryPressure=kill"),
)
SYSTEMD_OOMD_BEST = Contestant(
    "systemd-oomd-best",
    "pressure above 1 % for 1 s or swap used 90 %, the important one avoided",
    unit="systemd-oomd",
    files={"/run/systemd/oomd.conf.d/bench.conf": "[OOM]\nDefaultMemoryPressureDurationSec=1s\nSwapUsedLimit=90%\n"},
    slice_properties=("ManagedOOMSwap=kill", "ManagedOOMMemoryPressure=kill", "ManagedOOMMemoryPressureLimit=1%"),
    high_properties=("ManagedOOMPreference=avoid",),
)

_CGOOM_UNIT = {f"{UNIT_DIR}/cgoom.service": (TOP / "packaging/cgoom.service").read_text(encoding="utf-8")}
_CGOOM_POLICY = """version: 1
host:
  warn: {mem_available: 10%, swap_free: 10%}
  kill: {mem_available: 10%, swap_free: 10%}
  recover: {mem_available: 12%, swap_free: 12%}
ladder: {warn: [], kill: [kill]}
"""
CGOOM = Contestant(
    "cgoom",
    "as shipped: SIGTERM at 10 %, kill at 5 %",
    unit="cgoom",
    kill_share=0.05,
    files=_CGOOM_UNIT | {"/etc/cgoom/policy.yaml": "version: 1\n"},
    launched_by_cgoom=True,
)
CGOOM_BEST = Contestant(
    "cgoom-best",
    "kill at 10 %, without the kernel module",
    unit="cgoom",
    files=_CGOOM_UNIT | {"/etc/cgoom/policy.yaml": _CGOOM_POLICY},
    launched_by_cgoom=True,
)
CGOOM_MODULE = Contestant(
    "cgoom-module",
    "kill at 10 %, with the kernel module",
    unit="cgoom",
    files=_CGOOM_UNIT | {"/etc/cgoom/policy.yaml": _CGOOM_POLICY},
    launched_by_cgoom=True,
    module=True,
)

BEST = (CGOOM_BEST, CGOOM_MODULE, EARLYOOM_BEST, NOHANG_BEST, OOMD_BEST, SYSTEMD_OOMD_BEST, KERNEL_ADJ)
AS_SHIPPED = (CGOOM, EARLYOOM, NOHANG, OOMD, SYSTEMD_OOMD, KERNEL)
CONTESTANTS = {each.name: each for each in (*BEST, *AS_SHIPPED)}

"""How a guest runs out of memory: who grows how fast, beside what else."""

from __future__ import annotations

from dataclasses import dataclass, replace

LOW = "low"


@dataclass(frozen=True)
class Grower:
    """One workload. It takes `burst_mib` at once, then `rate_mib` MiB/s (0: as fast as it can) up to `limit_mib`."""

    name: str
    priority: int  # of cgoom: the larger one dies first
    rate_mib: int
    burst_mib: int = 0
    limit_mib: int = 1 << 20
    limit_share: float = 1e3  # of the memory and swap that there are at the start; whichever limit comes first
    fill: int = 0  # its part of what the scenario fills in advance


@dataclass(frozen=True)
class Scenario:
    """One way to run short. The sizes are of a guest of `memory_mib`."""

    name: str
    about: str
    growers: tuple[Grower, ...]
    # MiB above the kill threshold that are left when the workloads have taken what is filled in advance, by their
    # `fill`. None: nothing is.
    headroom_mib: int | None = None
    page_cache: bool = False  # the memory that is free is full of a file's pages first
    zram_mib: int = 0
    crowd: int = 0  # idle cgroups with a sleeping process each
    memory_mib: int = 1024
    swap_mib: int = 0
    limit_sec: float = 90.0  # when nobody has died by then, nobody will


# The important one stops at 0.8: it can fill the host only together with the other one.
_ORIGINAL = (Grower(LOW, 1000, 20, fill=1), Grower("high", 10, 60, fill=3, limit_share=0.8))
# MiB; chosen: four seconds of the original scenario, after which every daemon has found its pace.
_FOUR_SECONDS = 320


def _herd(count: int) -> tuple[Grower, ...]:
    others = (Grower(f"high{number:02}", 10 * number, 4) for number in range(1, count))
    return (Grower(LOW, 1000, 4), *others)


SCENARIOS = {
    each.name: each
    for each in (
        Scenario("original", "20 and 60 MiB/s, no swap", _ORIGINAL),
        Scenario("original-swap", "20 and 60 MiB/s, 512 MiB of swap on a disk", _ORIGINAL, swap_mib=512),
        Scenario("original-zram", "20 and 60 MiB/s, 512 MiB of zram", _ORIGINAL, zram_mib=512),
        Scenario(
            "fast",
            "one as fast as the guest can fault, one that holds a third",
            (Grower(LOW, 1000, 0), Grower("high", 10, 60, burst_mib=300, limit_mib=300)),
        ),
        Scenario(
            "leak",
            "2 MiB/s, the rest of the memory full of page cache",
            (Grower(LOW, 1000, 2, burst_mib=32), Grower("high", 10, 0, fill=1, limit_mib=0)),
            headroom_mib=32,
            page_cache=True,
        ),
        Scenario("herd", "twenty workloads, 4 MiB/s each", _herd(20)),
        Scenario(
            "crowd-0", "as original, 2 GiB, no idle cgroups", _ORIGINAL, headroom_mib=_FOUR_SECONDS, memory_mib=2048
        ),
        Scenario(
            "crowd-1000",
            "as original, 2 GiB, 1,000 idle cgroups",
            _ORIGINAL,
            _FOUR_SECONDS,
            crowd=1000,
            memory_mib=2048,
        ),
        Scenario(
            "crowd-5000",
            "as original, 2 GiB, 5,000 idle cgroups",
            _ORIGINAL,
            _FOUR_SECONDS,
            crowd=5000,
            memory_mib=2048,
        ),
    )
}


def fit(scenario: Scenario, available_kib: int, swap_free_kib: int, line_kib: int) -> tuple[Grower, ...]:
    """The workloads with the sizes that fit a host with this much memory and a kill threshold at `line_kib`."""
    total_mib = (available_kib + swap_free_kib) // 1024
    fill_mib = 0
    if scenario.headroom_mib is not None:
        told_mib = sum(grower.burst_mib for grower in scenario.growers)
        fill_mib = max(0, (available_kib - line_kib) // 1024 - scenario.headroom_mib - told_mib)
    parts = sum(grower.fill for grower in scenario.growers)

    def fit_one(grower: Grower) -> Grower:
        burst_mib = grower.burst_mib + (fill_mib * grower.fill // parts if parts else 0)
        limit_mib = min(grower.limit_mib, int(total_mib * grower.limit_share))
        return replace(grower, burst_mib=burst_mib, limit_mib=max(limit_mib, burst_mib))

    return tuple(map(fit_one, scenario.growers))

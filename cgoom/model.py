"""The words of cgoom as frozen types: everything that crosses a layer is defined here and nowhere else.

Sizes are bytes, times are microseconds. `None` means that the kernel did not say; nothing is ever -1.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import Enum, IntEnum

from cgoom.names import (
    NAME_LIMIT,
    PRIORITY_DEFAULT,
    PRIORITY_MOST,
    Layout,
    parse_layout,
    require_name,
    require_priority,
)

# Words that stand elsewhere, so that a launch has them without the rest.
__all__ = [
    "NAME_LIMIT",
    "PRIORITY_DEFAULT",
    "PRIORITY_MOST",
    "Layout",
    "parse_layout",
    "require_name",
    "require_priority",
]


class Level(IntEnum):
    """How short the host is: the numbers of `/proc/oom_notifier`."""

    OK = 0
    WARN = 1
    KILL = 2


class Origin(Enum):
    """How a workload came under cgoom's care."""

    LAUNCHED = "launched"
    MATCHED = "matched"


class TieBreak(Enum):
    """What decides among workloads of the same priority, before the cgroup id does."""

    LARGEST = "largest"
    SMALLEST = "smallest"
    NEWEST = "newest"
    OLDEST = "oldest"


class Outcome(Enum):
    """The result of an action. GONE is not an error; WOULD is what a dry run answers."""

    DONE = "done"
    WOULD = "would"
    GONE = "gone"
    REFUSED = "refused"
    FAILED = "failed"


@dataclass(frozen=True, slots=True)
class CgroupRef:
    """A cgroup's identity: its path below the cgroup2 mount (no leading slash) and its id, the directory's inode."""

    path: str
    cgroup_id: int


@dataclass(frozen=True, slots=True)
class Workload:
    """One managed cgroup and what its owner said that it is worth."""

    ref: CgroupRef
    name: str
    priority: int
    protect: bool
    origin: Origin
    grace_usec: int | None = None  # the launcher's own grace between SIGTERM and kill; None: the policy's


@dataclass(frozen=True, slots=True)
class Usage:
    """What a workload holds. `freeable_bytes`: what a kill would give back (anon, shmem, unreclaimable slab, swap)."""

    current_bytes: int
    freeable_bytes: int


@dataclass(frozen=True, slots=True)
class HostMemory:
    """MemTotal, MemAvailable, SwapTotal, SwapFree as in /proc/meminfo, in bytes."""

    total_bytes: int
    available_bytes: int
    swap_total_bytes: int
    swap_free_bytes: int


@dataclass(frozen=True, slots=True)
class Candidate:
    """A workload as one snapshot saw it. `usage`: None where not read; `skip`: why it cannot be chosen, or empty."""

    workload: Workload
    usage: Usage | None = None
    skip: str = ""


@dataclass(frozen=True, slots=True)
class Amount:
    """A part of a total: percent of it, or bytes."""

    value: float
    is_pct: bool
    # A percentage in parts per million, which is as exact as it is taken: here and in the kernel module. It is derived
    # once: every look at the host asks for it.
    ppm: int = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        """Derive `ppm`."""
        object.__setattr__(self, "ppm", round(self.value * 10_000))

    def of(self, total_bytes: int) -> int:
        """This amount of `total_bytes`, in bytes."""
        return total_bytes * self.ppm // 1_000_000 if self.is_pct else int(self.value)

    def __str__(self) -> str:
        return f"{self.value:g}%" if self.is_pct else f"{int(self.value)}"


@dataclass(frozen=True, slots=True)
class Threshold:
    """A level is entered when MemAvailable and (on a host with swap) SwapFree are both at or below this."""

    mem_available: Amount
    swap_free: Amount


@dataclass(frozen=True, slots=True)
class HostPolicy:
    """When the host is short. `recover` is the line above which a warning ends (hysteresis)."""

    warn: Threshold = Threshold(Amount(10, True), Amount(10, True))
    kill: Threshold = Threshold(Amount(5, True), Amount(5, True))
    recover: Threshold = Threshold(Amount(12, True), Amount(12, True))


@dataclass(frozen=True, slots=True)
class Term:
    """SIGTERM to every process of the victim; past `grace_usec` it becomes a kill."""

    grace_usec: int = 10_000_000


@dataclass(frozen=True, slots=True)
class Kill:
    """One write to `cgroup.kill`."""


Rung = Term | Kill


@dataclass(frozen=True, slots=True)
class Ladder:
    """What is done at each level; an empty tuple means that nothing is."""

    warn: tuple[Rung, ...] = (Term(),)
    kill: tuple[Rung, ...] = (Kill(),)


@dataclass(frozen=True, slots=True)
class VictimPolicy:
    """Order among equals, and the time the host gets to recover after a victim is gone."""

    tie_break: tuple[TieBreak, ...] = (TieBreak.LARGEST, TieBreak.NEWEST)
    cooldown_usec: int = 500_000


@dataclass(frozen=True, slots=True)
class MatchRule:
    """A cgroup path pattern (`*` within a name, `**` across names) and what such a cgroup is worth."""

    cgroup: str
    priority: int | None = None
    protect: bool = False


@dataclass(frozen=True, slots=True)
class Policy:
    """Everything that an operator may decide. Every field has a default."""

    host: HostPolicy = HostPolicy()
    ladder: Ladder = Ladder()
    victim: VictimPolicy = VictimPolicy()
    workloads: tuple[MatchRule, ...] = ()


@dataclass(frozen=True, slots=True)
class Snapshot:
    """One consistent look at the host. `now_usec` is CLOCK_MONOTONIC; `candidates` may be in any order.

    `fill_bytes_per_sec` is the fastest that memory can plausibly be filled. `victim_populated` tells of the victim in
    flight; None where there is none.
    """

    now_usec: int
    memory: HostMemory
    fill_bytes_per_sec: int
    candidates: tuple[Candidate, ...] = ()
    victim_populated: bool | None = None


@dataclass(frozen=True, slots=True)
class Flight:
    """The one victim in flight: what it was sent last, and when that is considered to have failed."""

    workload: Workload
    killed: bool  # False: it has SIGTERM and its grace runs
    deadline_usec: int


@dataclass(frozen=True, slots=True)
class State:
    """What a decision leaves for the next one.

    `settled_usec`: when the last victim was gone; None once the level was OK. `relieved`: below KILL at times since.
    `stuck`: victims that would not die. `held`: a dry run has answered for this shortage already.
    """

    level: Level = Level.OK
    flight: Flight | None = None
    settled_usec: int | None = None
    relieved: bool = False
    stuck: frozenset[CgroupRef] = frozenset()
    held: bool = False


@dataclass(frozen=True, slots=True)
class Why:
    """The two halves of a reason: what was short, and why this victim and no other."""

    shortage: str
    choice: str


@dataclass(frozen=True, slots=True)
class TermAction:
    """Send SIGTERM to the whole victim."""

    candidate: Candidate
    why: Why


@dataclass(frozen=True, slots=True)
class KillAction:
    """Write `cgroup.kill` of the victim."""

    candidate: Candidate
    why: Why


Action = TermAction | KillAction


@dataclass(frozen=True, slots=True)
class Decision:
    """What to do now, what to remember, what to say (empty: nothing new), and when to look again at the latest."""

    actions: tuple[Action, ...]
    next_state: State
    says: tuple[str, ...] = ()
    wake_at_usec: int = 0


@dataclass(frozen=True, slots=True)
class Step:
    """One thing done to a victim: `what` is term, kill, reap or depopulated; `at_usec` counts from the decision."""

    what: str
    at_usec: int
    outcome: Outcome
    note: str = ""


@dataclass(frozen=True, slots=True)
class Considered:
    """One line of a record's order list."""

    name: str
    priority: int
    usage_bytes: int | None
    why: str


@dataclass(frozen=True, slots=True)
class Record:
    """One decision and what became of it: what was seen, who was considered, who was chosen, why, and how long it took.

    `kind`: `shortage` (the daemon), `manual` (`cgoom kill`), `kernel-oom` (the kernel killed at the workload's own
    limit), `armed-kill` (the module killed). `time_usec` is CLOCK_REALTIME of the decision.
    """

    record_id: str
    boot_id: str
    time_usec: int
    kind: str
    by: str
    level: Level
    victim: Workload
    usage_bytes: int | None
    memory: HostMemory
    why: Why
    considered: tuple[Considered, ...]
    candidates: int
    steps: tuple[Step, ...]
    outcome: Outcome
    note: str = ""
    available_after_bytes: int | None = None

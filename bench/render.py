"""The page with the table. Pure."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from statistics import geometric_mean

from bench.contestants import BEST, CONTESTANTS
from bench.cost import COST_MEMORY_MIB
from bench.measure import STANDSTILL_MS
from bench.scenario import SCENARIOS
from bench.summary import Fields, Pair, Row, Spread, chance_of, longer_share

# Whom everybody is compared with.
REFERENCE = "cgoom-best"
# Who is held against the best of PEERS where it is about the probe.
OURS = tuple(each.name for each in BEST if each.launched_by_cgoom)
PEERS = tuple(each.name for each in BEST if each.unit and not each.launched_by_cgoom)

Cell = Callable[[Row], str]
_KIB_PER_MIB = 1024
# Below this a share of so few random divisions is not told in digits.
_LEAST_CHANCE = 0.01
_USEC_PER_MSEC = 1000


def render_spread(spread: Spread | None, divisor: float = 1.0, digits: int = 0) -> str:
    """`293 (254-322)`; with `3/5` behind it where only some runs had such a moment, `-` where none had."""
    if spread is None:
        return "-"
    middle, least, most = (f"{value / divisor:.{digits}f}" for value in (spread.median, spread.least, spread.most))
    text = middle if least == most else f"{middle} ({least}-{most})"
    return text if spread.seen == spread.runs else f"{text} {spread.seen}/{spread.runs}"


def _field(name: str, divisor: float = 1.0, digits: int = 0) -> Cell:
    return lambda row: render_spread(row.spreads.get(name), divisor, digits)


def _median(*names: str, divisor: float = 1.0, digits: int = 0) -> Cell:
    def render(row: Row) -> str:
        spreads = [row.spreads.get(name) for name in names]
        return " / ".join("-" if spread is None else f"{spread.median / divisor:.{digits}f}" for spread in spreads)

    return render


_COLUMNS: dict[str, Cell] = {
    "scenario": lambda row: row.scenario,
    "contestant": lambda row: row.contestant,
    "right victim": lambda row: f"{row.right}/{row.runs}",
    "by": lambda row: row.by,
    "killed": lambda row: row.killed,
    "kernel oom_kill": _field("oom_kills"),
    "line, %": lambda row: f"{row.spreads['kill_share'].median * 100:g}",
    "crossing -> kill, ms": _field("kill_ms", digits=1),
    "-> empty, ms": _field("empty_ms", digits=1),
    "-> recovered, ms": _field("recovered_ms", digits=1),
    "below the line at the kill, MiB": _field("below_line_kib", _KIB_PER_MIB, 1),
    "MemAvailable at the kill, MiB": _field("available_at_kill_kib", _KIB_PER_MIB),
    "lowest, MiB": _field("lowest_available_kib", _KIB_PER_MIB),
    "probe worst, ms": _field("probe_worst_usec", _USEC_PER_MSEC, 1),
    "at, ms from the crossing": _field("probe_worst_at_ms"),
    "probe p99, ms": _field("probe_p99_usec", _USEC_PER_MSEC, 1),
    "turns": _field("probe_turns"),
    "left out": _field("probe_left_out"),
    "PSI some / full, ms": _median("psi_some_usec", "psi_full_usec", divisor=_USEC_PER_MSEC),
    "daemon CPU, ms": _field("daemon_usec", _USEC_PER_MSEC),
    "longest gap, ms": _field("longest_gap_ms"),
    "RSS / PSS / RssAnon, MiB": _median("rss_kib", "pss_kib", "rss_anon_kib", divisor=_KIB_PER_MIB, digits=1),
}
_STALLS_HEAD = (
    "The probe's worst stall beside cgoom and beside the peer whose median is the lowest, which is low by luck, too;",
    "then the scenarios of this table together, beside each peer that was in all of them. `longer`: in which share",
    "of all pairs of a run of either cgoom's is the longer, the mean of the scenarios: below 0.5 it is the shorter",
    "one. `chance`: in which share of random divisions of the runs of each scenario into two groups of this size it",
    "is so at least as often. Below 0.05 is commonly believed, and is what one row of twenty shows by luck. Who kills",
    "earlier has fewer turns of the probe (`turns` above) for a worst one.",
)


def render_page(rows: Sequence[Row], costs: Sequence[Fields], versions: Fields, skipped: Iterable[Fields]) -> str:
    """The whole page: versions and command, the one table, who was who, what was left out."""
    shown = {row.scenario for row in rows}
    ran = {row.contestant for row in rows}
    lines = [
        "# Every out-of-memory daemon side by side",
        "",
        f"Measured until {versions['date']} by (the revision of cgoom behind each)",
        "",
        *(f"    {command}" for command in versions["commands"]),
        "",
        ", ".join(f"{name} {version}" for name, version in versions.items() if name not in ("commands", "date")) + ".",
        "",
        "One boot of an emulated guest (QEMU TCG, 2 processors, each with one of the host's) for each scenario, all",
        "contestants once in each round: ratios hold, absolute times are longer than on a real machine. Median",
        "(range) of all runs; `n/N` where only n runs had such a moment. The crossing is when MemAvailable, and",
        "SwapFree where there is swap, were first at or below the contestant's own kill threshold (`line`; 10 % for",
        "who has none of the kind: oomd, systemd-oomd, the kernel); a kill",
        "before it has a time below zero. Right victim: the least important workload was the first to get SIGKILL;",
        "who sent it was read from the kernel's tracepoints. The longest gap is how long the measuring program,",
        "locked and real-time, was kept from its looks every 2 ms: where it is long, the guest stood still, and what",
        f"was taken beyond the line tells more than the times. Where it was {STANDSTILL_MS} ms or more, the probe's",
        "turns meanwhile are left out: the emulator stops the whole guest that long when its buffer for translations",
        "is full; what is due before every workload grows does not count. `-`: measured when they counted.",
        "",
        *render_rows([[*_COLUMNS, f"kill, times {REFERENCE}"], *(_render_row(row, rows) for row in rows)]),
        "",
        *(f"- **{name}**: {scenario.about}" for name, scenario in SCENARIOS.items() if name in shown),
        "",
        *(f"- **{name}**: {contestant.about}" for name, contestant in CONTESTANTS.items() if name in ran),
    ]
    if stalls := render_stalls(rows):
        lines += ["", *stalls]
    if costs:
        head = f"Without a shortage, in a guest of {COST_MEMORY_MIB} MiB; a look is due before memory can be filled."
        lines += ["", head, "", *render_costs(costs)]
    left_out = list(dict.fromkeys(map(render_left_out, skipped)))
    if left_out:
        lines += ["", "Left out:", "", *left_out]
    return "\n".join(lines) + "\n"


def render_left_out(line: Fields) -> str:
    """One line about a contestant that did not take part, or about a run that could not be made."""
    who = line.get("contestant", line["scenario"])
    if line["kind"] == "broken":
        return f"- {who}, run {line.get('run', 0)} of {line['scenario']}: {line['why'].strip().splitlines()[-1]}"
    return f"- {who}: {line['why']}"


def _render_row(row: Row, rows: Sequence[Row]) -> list[str]:
    return [*(cell(row) for cell in _COLUMNS.values()), render_ratio(row, rows)]


def render_ratio(row: Row, rows: Sequence[Row]) -> str:
    """How many times as long as REFERENCE it took from the crossing to the kill, by the medians of the scenario."""
    same = (other for other in rows if (other.scenario, other.contestant) == (row.scenario, REFERENCE))
    reference = next((other.spreads.get("kill_ms") for other in same), None)
    own = row.spreads.get("kill_ms")
    if own is None or reference is None or reference.median <= 0:
        return "-"
    return f"{own.median / reference.median:.1f}"


def render_stalls(rows: Sequence[Row]) -> list[str]:
    """The probe's worst stall beside cgoom and beside the best peer, and what the difference is worth.

    Beside a peer that was in every scenario nobody chose the lowest, and more runs tell more.
    """
    raced: dict[str, dict[str, Spread]] = {}
    for row in rows:
        if spread := row.spreads.get("probe_worst_usec"):
            raced.setdefault(row.scenario, {})[row.contestant] = spread
    raced = {scenario: each for scenario, each in raced.items() if each.keys() & set(PEERS) and each.keys() & set(OURS)}
    body = [
        [scenario, own, *_render_stall(each[own], {name: each[name] for name in PEERS if name in each})]
        for scenario, each in raced.items()
        for own in OURS
        if own in each
    ]
    body += _render_together(list(raced.values()))
    head = ["scenario", "contestant", "probe worst, ms", "best peer", "probe worst, ms", "ratio", "longer", "chance"]
    return [*_STALLS_HEAD, "", *render_rows([head, *body])] if body else []


def _render_stall(ours: Spread, peers: Mapping[str, Spread]) -> list[str]:
    best = min(peers, key=lambda name: peers[name].median)
    medians = ours.median / _USEC_PER_MSEC, peers[best].median / _USEC_PER_MSEC
    pairs = [(ours.values, peers[best].values)]
    return [f"{medians[0]:.1f}", best, f"{medians[1]:.1f}", *_render_shares(medians[0] / medians[1], pairs)]


def _render_together(raced: Sequence[Mapping[str, Spread]]) -> list[list[str]]:
    """What all scenarios say together; the ratio is the geometric mean of theirs."""
    body = []
    for own in OURS:
        for peer in PEERS:
            if len(raced) > 1 and all({own, peer} <= each.keys() for each in raced):
                ratio = geometric_mean(each[own].median / each[peer].median for each in raced)
                pairs = [(each[own].values, each[peer].values) for each in raced]
                body.append([f"all {len(raced)}", own, "", peer, "", *_render_shares(ratio, pairs)])
    return body


def _render_shares(ratio: float, pairs: Sequence[Pair]) -> list[str]:
    chance = chance_of(pairs)
    return [f"{ratio:.2f}", f"{longer_share(pairs):.2f}", f"{chance:.2f}" if chance >= _LEAST_CHANCE else "< 0.01"]


def render_costs(costs: Sequence[Fields]) -> list[str]:
    """What was measured without a shortage: one row for each measurement."""
    rows = [["measured", "of", "value"]]
    rows += [[each["what"], each["contestant"], str(each["value"])] for each in costs]
    return render_rows(rows)


def render_rows(rows: Sequence[Sequence[str]]) -> list[str]:
    """A Markdown table; the first row is its head."""
    head, *body = ["| " + " | ".join(cell.replace("|", "\\|") for cell in row) + " |" for row in rows]
    return [head, "|" + " --- |" * len(rows[0]), *body]

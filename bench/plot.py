"""The picture: crossing -> kill -> recovered, for every contestant of every scenario."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from bench.summary import Row

# Inches of one contestant's bar and of what a scenario needs around its bars.
_BAR_INCHES, _FRAME_INCHES, _WIDTH_INCHES = 0.32, 0.95, 10.0
# Milliseconds where the axis becomes logarithmic: contestants differ by a factor of a hundred, and some kill at once.
_LINEAR_MS = 10.0
_RIGHT, _WRONG, _RECOVERY = "#2a7f4f", "#b3392f", "#c9c9c9"


def write_plot(rows: Sequence[Row], path: Path) -> None:
    """Draw the medians, with a whisker over the range of the kills. Raises ImportError without matplotlib."""
    import matplotlib  # noqa: PLC0415 - everything else works without it

    matplotlib.use("svg")
    matplotlib.rcParams["svg.hashsalt"] = "cgoom"  # the same figures are the same file
    from matplotlib import pyplot  # noqa: PLC0415 - as above

    groups: dict[str, list[Row]] = {}
    for row in rows:
        if "kill_ms" in row.spreads:
            groups.setdefault(row.scenario, []).append(row)
    counts = [len(group) for group in groups.values()]
    heights = [count * _BAR_INCHES + _FRAME_INCHES for count in counts]
    figure, axes = pyplot.subplots(
        len(groups), 1, figsize=(_WIDTH_INCHES, sum(heights)), height_ratios=heights, squeeze=False
    )
    for axis, (scenario, group) in zip(axes[:, 0], groups.items(), strict=True):
        _draw(axis, scenario, sorted(group, key=lambda row: row.spreads["kill_ms"].median, reverse=True))
    figure.tight_layout()
    figure.savefig(path, metadata={"Date": None})
    pyplot.close(figure)


def _draw(axis: Any, scenario: str, group: Sequence[Row]) -> None:
    for at, row in enumerate(group):
        kill = row.spreads["kill_ms"]
        recovered = row.spreads.get("recovered_ms")
        if recovered is not None:
            axis.barh(at, max(0.0, recovered.median), color=_RECOVERY, height=0.7)
        axis.barh(at, kill.median, color=_RIGHT if row.right == row.runs else _WRONG, height=0.45)
        axis.plot([kill.least, kill.most], [at, at], color="black", linewidth=1.0, marker="|")
        end = max(kill.most, 0.0 if recovered is None else recovered.median)
        axis.annotate(f" {kill.median:.0f} ms", (end, at), va="center", fontsize=8)
    axis.set_xscale("symlog", linthresh=_LINEAR_MS)
    axis.set_yticks(range(len(group)), [f"{row.contestant} ({row.right}/{row.runs})" for row in group], fontsize=8)
    axis.set_title(f"{scenario}: ms from the kill threshold to SIGKILL (green: always the right victim) and recovery")
    axis.title.set_fontsize(9)
    axis.set_xlabel("ms", fontsize=8)
    axis.margins(x=0.12)
    axis.grid(axis="x", alpha=0.3)

"""When the order of the workloads changed, so that whoever keeps its beginning need not look again at every change."""

from __future__ import annotations

from bisect import bisect_right


class Changes:
    """Counts them. Whoever saw a generation sees nothing new in the same one."""

    def __init__(self) -> None:
        """There was none."""
        self.generation = 0
        # (priority, generation) of those that no later one covers: priorities fall, generations rise.
        self._last: list[tuple[int, int]] = []

    def note(self, priority: int) -> None:
        """Who of this priority may be chosen, or in which order, may have changed."""
        self.generation += 1
        while self._last and self._last[-1][0] <= priority:
            self._last.pop()
        self._last.append((priority, self.generation))

    def down_to(self, priority: int) -> int:
        """The generation of the last change among those of this priority or a larger number; 0: there was none."""
        count = bisect_right(self._last, -priority, key=lambda change: -change[0])
        return self._last[count - 1][1] if count else 0

"""What a change among those that are followed is a change of."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from cgoom.kernel.cgroup import open_cgroup
from cgoom.model import PRIORITY_MOST, Origin, Workload
from cgoom.observe.changes import Changes
from cgoom.observe.member import Member, Ranks


@pytest.mark.parametrize("protect", [True, False])
def test_who_is_shielded_or_not_any_more_may_have_any_priority(tmp_path: Path, protect: bool) -> None:
    ranks = Ranks(changes := Changes())

    def note(act: Callable[[Member], None], path: str) -> int:
        """The largest priority that this is a change of."""
        before = changes.generation
        with open_cgroup(str(tmp_path), path) as cgroup:
            act(Member(cgroup, Workload(cgroup.ref, path, 100, protect, Origin.MATCHED), True, {}))
        return max(priority for priority in range(PRIORITY_MOST + 1) if changes.down_to(priority) > before)

    for path in ("a/b", "a/c", "d/e"):
        (tmp_path / path).mkdir(parents=True)
    most = PRIORITY_MOST if protect else 100
    acts = [(ranks.add, "a/b"), (ranks.add, "a/c"), (ranks.add, "d/e"), (ranks.remove, "a/b"), (ranks.remove, "a/c")]
    assert [note(act, path) for act, path in acts] == [most, 100, most, 100, most]
    assert (ranks.shields("a"), ranks.shields("d")) == (False, protect)

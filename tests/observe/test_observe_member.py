"""What a change among those that are followed is a change of."""

from __future__ import annotations

from pathlib import Path

import pytest

from cgoom.kernel.cgroup import open_cgroup
from cgoom.model import PRIORITY_MOST, Origin, Workload
from cgoom.observe.changes import Changes
from cgoom.observe.member import Member, Ranks


@pytest.mark.parametrize(("protect", "changed"), [(False, 100), (True, PRIORITY_MOST)])
def test_whom_a_protected_one_shields_may_have_any_priority(tmp_path: Path, protect: bool, changed: int) -> None:
    (tmp_path / "above" / "below").mkdir(parents=True)
    ranks = Ranks(changes := Changes())
    with open_cgroup(str(tmp_path), "above/below") as cgroup:
        member = Member(cgroup, Workload(cgroup.ref, "below", 100, protect, Origin.MATCHED), True, {})
        for act, shields in ((ranks.add, protect), (ranks.remove, False)):
            before = changes.generation
            act(member)
            assert ranks.shields("above") == shields
            assert changes.down_to(changed) > before
            assert changes.down_to(changed + 1) == 0

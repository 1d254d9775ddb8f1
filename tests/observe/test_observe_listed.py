"""The list of who is not followed yet, beside one that is searched from end to end each time."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from cgoom.model import CgroupRef
from cgoom.observe.listed import Listed

Rows = list[tuple[int, str, int]]
PRIORITIES = st.integers(0, 3)
# Ids and paths are unique, in no order.
ROWS = st.lists(st.tuples(st.integers(1, 60), PRIORITIES), unique_by=lambda row: row[0], max_size=40).map(
    lambda found: [(cgroup_id, f"s/{cgroup_id}", priority) for cgroup_id, priority in found]
)
# What is taken: by path, or as the oldest or newest of a priority.
TAKES = st.lists(st.one_of(st.integers(1, 60), st.tuples(PRIORITIES, st.booleans())), max_size=60)


@given(ROWS, ROWS, TAKES)
def test_it_is_a_list_by_priority_and_age(before: Rows, rows: Rows, takes: list[int | tuple[int, bool]]) -> None:
    listed = Listed()
    listed.fill(before)
    listed.fill(rows)
    left = sorted(rows)
    for taken in takes:
        agree(listed, left)
        if isinstance(taken, int):
            row = next((row for row in left if row[0] == taken), None)
            assert listed.take(f"s/{taken}") == (row is not None)
        else:
            priority, oldest = taken
            equals = [row for row in left if row[2] == priority]
            row = (equals[0] if oldest else equals[-1]) if equals else None
            found = listed.find(priority, oldest=oldest)
            assert found == (None if row is None else CgroupRef(row[1], row[0]))
            assert found is None or listed.take(found.path)
        left = [other for other in left if other != row]
    agree(listed, left)


def agree(listed: Listed, left: Rows) -> None:
    """Everything that can be asked has the same answer."""
    priorities = {row[2] for row in left}
    assert len(listed) == len(left)
    assert set(listed.priorities()) == priorities
    assert listed.largest() == max(priorities, default=None)
    assert [listed.count(priority) for priority in range(4)] == [
        sum(row[2] == priority for row in left) for priority in range(4)
    ]
    assert all((f"s/{number}" in listed) == any(row[0] == number for row in left) for number in range(1, 61))

"""When each beginning of the order changed last, beside a log of all changes."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from cgoom.observe.changes import Changes

PRIORITIES = st.integers(0, 5)


@given(st.lists(PRIORITIES, max_size=30))
def test_it_is_a_log_of_all_changes(noted: list[int]) -> None:
    changes = Changes()
    for number, priority in enumerate(noted, start=1):
        changes.note(priority)
        for down_to in range(7):
            last = max((when for when, each in enumerate(noted[:number], start=1) if each >= down_to), default=0)
            assert changes.down_to(down_to) == last
    assert changes.generation == changes.down_to(0) == len(noted)

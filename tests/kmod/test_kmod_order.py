"""The armed order keeps the places that it was given."""

from __future__ import annotations

import ctypes

from hypothesis import given
from hypothesis import strategies as st

from .pure import ORDER_MAX, OrderC, load

IDS = st.one_of(st.integers(0, 20), st.integers(0, 2**64 - 1))


def append_all(ids: list[int]) -> OrderC:
    """The order after all of them."""
    order = OrderC()
    for cgroup_id in ids:
        load().order_append(ctypes.byref(order), cgroup_id)
    return order


def rank(order: OrderC, cgroup_id: int) -> int:
    """Where the module finds it."""
    return int(load().order_rank(ctypes.byref(order), cgroup_id))


@given(st.lists(IDS, max_size=ORDER_MAX), st.lists(IDS))
def test_the_first_time_counts_and_strangers_are_in_no_place(ids: list[int], others: list[int]) -> None:
    order = append_all(ids)
    distinct = list(dict.fromkeys(ids))
    assert order.count == len(distinct)
    assert [rank(order, each) for each in distinct] == list(range(len(distinct)))
    assert {rank(order, each) for each in set(others) - set(ids)} <= {ORDER_MAX}


def test_a_full_order_is_kept_whole() -> None:
    ids = list(range(ORDER_MAX, 0, -1))
    order = append_all(ids)
    assert [rank(order, each) for each in ids] == list(range(ORDER_MAX))
    assert rank(order, 0) == ORDER_MAX

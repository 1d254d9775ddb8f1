"""`Frozen` says what a frozen dataclass says."""

from __future__ import annotations

from dataclasses import dataclass

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cgoom.frozen import Frozen


class Ours(Frozen):
    """Two fields, one with a default, and a method."""

    size: int
    name: str = "x"

    def twice(self) -> int:
        """What a record may compute."""
        return 2 * self.size


@dataclass(frozen=True)
class Theirs:
    """The same as a dataclass."""

    size: int
    name: str = "x"


ARGUMENTS = st.tuples(
    st.lists(st.integers(0, 2), max_size=3),
    st.dictionaries(st.sampled_from(["size", "name", "other"]), st.integers(0, 2), max_size=3),
)


@given(ARGUMENTS, ARGUMENTS)
def test_it_takes_and_compares_what_a_dataclass_does(
    one: tuple[list[int], dict[str, int]], other: tuple[list[int], dict[str, int]]
) -> None:
    def make(kind: type, arguments: tuple[list[int], dict[str, int]]) -> object:
        try:
            return kind(*arguments[0], **arguments[1])
        except TypeError:
            return None

    ours, theirs = [make(Ours, one), make(Ours, other)], [make(Theirs, one), make(Theirs, other)]
    assert [made is None for made in ours] == [made is None for made in theirs]
    assert (ours[0] == ours[1]) == (theirs[0] == theirs[1])
    assert (hash(ours[0]) == hash(ours[1])) == (theirs[0] == theirs[1])
    assert [repr(made).replace("Ours", "Theirs") for made in ours] == [repr(made) for made in theirs]


def test_nothing_changes_it() -> None:
    made = Ours(3)
    with pytest.raises(AttributeError):
        made.size = 4  # type: ignore[misc]
    with pytest.raises(AttributeError):
        made.new = 4
    assert (made.twice(), made) == (6, Ours(size=3, name="x"))


def test_another_kind_of_record_is_another() -> None:
    class Alike(Frozen):
        size: int
        name: str = "x"

    assert Alike(1) != Ours(1)
    assert Ours(1) != (1, "x")

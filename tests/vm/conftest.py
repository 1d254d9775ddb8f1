"""Fixtures of the tests with the kernel module."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.support.family import Family
from tests.support.module import insert, is_inserted, remove, require_module
from tests.vm.cells import Cells, make_cells


@pytest.fixture
def module() -> Iterator[None]:
    """The module, fresh; as it was afterwards."""
    require_module()
    was_inserted = is_inserted()
    if was_inserted:
        remove()
    insert()
    yield
    remove()
    if was_inserted:
        insert()


@pytest.fixture
def no_module() -> Iterator[None]:
    """Not there; as it was afterwards."""
    was_inserted = is_inserted()
    if was_inserted:
        remove()
    yield
    if was_inserted:
        insert()


@pytest.fixture
def family(module: None) -> Iterator[Family]:
    """A socket for requests."""
    with Family() as found:
        yield found


@pytest.fixture
def cells() -> Iterator[Cells]:
    """Cgroups by hand."""
    with make_cells() as found:
        yield found

"""What xattrs may say; that they are written and read is proven on a real cgroup."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cgoom.errors import InputError
from cgoom.kernel.identity import (
    GRACE_MOST_USEC,
    Identity,
    parse_identity,
    read_identity,
    read_verdict,
    write_identity,
    write_priority,
)


def test_defaults() -> None:
    assert parse_identity(b"web", None, None, None) == Identity("web", 500, False, None)
    assert parse_identity(b"web", b"0", b"1", b"15") == Identity("web", 0, True, 15)


@pytest.mark.parametrize(
    "name", [b"", b"-x", b"a b", b"a\n", b"caf\xe9", "caf\u00e9".encode(), b"a/b", b"..", b"n" * 129]
)
def test_a_bad_name_spoils_it(name: bytes) -> None:
    assert parse_identity(name, b"1", b"0", None) is None


@pytest.mark.parametrize(
    "number", [b"", b"-1", b"1001", b"+1", b" 1", b"1\n", b"1_0", b"1\0", b"\xd9\xa3", b"9" * 65536]
)
def test_a_bad_priority_spoils_it(number: bytes) -> None:
    assert parse_identity(b"web", number, b"0", None) is None


@pytest.mark.parametrize("protect", [b"", b"2", b"true", b"1\n", b"00"])
def test_a_bad_protect_spoils_it(protect: bytes) -> None:
    assert parse_identity(b"web", b"1", protect, None) is None


@pytest.mark.parametrize("grace", [b"", b"-1", b"10s", b"1.5", b"9" * 16])
def test_a_bad_grace_spoils_it(grace: bytes) -> None:
    assert parse_identity(b"web", b"1", b"0", grace) is None


_VALUES = st.none() | st.binary() | st.from_regex(rb"[0-9]{1,16}", fullmatch=True)


@given(st.binary() | st.just(b"web"), _VALUES, _VALUES, _VALUES)
def test_never_raises_and_stays_in_range(
    name: bytes, priority: bytes | None, protect: bytes | None, grace: bytes | None
) -> None:
    identity = parse_identity(name, priority, protect, grace)
    if identity is not None:
        assert identity.name.encode() == name
        assert 0 <= identity.priority <= 1000
        assert identity.grace_usec is None or 0 <= identity.grace_usec <= GRACE_MOST_USEC


@pytest.mark.parametrize(
    "identity",
    [
        Identity("a/b", 1),
        Identity("a", -1),
        Identity("a", 1001),
        Identity("a", grace_usec=-1),
        Identity("a", grace_usec=GRACE_MOST_USEC + 1),
    ],
)
def test_what_cannot_be_read_back_is_not_written(tmp_path: Path, identity: Identity) -> None:
    fd = os.open(tmp_path, os.O_RDONLY)
    try:
        with pytest.raises(InputError):
            write_identity(fd, identity)
        with pytest.raises(InputError):
            write_priority(fd, 1001)
        assert os.listxattr(fd) == []
    finally:
        os.close(fd)


def test_a_plain_directory_has_none(tmp_path: Path) -> None:
    fd = os.open(tmp_path, os.O_RDONLY)
    try:
        assert read_identity(fd) is None
        assert read_verdict(fd) is None
    finally:
        os.close(fd)

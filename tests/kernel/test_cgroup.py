"""Cgroup on plain directories."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cgoom.errors import ConflictError, FormatError, GoneError, HostError, KernelError
from cgoom.kernel.cgroup import Cgroup, find_mount, open_cgroup, parse_cgroup2_mounts, parse_flat
from cgoom.kernel.libc import is_removed_directory
from cgoom.model import CgroupRef


@pytest.fixture
def root(tmp_path: Path) -> Iterator[Cgroup]:
    with open_cgroup(str(tmp_path)) as held:
        yield held


def test_identity_is_the_inode(root: Cgroup, tmp_path: Path) -> None:
    (tmp_path / "a.slice" / "b.scope").mkdir(parents=True)
    assert root.ref == CgroupRef("", tmp_path.stat().st_ino)
    with open_cgroup(root.fd, "a.slice/b.scope") as below, open_cgroup(str(tmp_path), "a.slice/b.scope") as again:
        assert below.ref == CgroupRef("a.slice/b.scope", (tmp_path / "a.slice/b.scope").stat().st_ino)
        assert again.ref == below.ref
    with open_cgroup(root.fd) as itself:
        assert itself.ref == root.ref


def test_close_twice_and_closes_once(tmp_path: Path) -> None:
    held = open_cgroup(str(tmp_path))
    fd = held.fd
    held.close()
    with pytest.raises(OSError, match="Bad file descriptor"):
        os.fstat(fd)
    held.close()


def test_descriptors_are_not_inherited(root: Cgroup, tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    with open_cgroup(root.fd, "a") as child:
        assert not os.get_inheritable(root.fd)
        assert not os.get_inheritable(child.fd)


@pytest.mark.parametrize("path", ["/etc", "a/..", "../a", "a//b", "a/", ".", "..", "a\0b", "a/\ud800"])
def test_a_path_has_one_spelling(root: Cgroup, tmp_path: Path, path: str) -> None:
    (tmp_path / "a" / "b").mkdir(parents=True)
    with pytest.raises(KernelError, match="not the path of a cgroup"):
        open_cgroup(root.fd, path)


def test_no_symbolic_link_is_followed(root: Cgroup, tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to("real")
    (tmp_path / "out").symlink_to("/")
    for path in ("link", "out/etc"):
        with pytest.raises(KernelError, match="symbolic links") as raised:
            open_cgroup(root.fd, path)
        assert not isinstance(raised.value, GoneError)


def test_no_other_mount_is_entered() -> None:
    with open_cgroup("/") as root, pytest.raises(KernelError, match="cross-device"):
        open_cgroup(root.fd, "proc/self")


def test_a_file_is_not_a_cgroup(root: Cgroup, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(KernelError, match="Not a directory"):
        open_cgroup(root.fd, "file")
    with pytest.raises(GoneError):
        open_cgroup(root.fd, "absent")
    with pytest.raises(GoneError):
        open_cgroup(str(tmp_path / "absent"))


def test_names_that_are_not_utf8(root: Cgroup, tmp_path: Path) -> None:
    (tmp_path / os.fsdecode(b"caf\xe9\nx")).mkdir()
    (name,) = root.children()
    with root.open_child(name) as child:
        assert os.fsencode(child.ref.path) == b"caf\xe9\nx"


def test_children(root: Cgroup, tmp_path: Path) -> None:
    (tmp_path / "cgroup.procs").write_text("")
    (tmp_path / "link").symlink_to("/")
    with root.make_child("a") as child:
        assert child.ref.path == "a"
        with child.make_child("b") as grandchild:
            assert grandchild.ref.path == "a/b"
        assert list(root.children()) == ["a"]
        with pytest.raises(ConflictError, match="a: a cgroup of that name exists"):
            root.make_child("a")
        with pytest.raises(KernelError, match="not empty"):
            root.remove_child("a")
        child.remove_child("b")
    root.remove_child("a")
    assert root.children() == {}
    with pytest.raises(GoneError):
        root.remove_child("a")


@pytest.mark.parametrize("name", ["", ".", "..", "a/b", "/", "a\0", "\ud800"])
def test_a_child_is_one_name(root: Cgroup, name: str) -> None:
    for method in (root.make_child, root.remove_child, root.open_child):
        with pytest.raises(KernelError, match="not the name of a child"):
            method(name)


def test_counts(root: Cgroup, tmp_path: Path) -> None:
    (tmp_path / "memory.current").write_text("18446744073709551615\n")
    (tmp_path / "memory.swap.current").write_text("0\n")
    assert root.read_memory_current() == 2**64 - 1
    assert root.read_memory_swap_current() == 0


@pytest.mark.parametrize(
    "text", ["", "\n", "max\n", "-1\n", "1 2\n", "1\n2\n", " 1\n", "1_0\n", "9" * 5000, "\u0663\n"]
)
def test_a_count_is_digits(root: Cgroup, tmp_path: Path, text: str) -> None:
    (tmp_path / "memory.current").write_text(text)
    with pytest.raises(FormatError, match=r"memory\.current: unexpected line"):
        root.read_memory_current()


def test_b14_a_controller_that_is_off(root: Cgroup) -> None:
    assert root.read_memory_current() is None
    assert root.read_memory_swap_current() is None
    assert root.read_memory_stat() == {}
    assert root.read_memory_events() == {}


def test_a_missing_file_is_not_a_missing_cgroup(root: Cgroup) -> None:
    for read in (root.read_populated, root.read_procs, root.write_kill, root.read_controllers):
        with pytest.raises(KernelError, match="no such file") as raised:
            read()
        assert not isinstance(raised.value, GoneError)
        assert raised.value.hint


def test_a_removed_cgroup_is_gone(root: Cgroup) -> None:
    with root.make_child("a") as held:
        root.remove_child("a")
        for use in (
            held.read_memory_current,
            held.read_memory_stat,
            held.read_memory_events,
            held.read_populated,
            held.read_procs,
            held.read_procs_recursive,
            held.children,
            held.write_kill,
            lambda: held.make_child("b"),
            lambda: held.open_child("b"),
        ):
            with pytest.raises(GoneError):
                use()


def test_a_successor_of_the_same_name_is_another(root: Cgroup) -> None:
    with root.make_child("a") as held:
        root.remove_child("a")
        with root.make_child("a") as successor:
            assert successor.read_memory_current() is None
            with pytest.raises(GoneError):
                held.read_memory_current()


def test_removed_directory_is_told_from_an_empty_one(tmp_path: Path) -> None:
    (tmp_path / "x").mkdir()
    fd = os.open(tmp_path / "x", os.O_RDONLY)
    try:
        assert not is_removed_directory(fd)
        assert not is_removed_directory(fd)
        (tmp_path / "x").rmdir()
        (tmp_path / "x (deleted)").mkdir()
        assert is_removed_directory(fd)
    finally:
        os.close(fd)


def test_memory_stat(root: Cgroup, tmp_path: Path) -> None:
    lines = [f"key_{number} {number}" for number in range(3000)]
    (tmp_path / "memory.stat").write_text("\n".join([*lines, ""]))
    stat = root.read_memory_stat()
    assert len(stat) == 3000
    assert stat["key_2999"] == 2999


def test_memory_events(root: Cgroup, tmp_path: Path) -> None:
    (tmp_path / "memory.events").write_text("low 0\noom 3\noom_kill 2\n")
    (tmp_path / "memory.events.local").write_text("low 0\noom 1\n")
    assert root.read_memory_events() == {"low": 0, "oom": 3, "oom_kill": 2}
    assert "oom_kill" not in root.read_memory_events(local=True)


@pytest.mark.parametrize("line", ["anon", "anon ", " 1", "anon -1", "anon 1 2", "anon  1", "", "anon 1\t"])
def test_flat_lines_are_strict(line: str) -> None:
    with pytest.raises(FormatError, match=r"^memory\.stat: unexpected line"):
        parse_flat(f"file 1\n{line}\nslab 2\n".encode(), "memory.stat")


@given(st.dictionaries(st.from_regex(r"[a-z_.0-9]{1,20}", fullmatch=True), st.integers(0, 2**64 - 1)))
def test_flat_comes_back(values: dict[str, int]) -> None:
    text = "".join(f"{key} {value}\n" for key, value in values.items())
    assert parse_flat(text.encode(), "x") == values


def test_an_error_is_one_short_line() -> None:
    with pytest.raises(FormatError) as raised:
        parse_flat(b"\x1b[31m\xff" + b"a" * 100_000, "x")
    assert raised.value.message.isprintable()
    assert len(raised.value.message) < 250


@given(st.binary())
def test_flat_has_one_error(text: bytes) -> None:
    try:
        values = parse_flat(text, "x")
    except FormatError:
        return
    assert all(0 <= value < 10**20 for value in values.values())


def test_populated(root: Cgroup, tmp_path: Path) -> None:
    events = tmp_path / "cgroup.events"
    events.write_text("populated 0\nfrozen 1\n")
    assert not root.read_populated()
    events.write_text("frozen 0\npopulated 1\n")
    assert root.read_populated()
    for text in ("", "populated 2\n", "populated\n", "xpopulated 1\n", "frozen 1\n"):
        events.write_text(text)
        with pytest.raises(FormatError):
            root.read_populated()


def test_procs(root: Cgroup, tmp_path: Path) -> None:
    for path, pids in (("a", "12\n0\n7\n"), ("a/b", ""), ("a/b/c", "9\n"), ("d", "5\n")):
        (tmp_path / path).mkdir()
        (tmp_path / path / "cgroup.procs").write_text(pids)
    with root.open_child("a") as a:
        assert a.read_procs() == [12, 7]
        assert sorted(a.read_procs_recursive()) == [7, 9, 12]
    (tmp_path / "a/b/c/cgroup.procs").write_text("-9\n")
    with root.open_child("a") as a, pytest.raises(FormatError, match=r"a/b/c/cgroup\.procs: unexpected line: '-9'"):
        a.read_procs_recursive()


def test_more_procs_than_one_read(root: Cgroup, tmp_path: Path) -> None:
    (tmp_path / "cgroup.procs").write_text("".join(f"{pid}\n" for pid in range(1, 30001)))
    assert root.read_procs() == list(range(1, 30001))


def test_a_tree_deeper_than_a_path_may_be_ends(root: Cgroup, tmp_path: Path) -> None:
    (tmp_path / "cgroup.procs").write_text("1\n")
    name = "n" * 250
    fds = [os.dup(root.fd)]
    try:
        for _ in range(20):
            os.mkdir(name, dir_fd=fds[-1])
            fds.append(os.open(name, os.O_RDONLY, dir_fd=fds[-1]))
            procs = os.open("cgroup.procs", os.O_CREAT | os.O_WRONLY, dir_fd=fds[-1])
            os.write(procs, b"2\n")
            os.close(procs)
        pids = root.read_procs_recursive()
        assert pids.count(2) == 4095 // 251
    finally:
        # pathlib and shutil cannot remove what is deeper than a path.
        for parent in reversed(fds[:-1]):
            child = fds.pop()
            os.unlink("cgroup.procs", dir_fd=child)
            os.close(child)
            os.rmdir(name, dir_fd=parent)
        os.close(fds.pop())


def test_writes(root: Cgroup, tmp_path: Path) -> None:
    for name in ("memory.max", "cgroup.kill"):
        (tmp_path / name).write_text("")
    root.write_control("memory.max", "4096")
    root.write_kill()
    assert root.read_control("memory.max") == "4096"
    assert (tmp_path / "cgroup.kill").read_text() == "1"
    fd = root.open_control("cgroup.kill", os.O_WRONLY)
    assert not os.get_inheritable(fd)
    os.close(fd)
    with pytest.raises(KernelError, match=r"memory\.high: no such file"):
        root.write_control("memory.high", "1")
    assert not (tmp_path / "memory.high").exists()


def test_controllers(root: Cgroup, tmp_path: Path) -> None:
    (tmp_path / "cgroup.controllers").write_text("cpu memory pids\n")
    assert root.read_controllers() == {"cpu", "memory", "pids"}
    (tmp_path / "cgroup.controllers").write_text("\n")
    assert root.read_controllers() == frozenset()


HYBRID = b"""\
24 1 0:22 / /sys/fs/cgroup rw - tmpfs tmpfs rw
25 24 0:23 / /sys/fs/cgroup/memory rw - cgroup cgroup rw,memory
26 24 0:24 /docker/x /run/cgroup2 rw shared:3 master:4 - cgroup2 cgroup2 rw
27 24 0:24 / /mnt/a\\040cgroup2\\012x rw,nosuid shared:4 - cgroup2 none rw
28 24 0:24 / /sys/fs/cgroup\\134 rw - cgroup2 none rw
"""


def test_mounts() -> None:
    assert parse_cgroup2_mounts(HYBRID) == ["/mnt/a cgroup2\nx", "/sys/fs/cgroup\\", "/run/cgroup2"]
    assert parse_cgroup2_mounts(b"1 2 3 / - cgroup2 x y\n - cgroup2 x\n") == []


@given(st.binary())
def test_mounts_never_raise(text: bytes) -> None:
    assert parse_cgroup2_mounts(text) is not None


def test_a_mount_is_believed_by_its_magic_only(tmp_path: Path) -> None:
    (tmp_path / "cgroup.controllers").write_text("memory\n")
    mountinfo = tmp_path / "mountinfo"
    mountinfo.write_text(f"1 2 0:1 / {tmp_path} rw - cgroup2 x rw\n1 2 0:1 / /absent/x rw - cgroup2 x rw\n")
    with pytest.raises(HostError, match="no cgroup2") as raised:
        find_mount(str(mountinfo))
    assert raised.value.hint

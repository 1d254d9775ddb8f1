"""Every malformed message is refused with an errno and a sentence, changes nothing, and leaves the log silent."""

from __future__ import annotations

import ctypes
import errno
import functools
import os
import pwd
import struct
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.support.family import (
    ARM,
    ARMED_KILL,
    DISARM,
    FILL,
    GET_STATS,
    KILL,
    LEVEL,
    MEM_KIB,
    MEM_PPM,
    NESTED,
    OOM,
    ORDER,
    RECOVER,
    SET_THRESHOLDS,
    SWAP_KIB,
    SWAP_PPM,
    WARN,
    Event,
    Family,
    as_user,
    pack_attribute,
    send_raw,
)
from tests.support.scene import find_cgroup2
from tests.vm.cells import Cells

pytestmark = pytest.mark.vm

ORDER_MAX = 256


def u32(value: int) -> bytes:
    return struct.pack("=I", value)


def u64(*values: int) -> bytes:
    return struct.pack(f"={len(values)}Q", *values)


def threshold(kind: int, *pairs: tuple[int, bytes]) -> bytes:
    """A nested THRESHOLD."""
    return pack_attribute(kind | NESTED, b"".join(pack_attribute(number, value) for number, value in pairs))


GOOD = ((MEM_PPM, u32(100_000)), (SWAP_PPM, u32(100_000)))
WARN_GOOD, KILL_GOOD, RECOVER_GOOD = (threshold(kind, *GOOD) for kind in (WARN, KILL, RECOVER))
REST = KILL_GOOD + RECOVER_GOOD
FILL_GOOD = pack_attribute(FILL, u64(1000))

# Each: the command, what follows its header. All of it is refused with EINVAL, ERANGE or EOPNOTSUPP and a sentence.
MALFORMED = {
    "stats: an attribute": (GET_STATS, pack_attribute(7, u32(1))),
    "stats: an unknown attribute": (GET_STATS, pack_attribute(999, b"")),
    "stats: trailing bytes": (GET_STATS, b"\1\2\3"),
    "disarm: an order": (DISARM, pack_attribute(ORDER, u64(2))),
    "thresholds: none": (SET_THRESHOLDS, b""),
    "thresholds: no kill": (SET_THRESHOLDS, WARN_GOOD + RECOVER_GOOD),
    "thresholds: no recover": (SET_THRESHOLDS, WARN_GOOD + KILL_GOOD),
    "thresholds: an empty nest": (SET_THRESHOLDS, threshold(WARN) + REST),
    "thresholds: a nest that is none": (SET_THRESHOLDS, pack_attribute(WARN, pack_attribute(MEM_PPM, u32(1))) + REST),
    "thresholds: garbage in the nest": (SET_THRESHOLDS, pack_attribute(WARN | NESTED, b"\xff" * 12) + REST),
    "thresholds: half an attribute in the nest": (SET_THRESHOLDS, pack_attribute(WARN | NESTED, b"\1\0\0") + REST),
    "thresholds: no swap": (SET_THRESHOLDS, threshold(WARN, GOOD[0]) + REST),
    "thresholds: no memory": (SET_THRESHOLDS, threshold(WARN, GOOD[1]) + REST),
    "thresholds: a share and a size": (SET_THRESHOLDS, threshold(WARN, *GOOD, (MEM_KIB, u64(1))) + REST),
    "thresholds: more than all": (SET_THRESHOLDS, threshold(WARN, (MEM_PPM, u32(1_000_001)), GOOD[1]) + REST),
    "thresholds: a size beyond bytes": (SET_THRESHOLDS, threshold(WARN, GOOD[0], (SWAP_KIB, u64(1 << 54))) + REST),
    "thresholds: a short share": (SET_THRESHOLDS, threshold(WARN, (MEM_PPM, b"\1\2"), GOOD[1]) + REST),
    "thresholds: a long share": (SET_THRESHOLDS, threshold(WARN, (MEM_PPM, u64(1)), GOOD[1]) + REST),
    "thresholds: a short size": (SET_THRESHOLDS, threshold(WARN, (MEM_KIB, u32(1)), GOOD[1]) + REST),
    "thresholds: an unknown kind": (SET_THRESHOLDS, threshold(WARN, *GOOD, (99, u32(1))) + REST),
    "thresholds: padding in the nest": (SET_THRESHOLDS, threshold(WARN, *GOOD, (1, b"")) + REST),
    "thresholds: no fill rate": (SET_THRESHOLDS, WARN_GOOD + REST + pack_attribute(FILL, u64(0))),
    "thresholds: a short fill rate": (SET_THRESHOLDS, WARN_GOOD + REST + pack_attribute(FILL, u32(1))),
    "thresholds: an order": (SET_THRESHOLDS, WARN_GOOD + REST + pack_attribute(ORDER, u64(2))),
    "thresholds: a level": (SET_THRESHOLDS, WARN_GOOD + REST + pack_attribute(8, u32(2))),
    "thresholds: a claim beyond the end": (SET_THRESHOLDS, pack_attribute(WARN | NESTED, b"", length=4000)),
    "thresholds: a claim of nothing": (SET_THRESHOLDS, pack_attribute(WARN | NESTED, b"", length=0)),
    "arm: nothing": (ARM, b""),
    "arm: nobody": (ARM, pack_attribute(ORDER, b"")),
    "arm: half an id": (ARM, pack_attribute(ORDER, b"\1\2\3\4")),
    "arm: an id and a half": (ARM, pack_attribute(ORDER, u64(2) + b"\1\2\3\4")),
    "arm: too many": (ARM, pack_attribute(ORDER, u64(*range(2, ORDER_MAX + 3)))),
    "arm: nested": (ARM, pack_attribute(ORDER | NESTED, u64(2))),
    "arm: a threshold": (ARM, pack_attribute(ORDER, u64(2)) + WARN_GOOD),
}
# What generic netlink itself refuses before it asks anybody; it has no words for it.
UNKNOWN_COMMANDS = (0, LEVEL, OOM, ARMED_KILL, 8, 255)


def settings_of(stats: Event) -> dict[str, object]:
    """What a request could have changed."""
    return {name: stats[name] for name in ("WARN", "KILL", "RECOVER", "FILL_KIB_PER_SEC", "ARMED")}


@pytest.fixture
def refused(family: Family, cells: Cells) -> Callable[..., str]:
    """Call it with what send_raw() takes: it must be refused, and change nothing. Returns the sentence."""
    family.arm([cells.add("armed", ["sleep", "3600"]).cgroup_id])
    before = settings_of(family.stats())
    assert before["ARMED"] == 1

    def refuse(number: int, codes: tuple[int, ...], cmd: int, body: bytes, **header: int | bool) -> str:
        code, said = send_raw(number, cmd, body, **header)  # type: ignore[arg-type]
        assert code in codes, f"{errno.errorcode.get(code, code)} {said!r}"
        assert settings_of(family.stats()) == before
        return said

    return refuse


def test_malformed_messages_are_refused_with_a_sentence(family: Family, refused: Callable[..., str]) -> None:
    codes = (errno.EINVAL, errno.ERANGE, errno.EOPNOTSUPP)
    said = {name: refused(family.number, codes, *message) for name, message in MALFORMED.items()}
    assert [name for name, sentence in said.items() if not sentence] == []


def test_headers_are_checked(family: Family, refused: Callable[..., str]) -> None:
    for version in (0, 2, 255):
        assert refused(family.number, (errno.EINVAL,), DISARM, b"", version=version)
    assert refused(family.number, (errno.EINVAL,), DISARM, b"", reserved=1)
    assert refused(family.number, (errno.EINVAL,), DISARM, b"", flags=0x400)
    refused(family.number, (errno.EINVAL,), 0, b"", header=False)
    refused(family.number, (errno.EINVAL,), 0, b"\1", header=False)
    refused(family.number, (errno.EOPNOTSUPP,), GET_STATS, b"", flags=0x300)  # a dump
    for cmd in UNKNOWN_COMMANDS:
        refused(family.number, (errno.EOPNOTSUPP,), cmd, b"")


def test_only_who_may_administer_the_network_may_change_anything(family: Family, refused: Callable[..., str]) -> None:
    uid = pwd.getpwnam("lab").pw_uid
    before = settings_of(family.stats())
    order = pack_attribute(ORDER, u64(2))
    for cmd, body in ((SET_THRESHOLDS, WARN_GOOD + REST), (ARM, order), (DISARM, b"")):
        assert as_user(uid, functools.partial(send_raw, family.number, cmd, body))[0] == errno.EPERM
    assert settings_of(family.stats()) == before
    assert as_user(uid, functools.partial(send_raw, family.number, GET_STATS, b"")) == (0, "")


def test_who_cannot_be_a_victim_is_not_armed(family: Family, refused: Callable[..., str]) -> None:
    root = os.stat(find_cgroup2()).st_ino
    for ids in ([root], [2, root], [root, 2]):
        sentence = refused(family.number, (errno.EINVAL,), ARM, pack_attribute(ORDER, u64(*ids)))
        assert "root cgroup" in sentence


def test_an_order_may_have_what_is_gone_and_what_comes_twice(family: Family, cells: Cells) -> None:
    one, other = cells.add("one", ["sleep", "3600"]), cells.add("other", ["sleep", "3600"])
    gone = 2**63 + 12345
    family.arm([one.cgroup_id, gone, one.cgroup_id, other.cgroup_id, gone])
    assert family.stats()["ARMED"] == 3
    family.arm(range(2**40, 2**40 + ORDER_MAX))
    assert family.stats()["ARMED"] == ORDER_MAX
    family.disarm()
    assert family.stats()["ARMED"] == 0


def test_a_cgroup_namespace_arms_what_it_sees(family: Family, cells: Cells) -> None:
    inside, outside = cells.add("box/inside", ["sleep", "3600"]), cells.add("outside", ["sleep", "3600"])

    def arm_from(box: Path, cgroup_id: int) -> tuple[int, str]:
        (box / "cgroup.procs").write_text("0", encoding="ascii")
        unshare_cgroup_namespace()
        return send_raw(family.number, ARM, pack_attribute(ORDER, u64(cgroup_id)))

    assert as_user(0, lambda: arm_from(inside.path.parent, inside.cgroup_id)) == (0, "")
    code, said = as_user(0, lambda: arm_from(inside.path.parent, outside.cgroup_id))
    assert (code, "namespace" in said) == (errno.EINVAL, True)


def unshare_cgroup_namespace() -> None:
    """unshare(CLONE_NEWCGROUP); os.unshare came with Python 3.12."""
    assert ctypes.CDLL(None, use_errno=True).unshare(0x02000000) == 0

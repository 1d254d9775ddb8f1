"""`kmod/level.c` and `kmod/order.c` as a shared object, and their structures for ctypes."""

from __future__ import annotations

import ctypes
import functools
import subprocess
import tempfile
from pathlib import Path

from cgoom.model import Amount, HostMemory, HostPolicy, Level, Threshold

KMOD = Path(__file__).resolve().parents[2] / "kmod"
SHIM = Path(__file__).with_name("shim")
FLAGS = ("-std=gnu11", "-O2", "-Wall", "-Wextra", "-Werror", "-fsanitize=undefined", "-fno-sanitize-recover=undefined")
ORDER_MAX = 256


class AmountC(ctypes.Structure):
    """`struct amount`: parts per million, or KiB."""

    _fields_ = [("value", ctypes.c_uint64), ("is_share", ctypes.c_bool)]  # noqa: RUF012 - as ctypes wants it


class ThresholdC(ctypes.Structure):
    """`struct threshold`."""

    _fields_ = [("mem", AmountC), ("swap", AmountC)]  # noqa: RUF012


class PolicyC(ctypes.Structure):
    """`struct level_policy`."""

    _fields_ = [  # noqa: RUF012
        ("warn", ThresholdC),
        ("kill", ThresholdC),
        ("recover", ThresholdC),
        ("fill_kib_per_sec", ctypes.c_uint64),
    ]


class SampleC(ctypes.Structure):
    """`struct sample`."""

    _fields_ = [  # noqa: RUF012
        (name, ctypes.c_uint64)
        for name in ("total_kib", "available_kib", "free_kib", "swap_total_kib", "swap_free_kib", "time_ns")
    ]


class _EntryC(ctypes.Structure):
    _fields_ = [("cgroup_id", ctypes.c_uint64), ("rank", ctypes.c_uint32)]  # noqa: RUF012


class OrderC(ctypes.Structure):
    """`struct order`."""

    _fields_ = [("count", ctypes.c_uint32), ("entry", _EntryC * ORDER_MAX)]  # noqa: RUF012


@functools.cache
def load() -> ctypes.CDLL:
    """The shared object, compiled once. Raises AssertionError."""
    with tempfile.TemporaryDirectory(prefix="cgoom-kmod-") as scratch:
        library = Path(scratch) / "pure.so"
        sources = [str(KMOD / name) for name in ("level.c", "order.c")]
        done = subprocess.run(
            ["cc", *FLAGS, "-shared", "-fPIC", f"-I{SHIM}", "-o", str(library), *sources],
            capture_output=True,
            text=True,
            check=False,
            timeout=120,
        )
        assert done.returncode == 0, done.stderr
        loaded = ctypes.CDLL(str(library))
    loaded.level_next_usec.restype = ctypes.c_uint64
    loaded.level_comes_near.restype = ctypes.c_bool
    loaded.order_append.argtypes = (ctypes.POINTER(OrderC), ctypes.c_uint64)
    loaded.order_append.restype = None
    loaded.order_rank.argtypes = (ctypes.POINTER(OrderC), ctypes.c_uint64)
    return loaded


def make_amount(amount: Amount) -> AmountC:
    """An amount as the daemon sends it: ppm of a percentage, KiB of a size."""
    if amount.is_pct:
        return AmountC(amount.ppm, True)
    return AmountC(int(amount.value) >> 10, False)


def make_policy(host: HostPolicy, fill_bytes_per_sec: int = 1 << 30) -> PolicyC:
    """A policy as the daemon sends it."""

    def make_threshold(threshold: Threshold) -> ThresholdC:
        return ThresholdC(make_amount(threshold.mem_available), make_amount(threshold.swap_free))

    thresholds = (make_threshold(each) for each in (host.warn, host.kill, host.recover))
    return PolicyC(*thresholds, fill_bytes_per_sec >> 10)


def make_sample(memory: HostMemory) -> SampleC:
    """A sample of whole KiB, as the kernel has no other."""
    kib = [each >> 10 for each in (memory.total_bytes, memory.available_bytes)]
    swap_kib = [each >> 10 for each in (memory.swap_total_bytes, memory.swap_free_bytes)]
    return SampleC(*kib, 0, *swap_kib, 0)


def raw_level_c(host: HostPolicy, memory: HostMemory) -> Level:
    """The module's answer to `raw_level`."""
    return Level(load().level_raw(ctypes.byref(make_policy(host)), ctypes.byref(make_sample(memory))))


def detect_c(host: HostPolicy, previous: Level, memory: HostMemory) -> Level:
    """The module's answer to `detect`."""
    sample = make_sample(memory)
    return Level(load().level_after(ctypes.byref(make_policy(host)), int(previous), ctypes.byref(sample)))


def next_usec_c(host: HostPolicy, level: Level, memory: HostMemory, fill_bytes_per_sec: int, near_usec: int = 0) -> int:
    """The module's answer to `next_sample_usec`; it looks, too, for when a threshold comes that near."""
    policy, sample = make_policy(host, fill_bytes_per_sec), make_sample(memory)
    near = ctypes.c_uint64(near_usec)
    return int(load().level_next_usec(ctypes.byref(policy), int(level), ctypes.byref(sample), near))


def comes_near_c(
    host: HostPolicy, level: Level, memory: HostMemory, fill_bytes_per_sec: int, near_usec: int
) -> tuple[bool, int]:
    """Whether the module says that a threshold comes near, and at what time to it it will say so next."""
    policy, sample = make_policy(host, fill_bytes_per_sec), make_sample(memory)
    near = ctypes.c_uint64(near_usec)
    told = load().level_comes_near(ctypes.byref(policy), int(level), ctypes.byref(sample), ctypes.byref(near))
    return bool(told), near.value

"""Builds the kernel module in a guest, with the guest's own headers, once for each version of its sources."""

from __future__ import annotations

import base64
import binascii
import hashlib
import time
from collections.abc import Callable
from pathlib import Path

from labkit.base import CHECKOUT, LabError, cache_dir, prune, say
from labkit.image import Image

SOURCE = CHECKOUT / "kmod"
NAME = "memory_info.ko"
# What the build reads; documents and what a build on the host left behind are not among it.
SOURCE_PATTERNS = ("*.c", "*.h", "uapi/*.h", "Kbuild", "Makefile")
# Modules kept, chosen: both kernels, for the branches of a day.
KEEP_MODULES = 20
# The checkout is read-only in the guest. Every check that the kernel's build has; a warning is a failure. Without its
# debug sections, a megabyte of them, the module is 90 KiB.
BUILD = """set -e
cp -r /work/cgoom/kmod /root/kmod
cd /root/kmod
make clean >/dev/null
make -j"$(nproc)" W=1 C=2 >../kmod.log 2>&1 || { cat ../kmod.log; exit 1; }
grep -q CHECK ../kmod.log
if grep -E 'warning|error' ../kmod.log; then exit 1; fi
strip --strip-debug memory_info.ko
base64 -w0 memory_info.ko
rm -r ../kmod ../kmod.log
"""


def ensure_module(image: Image, kernel: str, run: Callable[[str], tuple[int, bytes]]) -> Path:
    """Return the module of the checkout for a kernel; `run` runs a shell line in a guest with it. Raises LabError."""
    cached = cache_dir("modules") / f"{module_key(image, kernel)}.ko"
    if not cached.exists():
        say(f"building the kernel module for {kernel}")
        begun = time.monotonic()
        status, output = run(BUILD)
        if status != 0:
            raise LabError(f"the kernel module does not build:\n{output.decode(errors='replace').strip()[-4000:]}")
        try:
            built = base64.b64decode(output, validate=True)
        except binascii.Error as error:
            raise LabError(f"the kernel module did not arrive: {output[:200]!r}") from error
        partial = cached.with_suffix(f".{time.time_ns()}")
        partial.write_bytes(built)
        partial.rename(cached)
        say(f"built it in {time.monotonic() - begun:.0f} s")
    cached.touch()
    for old in prune(list(cached.parent.glob("*.ko")), KEEP_MODULES):
        old.unlink(missing_ok=True)
    return cached


def module_key(image: Image, kernel: str) -> str:
    """Return the key of the module that the present sources make in a guest."""
    digest = hashlib.sha256(f"{image.key}\0{kernel}".encode())
    sources = {path for pattern in SOURCE_PATTERNS for path in SOURCE.glob(pattern) if ".mod." not in path.name}
    for path in sorted(sources):
        digest.update(b"\0" + str(path.relative_to(SOURCE)).encode() + b"\0" + path.read_bytes())
    return digest.hexdigest()[:16]

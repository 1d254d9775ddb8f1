"""Finds out whether KVM works here. The device alone proves nothing: on some hosts a stock kernel hangs on it."""

from __future__ import annotations

import json
import os
import subprocess
import tempfile
import time
from pathlib import Path

from labkit.base import LabError, cache_dir, say
from labkit.guest import KVM, TCG
from labkit.image import Image

# Seconds for the lab's kernel to boot into "no root file system" under KVM. Chosen: it takes about one where KVM works,
# and forever where it does not.
PROBE_SECONDS = 10.0
# Words of a kernel that got through its own start and found no disk.
_PROOF = b"Kernel panic"


def accelerator(image: Image) -> tuple[str, ...]:
    """Return the QEMU arguments of the accelerator to use: CGOOM_LAB_ACCEL's, or what the probe says."""
    wanted = os.environ.get("CGOOM_LAB_ACCEL", "")
    if wanted not in ("", "tcg", "kvm"):
        raise LabError(f"CGOOM_LAB_ACCEL is {wanted!r}", "it must be tcg or kvm, or not be set")
    if wanted:
        return KVM if wanted == "kvm" else TCG
    return KVM if kvm_works(image) else TCG


def kvm_works(image: Image) -> bool:
    """Tell whether KVM boots the lab's kernel, from the cache or by trying."""
    if not os.access("/dev/kvm", os.R_OK | os.W_OK):
        return False
    answers = cache_dir() / "kvm.json"
    key = f"{os.uname().release} {image.key}"
    try:
        known = json.loads(answers.read_text(encoding="utf-8"))
    except (FileNotFoundError, ValueError):
        known = {}
    if known.get("key") == key:
        return bool(known["works"])
    say(f"trying KVM, for at most {PROBE_SECONDS:g} s")
    works = _probe(image)
    say(f"KVM {'works' if works else 'does not work'} here")
    scratch = answers.with_suffix(f".{os.getpid()}")
    scratch.write_text(json.dumps({"key": key, "works": works}) + "\n", encoding="utf-8")
    scratch.replace(answers)
    return works


def _probe(image: Image) -> bool:
    series = "6.1"
    argv = ["qemu-system-x86_64", *KVM, "-nodefaults", "-no-user-config", "-no-reboot", "-display", "none"]
    argv += ["-m", "256", "-smp", "2", "-kernel", str(image.kernel(series))]
    with tempfile.TemporaryDirectory(prefix="cgoom-lab-kvm-") as scratch:
        console = Path(scratch) / "console"
        console.touch()
        argv += ["-append", "console=ttyS0 panic=-1", "-serial", f"file:{console}"]
        process = subprocess.Popen(argv, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        end = time.monotonic() + PROBE_SECONDS
        try:
            while time.monotonic() < end and process.poll() is None and _PROOF not in console.read_bytes():
                time.sleep(0.1)
            return _PROOF in console.read_bytes()
        finally:
            process.kill()
            process.wait()

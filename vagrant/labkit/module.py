"""Builds the kernel module with a guest's own headers, taken out of its image, once for each version of its sources.

On the host, which is as old a Debian as the image: the emulated guest took 100 - 330 s for what takes 15 s here.
"""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import subprocess
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

from labkit.base import CHECKOUT, LabError, cache_dir, prune, say
from labkit.image import Image, Progress

SOURCE = CHECKOUT / "kmod"
NAME = "memory_info.ko"
# What the build reads; documents and what a build on the host left behind are not among it.
SOURCE_PATTERNS = ("*.c", "*.h", "uapi/*.h", "Kbuild", "Makefile")
# Modules kept, chosen: both kernels, for the branches of a day.
KEEP_MODULES = 20
# Program or library -> Debian package, for the host. objtool of the headers needs the library; pahole is what headers
# that bring a vmlinux make the module's type information with.
TOOLS = {
    "debugfs": "e2fsprogs",
    "gcc": "gcc",
    "make": "make",
    "sparse": "sparse",
    "libelf.so.1": "libelf1",
    "pahole": "pahole",
}
LIBRARIES = Path("/usr/lib/x86_64-linux-gnu")
PATH = os.environ.get("PATH", "") + ":/usr/sbin:/sbin"
# Seconds to unpack the headers, or to build. Chosen: twenty times what either takes.
STEP_SECONDS = 300


def ensure_module(image: Image, kernel: str) -> Path:
    """Return the module of the checkout for a kernel of the image. Raises LabError."""
    cached = cache_dir("modules") / f"{module_key(image, kernel)}.ko"
    if not cached.exists():
        say(f"building the kernel module for {kernel}")
        begun = time.monotonic()
        _ensure_tools()
        with tempfile.TemporaryDirectory(prefix="cgoom-lab-module-") as scratch:
            built = _build(Path(scratch), _unpack_headers(image, kernel, Path(scratch)))
            partial = cached.with_suffix(f".{os.getpid()}")
            shutil.copyfile(built, partial)
        partial.rename(cached)
        say(f"built it in {time.monotonic() - begun:.0f} s")
    cached.touch()
    for old in prune(list(cached.parent.glob("*.ko")), KEEP_MODULES):
        old.unlink(missing_ok=True)
    return cached


def module_key(image: Image, kernel: str) -> str:
    """Return the key of the module that the present sources make for a kernel of the image."""
    digest = hashlib.sha256(f"{image.key}\0{kernel}".encode())
    sources = {path for pattern in SOURCE_PATTERNS for path in SOURCE.glob(pattern) if ".mod." not in path.name}
    for path in sorted(sources):
        digest.update(b"\0" + str(path.relative_to(SOURCE)).encode() + b"\0" + path.read_bytes())
    return digest.hexdigest()[:16]


def _ensure_tools() -> None:
    missing = [
        package for tool, package in TOOLS.items() if not (shutil.which(tool, path=PATH) or (LIBRARIES / tool).exists())
    ]
    if missing:
        install = ["apt-get", "install", "-y", "--no-install-recommends", *missing]
        Progress().run(f"installing {' '.join(missing)} on the host", install)


def _unpack_headers(image: Image, kernel: str, scratch: Path) -> Path:
    """Take the headers out of the image, without mounting it; return their directory."""
    listed = _run(["debugfs", "-R", "ls -p /usr/src", str(image.disk)]).split("/")
    (headers,) = [name for name in listed if re.fullmatch(rf"linux-headers-{re.escape(kernel)}\..*-amd64", name)]
    common = headers.removesuffix("-amd64") + "-common"
    for parent in ("usr/src", "usr/lib"):
        (scratch / parent).mkdir(parents=True)
    for path in (f"/usr/src/{headers}", f"/usr/src/{common}"):
        _run(["debugfs", "-R", f"rdump {path} {scratch}/usr/src", str(image.disk)])
    # The link into /usr/lib says which version of the build's programs these headers use.
    programs = (scratch / "usr/src" / headers / "scripts").readlink().parent.name
    _run(["debugfs", "-R", f"rdump /usr/lib/{programs} {scratch}/usr/lib", str(image.disk)])
    makefile = scratch / "usr/src" / headers / "Makefile"
    makefile.write_text(makefile.read_text(encoding="ascii").replace("/usr/", f"{scratch}/usr/"), encoding="ascii")
    return makefile.parent


def _build(scratch: Path, headers: Path) -> Path:
    """Build with every check that the kernel's build has; a warning is a failure. Return the module."""
    source = scratch / "kmod"
    shutil.copytree(SOURCE, source, ignore=shutil.ignore_patterns("*.o", "*.ko", "*.mod*", ".*.cmd", "Module.symvers"))
    said = _run(["make", "-C", str(source), f"KDIR={headers}", f"-j{os.cpu_count() or 1}", "W=1", "C=2"])
    if "CHECK" not in said or re.search("warning|error", said):
        raise LabError(f"the kernel module does not build without a warning:\n{said[-4000:]}")
    # Its debug sections are a megabyte, the rest is 90 KiB.
    _run(["strip", "--strip-debug", str(source / NAME)])
    return source / NAME


def _run(argv: Sequence[str]) -> str:
    """Run a step; return what it said. Raises LabError."""
    environment = {**os.environ, "PATH": PATH, "LC_ALL": "C.UTF-8"}
    # A build within a build: what `make test` was told is not for this one.
    environment = {
        name: value for name, value in environment.items() if name not in ("MAKEFLAGS", "MAKELEVEL", "MFLAGS")
    }
    done = subprocess.run(
        argv,
        env=environment,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
        check=False,
        timeout=STEP_SECONDS,
    )
    if done.returncode != 0:
        raise LabError(f"{' '.join(argv[:3])} failed with status {done.returncode}:\n{done.stdout.strip()[-4000:]}")
    return done.stdout

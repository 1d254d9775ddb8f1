"""The guest's disk image: one ext4 file with both kernels in it, and the kernels and initrds next to it.

Rules of this file:
- An image is complete or absent: it is built in a directory of its own and renamed.
- Its key is the sha256 of everything it is made from, so a changed input is a new image and never a stale one.
- It takes packages from where the host takes its own; no mirror is written down here.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
import subprocess
import tempfile
import threading
import time
from collections.abc import Sequence
from pathlib import Path

from labkit.base import KERNELS, VAGRANT, LabError, cache_dir, locked, prune, say

SUITE = "bookworm"
PROVISION = VAGRANT / "provision.sh"
# What the image is made from, besides the packages that provision.sh lists.
INPUTS = (
    PROVISION,
    *(
        VAGRANT / "labkit" / name
        for name in ("__init__.py", "agent.py", "port.py", "wire.py", "lab-agent.service", "lab.slice")
    ),
    Path(__file__).resolve(),
)
# Tool -> Debian package, for the host.
HOST_TOOLS = {"qemu-system-x86_64": "qemu-system-x86", "mmdebstrap": "mmdebstrap", "mke2fs": "e2fsprogs"}
# Size of the disk, chosen: the system takes 1.5 GB, the rest is for tests; the file is sparse.
DISK_SIZE = "6G"
# Memory that must be free to unpack the system there instead of on disk. Measured: the system takes 1.3 GiB, the rest
# is left to the host; unpacking and removing it took 46 s in memory and 390 s on a busy disk.
SCRATCH_BYTES = 6 * 1024**3
# Images kept, chosen: the current one and the one of the branch one came from.
KEEP_IMAGES = 2
# Seconds of silence until a step says that it is still at work. Chosen.
HEARTBEAT_SECONDS = 15
# An initrd with just this loads in a second under TCG; Debian's default has some 40 MB of drivers.
INITRD_MODULES = ("virtio_pci", "virtio_blk", "ext4")
# Manual pages and translations, which nobody reads in a guest and which cost build time.
UNWANTED_PATHS = ("/usr/share/man/*", "/usr/share/doc/*", "/usr/share/locale/*", "/usr/share/info/*")

# Debian's own sources of our suite, its updates and its security fixes, in apt's two notations.
_OUR_LINE = re.compile(rf"deb\s+(\[[^]]*\]\s+)?\S+\s+{SUITE}(-\S+)?\s+main\b")
_OUR_STANZA = re.compile(rf"^Suites:(.*\s)?{SUITE}(-\S+)?(\s|$)", re.MULTILINE)


class Image:
    """A complete image in the cache."""

    def __init__(self, directory: Path) -> None:
        """Describe the image in `directory`."""
        self.directory = directory
        self.key = directory.name
        self.disk = directory / "disk.img"

    def kernel(self, series: str) -> Path:
        """Return the kernel of a series ("6.1")."""
        return self.directory / f"vmlinuz-{series}"

    def initrd(self, series: str) -> Path:
        """Return the initrd of a series."""
        return self.directory / f"initrd-{series}"


def image_key() -> str:
    """Return the key of the image that the present inputs make."""
    digest = hashlib.sha256(SUITE.encode())
    for path in INPUTS:
        digest.update(b"\0" + path.name.encode() + b"\0" + path.read_bytes())
    return digest.hexdigest()[:16]


def ensure_image() -> Image:
    """Return the image of the present inputs, building it when it is not in the cache."""
    images = cache_dir("images")
    directory = images / image_key()
    if not directory.is_dir():
        with locked(cache_dir() / "build.lock", "another build is running, waiting for it"):
            if not directory.is_dir():
                _build(directory)
    os.utime(directory)
    for old in prune([path for path in images.iterdir() if not path.name.startswith(".")], KEEP_IMAGES):
        say(f"removing the old image {old.name}")
        shutil.rmtree(old, ignore_errors=True)
    return Image(directory)


def _build(directory: Path) -> None:
    if os.geteuid() != 0:
        raise LabError("building the image takes root", "run vagrant/lab build as root once")
    progress = Progress()
    _ensure_host_tools(progress)
    for left in directory.parent.glob(".build-*"):  # of a build that was killed: the lock says that none runs now
        shutil.rmtree(left)
    work = Path(tempfile.mkdtemp(prefix=".build-", dir=directory.parent))
    scratch = Path(tempfile.mkdtemp(prefix="cgoom-lab-root-", dir=_scratch_parent(directory.parent)))
    try:
        root = scratch / "root"
        _make_root(root, progress)
        versions = _take_kernels(root, work)
        progress.run("writing the disk image", _mke2fs_argv(root, work / "disk.img"))
        manifest = {"suite": SUITE, "kernels": versions, "build_seconds": round(progress.elapsed())}
        (work / "manifest.json").write_text(json.dumps(manifest, indent=2) + "\n", encoding="utf-8")
        work.chmod(0o755)
        work.rename(directory)
    except BaseException:
        shutil.rmtree(work, ignore_errors=True)
        raise
    finally:
        shutil.rmtree(scratch, ignore_errors=True)
    progress.say(f"image {directory.name} is complete: kernels {', '.join(versions.values())}")


def _scratch_parent(fallback: Path) -> Path:
    """Return where to unpack the system: in memory when there is room for it, else in the cache."""
    memory = Path("/dev/shm")
    if not memory.is_dir():
        return fallback
    room = os.statvfs(memory)
    available = next(
        int(line.split()[1]) * 1024
        for line in Path("/proc/meminfo").read_text(encoding="ascii").splitlines()
        if line.startswith("MemAvailable:")
    )
    # mmdebstrap makes device nodes and runs programs in there.
    fit = not room.f_flag & (os.ST_NODEV | os.ST_NOEXEC)
    return memory if fit and min(room.f_bavail * room.f_frsize, available) > SCRATCH_BYTES else fallback


def _make_root(root: Path, progress: Progress) -> None:
    packages = _output([str(PROVISION), "packages"]).strip()
    argv = ["mmdebstrap", "--mode=root", "--variant=apt", "--format=directory", f"--include={packages}"]
    argv += [f"--dpkgopt=path-exclude={path}" for path in UNWANTED_PATHS]
    modules = "\\n".join(INITRD_MODULES)
    argv += [
        '--essential-hook=mkdir -p "$1/etc/initramfs-tools/conf.d" "$1/usr/share/initramfs-tools/modules.d"',
        '--essential-hook=echo MODULES=list >"$1/etc/initramfs-tools/conf.d/cgoom-lab"',
        f'--essential-hook=printf "{modules}\\n" >"$1/usr/share/initramfs-tools/modules.d/cgoom-lab"',
        '--customize-hook=mkdir -p "$1/tmp/lab/labkit" "$1/work/cgoom" "$1/wheel" "$1/out"',
        f'--customize-hook=cp "{PROVISION}" "$1/tmp/lab/"',
        *(f'--customize-hook=cp "{path}" "$1/tmp/lab/labkit/"' for path in INPUTS[1:-1]),
        '--customize-hook=chroot "$1" sh /tmp/lab/provision.sh configure',
        '--customize-hook=rm -r "$1/tmp/lab"',
        # A fixed machine id: without one the first boot would enable every unit its presets name.
        '--customize-hook=echo c600c600c600c600c600c600c600c600 >"$1/etc/machine-id"',
        '--customize-hook=echo lab >"$1/etc/hostname"',
        '--customize-hook=echo "127.0.0.1 localhost lab" >"$1/etc/hosts"',
        '--customize-hook=chroot "$1" passwd -d root',
    ]
    with tempfile.TemporaryDirectory(prefix="cgoom-lab-apt-") as scratch:
        progress.run("unpacking Debian", [*argv, SUITE, str(root), *_apt_sources(Path(scratch))])


def _apt_sources(scratch: Path) -> list[str]:
    """Return files with the host's own apt sources of our suite, for mmdebstrap."""
    one_line: list[str] = []
    stanzas: list[str] = []
    for path in (Path("/etc/apt/sources.list"), *sorted(Path("/etc/apt/sources.list.d").glob("*"))):
        if path.suffix == ".list" and path.is_file():
            lines = path.read_text(encoding="utf-8").splitlines()
            one_line += [line for line in lines if _OUR_LINE.match(line)]
        elif path.suffix == ".sources":
            parts = re.split(r"\n\s*\n", path.read_text(encoding="utf-8"))
            stanzas += [part for part in parts if _OUR_STANZA.search(part)]
    files = []
    for name, parts, glue in (("host.list", one_line, "\n"), ("host.sources", stanzas, "\n\n")):
        if parts:
            (scratch / name).write_text(glue.join(parts) + "\n", encoding="utf-8")
            files.append(str(scratch / name))
    if not files:
        raise LabError(f"the host has no apt source of {SUITE}", "the lab needs a Debian 12 host")
    return files


def _take_kernels(root: Path, work: Path) -> dict[str, str]:
    """Copy both kernels and initrds out of the system's /boot; return series -> release."""
    releases = {}
    for series in KERNELS:
        found = sorted((root / "boot").glob(f"vmlinuz-{series}.*"))
        if not found:
            raise LabError(f"the system has no kernel {series} in /boot")
        release = found[-1].name.removeprefix("vmlinuz-")
        shutil.copyfile(found[-1], work / f"vmlinuz-{series}")
        shutil.copyfile(root / "boot" / f"initrd.img-{release}", work / f"initrd-{series}")
        releases[series] = release
    return releases


def _mke2fs_argv(root: Path, disk: Path) -> list[str]:
    # No journal: every run throws its changes away, and recovery would cost boot time.
    return [_tool("mke2fs"), "-q", "-t", "ext4", "-O", "^has_journal", "-m", "0", "-d", str(root), str(disk), DISK_SIZE]


def _tool(name: str) -> str:
    found = shutil.which(name, path=os.environ.get("PATH", "") + ":/usr/sbin:/sbin")
    if found is None:
        raise LabError(f"{name} is missing", f"apt-get install {HOST_TOOLS[name]}")
    return found


def _ensure_host_tools(progress: Progress) -> None:
    path = os.environ.get("PATH", "") + ":/usr/sbin:/sbin"
    missing = [package for tool, package in HOST_TOOLS.items() if shutil.which(tool, path=path) is None]
    if not missing:
        return
    install = ["apt-get", "install", "-y", "--no-install-recommends", *missing]
    try:
        progress.run(f"installing {' '.join(missing)} on the host", install)
    except LabError:  # package lists too old, or none at all
        progress.run("refreshing the host's package lists", ["apt-get", "update"])
        progress.run(f"installing {' '.join(missing)} on the host", install)


def _output(argv: Sequence[str]) -> str:
    done = subprocess.run(argv, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise LabError(f"{argv[0]} failed: {done.stderr.strip()}")
    return done.stdout


class Progress:
    """Says what the build does, with the seconds since it began."""

    def __init__(self) -> None:
        """Begin."""
        self._start = time.monotonic()
        self._last = self._start

    def elapsed(self) -> float:
        """Return the seconds since the build began."""
        return time.monotonic() - self._start

    def say(self, message: str) -> None:
        """Write one line of progress."""
        self._last = time.monotonic()
        say(f"[{self.elapsed():4.0f} s] {message}")

    def run(self, title: str, argv: Sequence[str]) -> None:
        """Run one step; show its own progress lines, and the end of its output when it fails."""
        self.say(title)
        environment = {**os.environ, "DEBIAN_FRONTEND": "noninteractive", "LC_ALL": "C.UTF-8"}
        lines: list[str] = []
        done = threading.Event()
        heart = threading.Thread(target=self._beat, args=(title, done), daemon=True)
        heart.start()
        try:
            with subprocess.Popen(
                argv,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                env=environment,
                text=True,
                errors="replace",
            ) as process:
                assert process.stdout is not None
                for line in process.stdout:
                    lines.append(line)
                    if line.startswith("I: ") and "-hook in shell" not in line:
                        self.say(line[3:].strip())
        except FileNotFoundError as error:
            raise LabError(f"{argv[0]} is missing") from error
        finally:
            done.set()
        if process.returncode != 0:
            raise LabError(f"{title} failed:\n{''.join(lines[-30:])}")

    def _beat(self, title: str, done: threading.Event) -> None:
        while not done.wait(1):
            if time.monotonic() - self._last > HEARTBEAT_SECONDS:
                self.say(f"still {title}")

"""One guest: its QEMU process, its disks, its shares and its console log.

Rules of this file:
- A guest owns a run directory in the cache and holds a lock in it for as long as QEMU lives, so that whoever comes
  later can tell a guest from what a killed one left behind.
- The image is never written: QEMU's temporary snapshot takes the changes and goes with the run.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import shutil
import socket
import subprocess
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

from labkit import wire
from labkit.base import CHECKOUT, Deadline, GuestLostError, LabError, cache_dir, locked, prune, say
from labkit.image import Image

# Console logs kept. Chosen: a day's work.
KEEP_CONSOLES = 20
# MiB and processors of a guest. Chosen: small enough to run out of memory in seconds; measured to be enough to boot.
DEFAULT_MEMORY_MIB = 1024
DEFAULT_CPUS = 2
# Seconds a guest may take until its agent answers. Measured under TCG: 10 - 20 on an idle host; the rest is for a host
# that is busy with other guests.
BOOT_SECONDS = 240.0

SWAP_DEVICE = "/dev/vdb"

# Measured: with plain `-cpu max` an out-of-memory phase stalls for 2 - 40 s, because `rep stosb` into pages that once
# held code makes QEMU drop translations byte by byte; without erms it takes 1.3 s with a buffer of 32 MiB for
# translations, 2.0 - 2.6 s with 256. In 32 MiB no program finds its own again after another one has run: a launch took
# 1.2 s instead of 0.45, systemd-run 0.55 instead of 0.27.
# No cx16: an interrupt right behind a `cmpxchg16b` has met flags that no processor has (EFLAGS 3ff3f3c2), of which the
# guest died in a double fault; seen once, with QEMU 7.2.
TCG = ("-accel", "tcg,thread=multi,tb-size=256", "-cpu", "max,-erms,-cx16")
KVM = ("-accel", "kvm", "-cpu", "host")

# Drivers of the emulated board that no test needs. Without them and the idle units below, `run -- true` took 18.2 s
# instead of 20.9 s on an idle host (measured once each, TCG).
_UNWANTED_MODULES = (
    "floppy,ata_generic,ata_piix,psmouse,serio_raw,pcspkr,evdev,i2c_piix4,powernow_k8,acpi_cpufreq,kvm_amd,kvm_intel,ccp,"
    "aesni_intel,ghash_clmulni_intel,sha512_ssse3,sha256_ssse3,sha1_ssse3,crct10dif_pclmul,crc32_pclmul"
)
# Units with nothing to do in an image whose root is writable from the start and whose users exist.
_IDLE_UNITS = (
    "systemd-remount-fs",
    "systemd-random-seed",
    "systemd-sysusers",
    "modprobe@drm",
    "modprobe@loop",
    "modprobe@dm_mod",
    "modprobe@efi_pstore",
)
_KERNEL_ARGUMENTS = (
    "console=ttyS0 quiet psi=1 root=/dev/vda rw cgoom.lab "  # what the tests rely on
    # Every first and last cpuset patches the page allocator's code. Once in some forty guests an emulated processor ran
    # the breakpoint of that patch after it was over ("Oops: int3" in get_page_from_freelist): QEMU kept a translation
    # too long. Nothing here uses the controller.
    "cgroup_disable=cpuset "
    "panic=-1 printk.devkmsg=on "  # with -no-reboot a panic ends QEMU at once; a job may write to /dev/kmsg freely
    "mitigations=off random.trust_cpu=on fsck.mode=skip audit=0 net.ifnames=0 systemd.show_status=auto "  # boot time
    f"modprobe.blacklist={_UNWANTED_MODULES} systemd.unit=multi-user.target "
    + " ".join(f"systemd.mask={unit}.service" for unit in _IDLE_UNITS)
)
# 9p: bytes per request, chosen large because each costs an exit to QEMU.
_SHARE = "trans=virtio,version=9p2000.L,msize=524288"
# Without a cache, what changes on the host is seen at once; "mmap" adds what a writer needs to map a file.
_READ_ONLY = f"{_SHARE},ro,cache=none"
_READ_WRITE = f"{_SHARE},cache=mmap"


@dataclass(frozen=True)
class Spec:
    """What guest to boot."""

    kernel: str
    memory_mib: int = DEFAULT_MEMORY_MIB
    cpus: int = DEFAULT_CPUS
    swap_mib: int = 0
    out: Path | None = None
    steady: bool = False  # as `hold_steady` does it; the kernel's log waits for the job's output


def clean_up() -> None:
    """Remove what killed runs left in the cache, and old console logs."""
    for directory in cache_dir("runs").iterdir():
        # Either error says that it is not ours to remove: its guest ends just now, or lives.
        with contextlib.suppress(FileNotFoundError, BlockingIOError), (directory / "lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            shutil.rmtree((directory / "sockets").resolve(), ignore_errors=True)
            shutil.rmtree(directory, ignore_errors=True)
    for old in prune(list(cache_dir("console").glob("*.log")), KEEP_CONSOLES):
        old.unlink(missing_ok=True)
        old.with_suffix(".dmesg").unlink(missing_ok=True)


class Guest:
    """A QEMU process with a lab agent in it."""

    def __init__(self, image: Image, spec: Spec, accelerator: tuple[str, ...], *, background: bool = False) -> None:
        """Start the guest; `background` lets it live on when the lab ends."""
        self.spec = spec
        with locked(cache_dir() / "runs.lock"):  # or another lab's clean-up takes the directory for a dead one
            clean_up()
            self.run_dir = Path(tempfile.mkdtemp(prefix="guest-", dir=cache_dir("runs")))
            self._lock = (self.run_dir / "lock").open("w")
            fcntl.flock(self._lock, fcntl.LOCK_EX)
        # A socket's path has at most 107 bytes, which the cache's may exceed.
        self._socket_dir = Path(tempfile.mkdtemp(prefix="cgoom-lab-"))
        (self.run_dir / "sockets").symlink_to(self._socket_dir)  # for whoever cleans up
        self.socket_path = self._socket_dir / "agent"
        self.wheel_dir = self.run_dir / "wheel"
        self.wheel_dir.mkdir()
        name = f"{time.strftime('%Y%m%d-%H%M%S')}-{spec.kernel}-{self.run_dir.name.removeprefix('guest-')}"
        self.console = cache_dir("console") / f"{name}.log"
        self.console.touch()
        if spec.swap_mib:
            with (self.run_dir / "swap.img").open("wb") as disk:
                disk.truncate(spec.swap_mib * 1024 * 1024)
        argv = ["qemu-system-x86_64", *accelerator, *self._machine(image), *self._shares()]
        if not background:  # QEMU ends with the lab, however the lab ends
            argv = ["setpriv", "--pdeathsig", "KILL", *argv]
        self.process = self._start(argv)

    def _start(self, argv: list[str]) -> subprocess.Popen[bytes]:
        with self._lock as lock, (self.run_dir / "qemu.log").open("wb") as log:
            return subprocess.Popen(
                argv,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env={**os.environ, "TMPDIR": str(self.run_dir)},
                pass_fds=(lock.fileno(),),
                start_new_session=True,
            )

    def _machine(self, image: Image) -> list[str]:
        argv = ["-nodefaults", "-no-user-config", "-no-reboot", "-display", "none", "-nic", "none"]
        argv += ["-name", "cgoom-lab,debug-threads=on"]
        argv += ["-m", str(self.spec.memory_mib), "-smp", str(self.spec.cpus), "-device", "virtio-rng-pci"]
        argv += ["-kernel", str(image.kernel(self.spec.kernel)), "-initrd", str(image.initrd(self.spec.kernel))]
        argv += ["-append", _KERNEL_ARGUMENTS, "-serial", "chardev:console"]
        argv += ["-chardev", f"file,id=console,path={_quoted(self.console)}"]
        argv += ["-drive", f"file={_quoted(image.disk)},if=virtio,format=raw,snapshot=on"]
        if self.spec.swap_mib:
            argv += ["-drive", f"file={_quoted(self.run_dir / 'swap.img')},if=virtio,format=raw,cache=unsafe"]
        argv += ["-device", "virtio-serial-pci"]
        argv += ["-chardev", f"socket,id=lab,path={_quoted(self.socket_path)},server=on,wait=off"]
        argv += ["-device", f"virtserialport,chardev=lab,name={wire.PORT_NAME}"]
        return argv

    def _shares(self) -> list[str]:
        shares = [("checkout", CHECKOUT, True), ("wheel", self.wheel_dir, True)]
        if self.spec.out is not None:
            shares.append(("out", self.spec.out, False))
        argv = []
        for tag, path, read_only in shares:
            share = f"local,path={_quoted(path)},mount_tag={tag},security_model=none,multidevs=remap"
            argv += ["-virtfs", share + (",readonly=on" if read_only else "")]
        return argv

    def setup(self) -> dict[str, object]:
        """Return what the agent has to set up in this guest."""
        mounts = [["checkout", "/work/cgoom", _READ_ONLY], ["wheel", "/wheel", _READ_ONLY]]
        if self.spec.out is not None:
            mounts.append(["out", "/out", _READ_WRITE])
        return {"mounts": mounts, "swap": SWAP_DEVICE if self.spec.swap_mib else None}

    def connect(self, deadline: Deadline) -> socket.socket:
        """Connect to the agent's port; QEMU makes the socket within a moment."""
        while deadline.left():
            if self.process.poll() is not None:
                said = (self.run_dir / "qemu.log").read_text(encoding="utf-8", errors="replace")
                raise LabError(f"QEMU did not start: {said.strip()}")
            with contextlib.suppress(FileNotFoundError, ConnectionRefusedError):
                return connect_to(self.socket_path)
            time.sleep(0.02)
        raise GuestLostError("QEMU made no socket in time")

    def kill(self) -> None:
        """End the guest now and remove what it used; its output has been taken and its changes are not wanted."""
        self.process.kill()
        self.process.wait()
        shutil.rmtree(self.run_dir, ignore_errors=True)
        shutil.rmtree(self._socket_dir, ignore_errors=True)


def connect_to(path: Path) -> socket.socket:
    """Connect to a guest's agent port."""
    connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        connection.connect(str(path))
    except BaseException:
        connection.close()
        raise
    return connection


def last_words(run_dir: Path, console: Path, lines: int = 15) -> None:
    """Say the last lines of QEMU and of the console, for whoever wonders why the guest is gone."""
    for what, path in (("QEMU", run_dir / "qemu.log"), ("console", console)):
        with contextlib.suppress(FileNotFoundError):
            for line in path.read_text(encoding="utf-8", errors="replace").splitlines()[-lines:]:
                say(f"{what}: {line}")


def _quoted(path: Path) -> str:
    """Return a path for a QEMU option, where a comma is written twice."""
    return str(path).replace(",", ",,")

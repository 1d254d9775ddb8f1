"""What `cgoom doctor` looks at of the kernel module, and what its absence means on this very host."""

from __future__ import annotations

import os
import platform
import re
from contextlib import suppress
from dataclasses import dataclass

from cgoom.errors import CgoomError
from cgoom.kernel.memory_info import LEVEL_PATH
from cgoom.kernel.module_answer import read_answer
from cgoom.kernel.text import read_file

_MODULES_DIR = "/lib/modules"
_LOCKDOWN_PATH = "/sys/kernel/security/lockdown"
_SIG_ENFORCE_PATH = "/sys/module/module/parameters/sig_enforce"
# A variable of the firmware: four bytes of attributes, then 1 where Secure Boot is on.
_SECURE_BOOT_PATH = "/sys/firmware/efi/efivars/SecureBoot-8be4df61-93ca-11d2-aa0d-00e098032b8c"
_LOSS = "memory_info is not loaded: levels are sampled, and with the daemon stopped only the first place is certain"


@dataclass(frozen=True, slots=True)
class ModuleFacts:
    """`refusal`: why it cannot be asked although it is loaded; `needs_signature`: what makes the kernel want one.

    `installed`: the kernel's own directory has it; `has_headers`: one can be built for this kernel.
    """

    loaded: bool
    refusal: str = ""
    installed: bool = False
    has_headers: bool = False
    needs_signature: str = ""
    release: str = ""


def read_module_facts() -> ModuleFacts:
    """Look at everything; what cannot be read counts as not there."""
    loaded = os.path.exists(LEVEL_PATH)
    release = platform.release()
    directory = os.path.join(_MODULES_DIR, release)
    return ModuleFacts(
        loaded=loaded,
        refusal=_read_refusal() if loaded else "",
        installed=is_listed(_read(os.path.join(directory, "modules.dep"))),
        has_headers=os.path.isdir(os.path.join(directory, "build")),
        needs_signature=find_signature_need(_read(_LOCKDOWN_PATH), _read(_SIG_ENFORCE_PATH), _read(_SECURE_BOOT_PATH)),
        release=release,
    )


def is_listed(modules_dep: bytes) -> bool:
    """Whether depmod has found the module, compressed or not."""
    return re.search(rb"^\S*/memory_info\.ko(\.\w+)?:", modules_dep, re.MULTILINE) is not None


def find_signature_need(lockdown: bytes, sig_enforce: bytes, secure_boot: bytes) -> str:
    """What makes the kernel refuse a module without a signature; empty where nothing does."""
    mode = re.search(rb"\[(integrity|confidentiality)\]", lockdown)
    if mode is not None:
        return f"kernel lockdown is {mode[1].decode()}"
    if sig_enforce.strip() == b"Y":
        return "module.sig_enforce is on"
    return "Secure Boot is on" if secure_boot[4:] == b"\1" else ""


def explain_module(facts: ModuleFacts) -> tuple[str, str]:
    """What is amiss, and its remedy; two empty texts where nothing is."""
    if facts.loaded and facts.refusal:
        what = f"memory_info is loaded, but does not answer: {facts.refusal}"
        return what, "build it from the same version as cgoom, then `rmmod memory_info` and `modprobe memory_info`"
    if facts.loaded:
        return "", ""
    if not facts.installed and not facts.has_headers:
        headers = f"install the headers of this kernel (Debian: linux-headers-{facts.release})"
        return _LOSS, f"{headers}, then `dkms install ./kmod` in cgoom's sources"
    if facts.needs_signature:
        sign = "sign it with a key that the firmware knows (`dkms` makes one; `mokutil --import` enrols it)"
        return f"{_LOSS} ({facts.needs_signature})", f"{sign}, then `modprobe memory_info`"
    if facts.installed:
        return _LOSS, "`modprobe memory_info`"
    return _LOSS, "`dkms install ./kmod` in cgoom's sources, then `modprobe memory_info`"


def _read_refusal() -> str:
    try:
        read_answer()
    except CgoomError as error:
        return error.message
    return ""


def _read(path: str) -> bytes:
    with suppress(CgoomError):
        return read_file(path)
    return b""

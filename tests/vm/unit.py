"""The unit that is shipped, as systemd runs it."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


def read_log(unit: str) -> str:
    """What a unit said, from the journal."""
    return subprocess.run(["journalctl", "-u", unit, "-o", "cat"], capture_output=True, text=True, check=True).stdout


@contextmanager
def run_shipped_unit() -> Iterator[str]:
    """Its name while it is installed and runs; it is removed again."""
    unit = Path("/run/systemd/system/cgoom.service")
    shipped = Path(__file__).parents[2] / "packaging" / "cgoom.service"
    command = shutil.which("cgoom")
    assert command is not None
    unit.write_text(shipped.read_text(encoding="utf-8").replace("/usr/local/bin/cgoom", command), encoding="utf-8")
    subprocess.run(["systemctl", "daemon-reload"], check=True)
    policy = Path("/etc/cgoom/policy.yaml")
    policy.parent.mkdir(exist_ok=True)
    shutil.copy(shipped.parents[1] / "policies" / "default.yaml", policy)
    try:
        subprocess.run(["systemctl", "start", "cgoom.service"], check=True, timeout=90)
        yield "cgoom.service"
    finally:
        print(read_log("cgoom.service"))
        unit.unlink()
        policy.unlink()
        subprocess.run(["systemctl", "stop", "cgoom.service"], check=True, timeout=90)
        subprocess.run(["systemctl", "daemon-reload"], check=True)

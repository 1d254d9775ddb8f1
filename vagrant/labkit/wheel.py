"""Builds cgoom's wheel from a copy of the checkout, so that the checkout stays as it is."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

from labkit.base import CHECKOUT, LabError, say


def build_wheel(scratch: Path) -> Path:
    """Build the wheel of the checkout, with uncommitted changes, into `scratch` and return it."""
    source, target = scratch / "source", scratch / "dist"
    listed = _run(["git", "-C", str(CHECKOUT), "ls-files", "-z", "--cached", "--others", "--exclude-standard"])
    for name in filter(None, listed.split("\0")):
        file = CHECKOUT / name
        if file.is_file():
            (source / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(file, source / name)
    if not (source / "pyproject.toml").is_file():
        raise LabError("the checkout has no pyproject.toml to build a wheel from", "give one with --wheel PATH")
    venv = CHECKOUT / ".venv/bin/python"
    python = str(venv) if venv.is_file() else sys.executable
    say("building the wheel")
    if subprocess.run([python, "-c", "import build"], capture_output=True, check=False).returncode == 0:
        _run([python, "-m", "build", "--wheel", "--outdir", str(target), str(source)])
    else:
        _run([python, "-m", "pip", "wheel", "--quiet", "--no-deps", "--wheel-dir", str(target), str(source)])
    wheels = list(target.glob("*.whl"))
    if len(wheels) != 1:
        raise LabError(f"the build made {len(wheels)} wheels instead of one")
    return wheels[0]


def _run(argv: list[str]) -> str:
    done = subprocess.run(argv, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise LabError(f"{' '.join(argv[:4])} failed:\n{(done.stdout + done.stderr).strip()[-2000:]}")
    return done.stdout

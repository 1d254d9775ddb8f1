"""The parent of a launch stays small where systemd places the workload."""

from __future__ import annotations

import pytest

from tests.support.scene import Scene
from tests.support.wait import wait_until
from tests.support.waiter import PRIVATE_MOST_BYTES, is_waiting, read_private_bytes

pytestmark = pytest.mark.vm


def test_the_waiting_parent_is_small_and_still_tells(scene: Scene) -> None:
    scene.env["PYTHONDONTWRITEBYTECODE"] = ""
    assert scene.run("launch", "--", "true").returncode == 0, "which leaves compiled modules, as pip does"
    launcher = scene.launch("small", 100, "sleep", "3600")
    wait_until(lambda: is_waiting(launcher.pid), 60, "the parent to wait")
    assert read_private_bytes(launcher.pid) < PRIVATE_MOST_BYTES
    assert scene.run("kill", "small").returncode == 0
    assert launcher.wait(60) == 137
    assert scene.stderr("small").startswith("cgoom: small: killed by cgoom: ")

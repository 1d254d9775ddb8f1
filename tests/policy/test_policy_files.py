"""The policies that come with cgoom."""

from __future__ import annotations

from pathlib import Path

import pytest

from cgoom.model import Policy
from cgoom.policy.codec import decode_policy, encode_policy
from cgoom.policy.parse import parse_policy
from cgoom.policy.render import render_policy

_FOLDER = Path(__file__).resolve().parents[2] / "policies"
_NAMES = ["default.yaml", "desktop.yaml", "server.yaml"]


def _load(name: str) -> Policy:
    return parse_policy((_FOLDER / name).read_bytes(), name)


def test_there_are_no_others() -> None:
    assert sorted(path.name for path in _FOLDER.iterdir()) == _NAMES


@pytest.mark.parametrize("name", _NAMES)
def test_loads_and_survives_both_forms(name: str) -> None:
    policy = _load(name)
    assert parse_policy(render_policy(policy).encode(), name) == policy
    assert decode_policy(encode_policy(policy)) == policy


def test_the_default_file_is_the_built_in_policy() -> None:
    assert _load("default.yaml") == Policy()
    names = [line.split(":")[0].strip() for line in render_policy(Policy()).splitlines()]
    text = (_FOLDER / "default.yaml").read_text()
    assert all(f"\n{name}:" in text or f"\n  {name}:" in text for name in names)  # each key stands there, uncommented


def test_a_desktop_acts_earlier_and_a_server_later() -> None:
    desktop, default, server = (_load(name).host.kill.mem_available.value for name in sorted(_NAMES, key=_early))
    assert desktop > default > server


def _early(name: str) -> int:
    return ["desktop.yaml", "default.yaml", "server.yaml"].index(name)


@pytest.mark.parametrize("name", ["desktop.yaml", "server.yaml"])
def test_what_is_protected_comes_first(name: str) -> None:
    """The first match wins, so a protected cgroup must not be named by an earlier rule with a priority."""
    protects = [rule.protect for rule in _load(name).workloads]
    assert protects == sorted(protects, reverse=True)
    assert "system.slice/sshd.service" in [rule.cgroup for rule in _load(name).workloads if rule.protect]

"""The message between two processes: whatever is not one ends as a PolicyError of one line."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

from cgoom.errors import PolicyError
from cgoom.model import Policy
from cgoom.policy.codec import decode_policy, encode_policy
from tests.policy.refusal import require_one_line

_GOOD = encode_policy(Policy())
_OTHER = "this is not what the other cgoom process wrote; are both of the same version?"


def _changed(old: str, new: str) -> str:
    assert old in _GOOD
    return _GOOD.replace(old, new, 1)


@pytest.mark.parametrize(
    ("text", "what"),
    [
        ("", "not JSON: Expecting value at 0"),
        (_GOOD[:-1], f"not JSON: Expecting ',' delimiter at {len(_GOOD) - 1}"),
        (_GOOD + "x", f"not JSON: Extra data at {len(_GOOD)}"),
        ("[" * 200_000, "not JSON of a sane size"),
        ("9" * 5000, "not JSON of a sane size"),
        (" " * (4 * 2**20 + 1), "longer than 4194304 characters"),
        ("null", "expected a mapping, found nothing"),
        ("[]", "expected a mapping, found a list"),
        ("{}", "not in the form that cgoom writes"),
        (_GOOD + "\n", "not in the form that cgoom writes"),
        ('{"host": {}, "host": {}}', "the key 'host' a second time"),
        ('{"a\\nb": 1}', "unknown key 'a\\nb'"),
        (_changed('"version": 1', '"version": 2'), "version: not 1: '2'"),
        (_changed('"version": 1', '"version": true'), "version: expected an integer, found a boolean, 'true'"),
        (
            _changed('"version": 1', '"version": NaN'),
            "version: expected an integer, found a number with a fraction, 'nan'",
        ),
        (_changed('"5%"', '"101%"'), "host.kill.mem_available: not a percentage: '101%'"),
        (_changed('"5%"', "5"), "host.kill.mem_available: '5' has no unit"),
        (_changed('["kill"]', "[]"), "ladder.kill: the kill level has no 'kill'"),
    ],
)
def test_refused(text: str, what: str) -> None:
    with pytest.raises(PolicyError) as caught:
        decode_policy(text)
    require_one_line(caught.value)
    assert caught.value.message == f"policy message: {what}"


def test_a_message_of_another_version_has_a_hint() -> None:
    with pytest.raises(PolicyError) as caught:
        decode_policy("{}")
    assert caught.value.hint == _OTHER


def test_a_rule_of_the_message_is_checked_as_in_a_file() -> None:
    plain = json.loads(_GOOD)
    plain["workloads"] = [{"match": {"cgroup": "../\ud800"}, "protect": True}]
    with pytest.raises(PolicyError, match=r"workloads\[0\]\.match\.cgroup: a character that cannot be printed"):
        decode_policy(json.dumps(plain))


def test_the_reader_of_messages_does_not_load_yaml() -> None:
    """The daemon locks its memory and reads its policy this way."""
    program = "import sys, cgoom.policy.codec; sys.exit('yaml' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", program], check=False, timeout=60).returncode == 0

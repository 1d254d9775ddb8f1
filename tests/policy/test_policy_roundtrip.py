"""Every policy survives both of its written forms, and both forms are stable."""

from __future__ import annotations

import json

from hypothesis import given, settings

from cgoom.model import Policy
from cgoom.policy.codec import decode_policy, encode_policy
from cgoom.policy.parse import parse_policy
from cgoom.policy.render import render_policy
from tests.policy.strategies import policies


@settings(deadline=None)
@given(policies)
def test_yaml_reads_back_equal(policy: Policy) -> None:
    text = render_policy(policy)
    again = parse_policy(text.encode(), "p.yaml")
    assert again == policy
    assert render_policy(again) == text


@settings(deadline=None)
@given(policies)
def test_json_reads_back_equal(policy: Policy) -> None:
    text = encode_policy(policy)
    assert decode_policy(text) == policy
    assert text.isascii()
    assert text.isprintable()


@settings(deadline=None, max_examples=30)
@given(policies)
def test_json_is_the_same_language(policy: Policy) -> None:
    """What one process sends to another is a policy file, too; YAML reads JSON up to characters outside the BMP."""
    text = json.dumps(json.loads(encode_policy(policy)), ensure_ascii=False)
    assert parse_policy(text.encode(), "p.yaml") == policy


def test_the_defaults_as_yaml() -> None:
    assert render_policy(Policy()) == (
        "version: 1\n"
        "host:\n"
        "  warn: {mem_available: 10%, swap_free: 10%}\n"
        "  kill: {mem_available: 5%, swap_free: 5%}\n"
        "  recover: {mem_available: 12%, swap_free: 12%}\n"
        "ladder:\n"
        "  warn: [{term: {grace: 10s}}]\n"
        "  kill: [kill]\n"
        "victim:\n"
        "  tie_break: [largest, newest]\n"
        "  cooldown: 500ms\n"
        "workloads: []\n"
    )

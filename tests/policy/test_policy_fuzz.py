"""Whatever the bytes are, they are a policy or a PolicyError of one line. CGOOM_FUZZ_EXAMPLES: how many are tried."""

from __future__ import annotations

import os
from pathlib import Path

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from cgoom.errors import PolicyError
from cgoom.model import Policy
from cgoom.policy.codec import decode_policy, encode_policy
from cgoom.policy.parse import parse_policy
from cgoom.policy.render import render_policy
from tests.policy.refusal import require_one_line
from tests.policy.strategies import policies

_EXAMPLES = int(os.environ.get("CGOOM_FUZZ_EXAMPLES", "500"))
_fuzz = settings(max_examples=_EXAMPLES, deadline=None, suppress_health_check=list(HealthCheck))

_FOLDER = Path(__file__).resolve().parents[2] / "policies"
_DOCUMENTS = [path.read_bytes() for path in sorted(_FOLDER.glob("*.yaml"))]

# What the languages give a meaning to, and what their parsers are known to stumble over.
_WORDS = [
    *(
        b": ",
        b"- ",
        b"? ",
        b"\n",
        b"\n  ",
        b"[",
        b"]",
        b"{",
        b"}",
        b",",
        b"#",
        b"&a ",
        b"*a",
        b"!",
        b"!!int ",
        b"|",
        b">",
    ),
    *(
        b"'",
        b'"',
        b'"\\UFFFFFFFF"',
        b'"\\uD800"',
        b"%YAML 9.9\n",
        b"%TAG ! x\n",
        b"---\n",
        b"...\n",
        b"<<: ",
        b"=",
        b"~",
    ),
    *(b"null", b"true", b"yes", b"0x1", b"010", b"1:30", b"1e999", b".inf", b".nan", b"2026-13-99", b"-1", b"9" * 5000),
    *(
        b"host:",
        b"warn:",
        b"kill",
        b"term",
        b"mem_available:",
        b"workloads:",
        b"match:",
        b"cgroup:",
        b"priority:",
        b"5%",
    ),
    *(
        b"\t",
        b"\x00",
        b"\x1b",
        b"\r",
        b"\xc2\x85",
        b"\xe2\x80\xa8",
        b"\xff",
        b"\xed\xa0\x80",
        b"\xef\xbb\xbf",
        b"[" * 50,
    ),
]


@st.composite
def _mutated(draw: st.DrawFn) -> bytes:
    """A valid document with a few of its bytes removed, repeated or replaced."""
    text = draw(st.one_of(st.sampled_from(_DOCUMENTS), policies.map(lambda policy: render_policy(policy).encode())))
    for _ in range(draw(st.integers(1, 4))):
        start = draw(st.integers(0, len(text)))
        end = min(len(text), start + draw(st.integers(0, 20)))
        put = draw(st.one_of(st.sampled_from(_WORDS), st.binary(max_size=4), st.just(text[start:end] * 2)))
        text = text[:start] + put + text[end:]
    return text


_texts = st.one_of(
    _mutated(),
    _mutated(),
    st.lists(st.sampled_from(_WORDS), max_size=30).map(b"".join),
    st.text(max_size=200).map(str.encode),
    st.binary(max_size=200),
)


@_fuzz
@given(_texts)
def test_any_bytes_are_a_policy_or_one_line(text: bytes) -> None:
    try:
        policy = parse_policy(text, "p.yaml")
    except PolicyError as error:
        require_one_line(error)
        file, line, column, _ = error.message.split(":", 3)
        assert file == "p.yaml"
        assert 1 <= int(line) <= text.count(b"\n") + 2
        assert 1 <= int(column) <= len(text) + 1
    else:
        assert parse_policy(render_policy(policy).encode(), "p.yaml") == policy


@settings(_fuzz, max_examples=min(_EXAMPLES, 2000))
@given(policies, st.data())
def test_any_message_is_a_policy_or_one_line(policy: Policy, data: st.DataObject) -> None:
    text = encode_policy(policy)
    start = data.draw(st.integers(0, len(text)))
    end = start + data.draw(st.integers(0, 5))
    text = text[:start] + data.draw(st.sampled_from(["", '"', "[", "{", "9" * 20, "\\ud800", "null", ","])) + text[end:]
    try:
        assert encode_policy(decode_policy(text)) == text
    except PolicyError as error:
        require_one_line(error)

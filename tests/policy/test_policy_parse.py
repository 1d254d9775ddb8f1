"""What the language says: each key, its default, and the forms that are one and the same."""

from __future__ import annotations

import pytest

from cgoom.model import Amount, HostPolicy, Kill, Ladder, MatchRule, Policy, Term, TieBreak, VictimPolicy
from cgoom.policy.parse import parse_policy


def _parse(text: str) -> Policy:
    return parse_policy(text.encode(), "p.yaml")


def _pct(value: float) -> Amount:
    return Amount(value, True)


@pytest.mark.parametrize("text", ["", "\n", "# only words\n", "---\n", "{}", "version: 1", "\ufeffversion: 1\r\n"])
def test_nothing_said_is_the_defaults(text: str) -> None:
    assert _parse(text) == Policy()


@pytest.mark.parametrize("text", ["host: {}", "host: {warn: {}}", "ladder: {}", "victim: {}", "workloads: []"])
def test_an_empty_section_is_its_default(text: str) -> None:
    assert _parse(text) == Policy()


def test_every_key() -> None:
    policy = _parse("""
version: 1
host:
  warn: {mem_available: 20%, swap_free: 2G}
  kill: {mem_available: 3.14%, swap_free: 500M}
  recover: {mem_available: 25 %, swap_free: 3 GiB}
ladder:
  warn: [{term: {grace: 1.5s}}, kill]
  kill: [term, kill]
victim: {tie_break: [oldest, smallest], cooldown: 2min}
workloads:
  - {match: {cgroup: system.slice/sshd.service}, protect: true}
  - {match: {cgroup: 'user.slice/**/app-*.scope'}, priority: 600, protect: false}
  - {match: {cgroup: "machine.slice/**"}, priority: 0}
""")
    assert policy.host.warn.mem_available == _pct(20)
    assert policy.host.warn.swap_free == Amount(2 << 30, False)
    assert policy.host.kill.mem_available == _pct(3.14)
    assert policy.host.kill.swap_free == Amount(500 << 20, False)
    assert policy.host.recover.mem_available == _pct(25)
    assert policy.host.recover.swap_free == Amount(3 << 30, False)
    assert policy.ladder == Ladder((Term(1_500_000), Kill()), (Term(), Kill()))
    assert policy.victim == VictimPolicy((TieBreak.OLDEST, TieBreak.SMALLEST), 120_000_000)
    assert policy.workloads == (
        MatchRule("system.slice/sshd.service", None, True),
        MatchRule("user.slice/**/app-*.scope", 600, False),
        MatchRule("machine.slice/**", 0, False),
    )


@pytest.mark.parametrize(
    ("warn", "recover"),
    [
        ("10%", _pct(12)),
        ("3.14%", _pct(5.14)),
        ("99%", _pct(100)),
        ("100%", _pct(100)),
        ("400M", Amount(500 << 20, False)),
        ("9223372036854775807B", Amount(2**63 - 1, False)),
    ],
)
def test_recover_follows_the_warning(warn: str, recover: Amount) -> None:
    host = _parse(f"host: {{warn: {{mem_available: {warn}}}, kill: {{mem_available: 1%}}}}").host
    assert host.recover.mem_available == recover
    assert host.recover.swap_free == HostPolicy().recover.swap_free


def test_recover_of_one_field_leaves_the_other_at_its_default() -> None:
    host = _parse("host: {warn: {swap_free: 30%}, recover: {mem_available: 40%}}").host
    assert (host.recover.mem_available, host.recover.swap_free) == (_pct(40), _pct(32))


def test_lines_in_different_units_are_not_compared() -> None:
    host = _parse("host: {kill: {mem_available: 60G}, warn: {mem_available: 7%}, recover: {mem_available: 1M}}").host
    assert host.kill.mem_available == Amount(60 << 30, False)


def test_equal_lines_are_in_order() -> None:
    line = "{mem_available: 7%, swap_free: 7%}"
    host = _parse(f"host: {{warn: {line}, kill: {line}, recover: {line}}}").host
    assert host.warn == host.kill == host.recover


@pytest.mark.parametrize(
    ("text", "rungs"),
    [
        ("[]", ()),
        ("[term]", (Term(),)),
        ("[{term: {}}]", (Term(),)),
        ("[{term: {grace: 1ms}}]", (Term(1000),)),
        ("[{term: {grace: 60min}}]", (Term(3_600_000_000),)),
        ("[kill]", (Kill(),)),
        ("['term', \"kill\"]", (Term(), Kill())),
    ],
)
def test_steps_of_the_warning(text: str, rungs: tuple[Term | Kill, ...]) -> None:
    assert _parse(f"ladder: {{warn: {text}}}").ladder == Ladder(rungs, (Kill(),))


def test_an_empty_tie_break_leaves_it_to_the_cgroup_id() -> None:
    assert _parse("victim: {tie_break: []}").victim.tie_break == ()


@pytest.mark.parametrize(
    "pattern",
    ["a", "*", "**/a", "a/**", "a/**/b/**/c", "?b", r"dev-disk-by\x2did.swap", "a b", "...", "true", "12", "é"],
)
def test_patterns_keep_every_character(pattern: str) -> None:
    policy = _parse(f"workloads: [{{match: {{cgroup: '{pattern}'}}, priority: 1}}]")
    assert policy.workloads == (MatchRule(pattern, 1, False),)


def test_the_longest_pattern_and_the_most_rules() -> None:
    rules = "".join(f"- {{match: {{cgroup: {i:04}{'a' * 4}}}, priority: 1}}\n" for i in range(255))
    long = f"- {{match: {{cgroup: {'a' * 4096}}}, priority: 1}}\n"
    assert len(_parse("workloads:\n" + rules + long).workloads) == 256


def test_the_largest_file() -> None:
    assert parse_policy(b"#" * 2**20, "p.yaml") == Policy()

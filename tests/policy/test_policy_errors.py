"""Each wrong key and value with the whole of its error: the place, the words and the remedy."""

from __future__ import annotations

import pytest

from tests.policy.refusal import refuse

_TOP = "version, host, ladder, victim, workloads"
_STEPS = "[{term: {grace: 10s}}] or [kill]"
_TIES = "use largest, smallest, newest, oldest"
_PATH = "write a path below the cgroup root, such as 'user.slice/**/app-*.scope'"
_WILDCARDS = "the wildcards are * and ? within a name and ** for any number of names"
_TIME = "write a number with us, ms, s, min or h, such as 500ms"
_ORDER = "kill <= warn <= recover"

Case = tuple[str, str, str, str]

_KEYS: list[Case] = [
    ("hots: {}", "1:1", "unknown key 'hots'", "did you mean 'host'?"),
    ("a: 1", "1:1", "unknown key 'a'", f"use {_TOP}"),
    ("HOST: {}", "1:1", "unknown key 'HOST'", "did you mean 'host'?"),
    ("true: {}", "1:1", "unknown key 'true'", f"use {_TOP}"),
    ("host:\n  wran: {}", "2:3", "host: unknown key 'wran'", "did you mean 'warn'?"),
    (
        "host: {warn: {mem-available: 5%}}",
        "1:15",
        "host.warn: unknown key 'mem-available'",
        "did you mean 'mem_available'?",
    ),
    ("ladder:\n  kil: [kill]", "2:3", "ladder: unknown key 'kil'", "did you mean 'kill'?"),
    ("victim:\n  cool_down: 1s", "2:3", "victim: unknown key 'cool_down'", "did you mean 'cooldown'?"),
    ("workloads:\n- {mach: 1}", "2:4", "workloads[0]: unknown key 'mach'", "did you mean 'match'?"),
    ("budgets: {}", "1:1", "unknown key 'budgets'", f"use {_TOP}"),
    ("host: {}\nhost: {}", "2:1", "the key 'host' a second time", "keep one of them; the first is on line 1"),
    ("a: {b: 1,\n c: 2, b: 3}", "2:8", "a: the key 'b' a second time", "keep one of them; the first is on line 1"),
    ("? [host]\n: 1", "1:3", "a key that is not a word", "write key: value"),
]

_TYPES: list[Case] = [
    ("[]", "1:1", "expected a mapping, found a list", f"its keys are {_TOP}"),
    ("policy", "1:1", "expected a mapping, found 'policy'", f"its keys are {_TOP}"),
    ("~", "1:1", "expected a mapping, found nothing", f"remove the empty key, or give it one of {_TOP}"),
    (
        "host:",
        "1:6",
        "host: expected a mapping, found nothing",
        "remove the empty key, or give it one of warn, kill, recover",
    ),
    ("host: 5", "1:7", "host: expected a mapping, found an integer, '5'", "its keys are warn, kill, recover"),
    ("version: '1'", "1:10", "version: expected an integer, found '1'", "write 1"),
    ("version: 2", "1:10", "version: not 1: '2'", "write 1"),
    ("version: 0x1", "1:10", "version: not 1: '0x1'", "write 1"),
    ("version: 1.0", "1:10", "version: expected an integer, found a number with a fraction, '1.0'", "write 1"),
    ("version: true", "1:10", "version: expected an integer, found a boolean, 'true'", "write 1"),
    ("version: " + "9" * 5000, "1:10", f"version: not 1: '{'9' * 80}...'", "write 1"),
    ("ladder: {kill: kill}", "1:16", "ladder.kill: expected a list, found 'kill'", f"write a list, such as {_STEPS}"),
    ("ladder: {warn: }", "1:15", "ladder.warn: expected a list, found nothing", f"write a list, such as {_STEPS}"),
    ("ladder: {kill: [1]}", "1:17", "ladder.kill[0]: expected a word, found an integer, '1'", "use term, kill"),
    ("ladder: {kill: [[kill]]}", "1:17", "ladder.kill[0]: a list within the list of steps", f"write {_STEPS}"),
    (
        "victim: {tie_break: largest}",
        "1:21",
        "victim.tie_break: expected a list, found 'largest'",
        "write a list, such as [largest, newest]",
    ),
    ("victim: {tie_break: [{}]}", "1:22", "victim.tie_break[0]: expected a word, found a mapping", _TIES),
    ("victim: {cooldown: 5}", "1:20", "victim.cooldown: expected a time, found an integer, '5'", _TIME),
]

_HOST: list[Case] = [
    (
        "host: {kill: {mem_available: 20%}}",
        "1:30",
        "host.kill.mem_available: 20% is above the 10% of host.warn.mem_available, its default",
        f"lower it, or set host.warn.mem_available to 20% or more; {_ORDER}",
    ),
    (
        "host: {warn: {swap_free: 3%}}",
        "1:26",
        "host.warn.swap_free: 3% is below the 5% of host.kill.swap_free, its default",
        f"raise it, or set host.kill.swap_free to 3% or less; {_ORDER}",
    ),
    (
        "host:\n  kill: {swap_free: 2G}\n  warn: {swap_free: 1.5G}",
        "2:21",
        "host.kill.swap_free: 2G is above the 1536M of host.warn.swap_free",
        f"lower it, or set host.warn.swap_free to 2G or more; {_ORDER}",
    ),
    (
        "host: {recover: {mem_available: 9.5%}}",
        "1:33",
        "host.recover.mem_available: 9.5% is below the 10% of host.warn.mem_available, its default",
        f"raise it, or set host.warn.mem_available to 9.5% or less; {_ORDER}",
    ),
    (
        "host: {warn: {mem_available: 20%}, recover: {mem_available: 19%}}",
        "1:30",
        "host.warn.mem_available: 20% is above the 19% of host.recover.mem_available",
        f"lower it, or set host.recover.mem_available to 20% or more; {_ORDER}",
    ),
]

_LADDER: list[Case] = [
    (
        "ladder: {kill: []}",
        "1:16",
        "ladder.kill: the kill level has no 'kill'",
        "add it: the last level must be able to end the shortage",
    ),
    (
        "ladder: {kill: [term]}",
        "1:16",
        "ladder.kill: the kill level has no 'kill'",
        "add it: the last level must be able to end the shortage",
    ),
    ("ladder: {kill: [kil]}", "1:17", "ladder.kill[0]: unknown word 'kil'", "did you mean 'kill'?"),
    ("ladder: {warn: [notify]}", "1:17", "ladder.warn[0]: unknown word 'notify'", "use term, kill"),
    (
        "ladder: {warn: [kill, term]}",
        "1:23",
        "ladder.warn[1]: 'term' after 'kill'",
        "put term first: nothing is left to ask after a kill",
    ),
    (
        "ladder: {kill: [kill, kill]}",
        "1:23",
        "ladder.kill[1]: 'kill' a second time",
        "remove it: each step stands once in a level",
    ),
    (
        "ladder:\n  warn:\n  - term\n  - term: {grace: 2s}",
        "4:5",
        "ladder.warn[1]: 'term' a second time",
        "remove it: each step stands once in a level",
    ),
    ("ladder: {warn: [{}]}", "1:17", "ladder.warn[0]: the key 'term' is missing", "add term: {grace: 10s}"),
    ("ladder: {kill: [{kill: {}}]}", "1:18", "ladder.kill[0]: unknown key 'kill'", "use term"),
    (
        "ladder: {warn: [{term: }]}",
        "1:23",
        "ladder.warn[0].term: expected a mapping, found nothing",
        "remove the empty key, or give it one of grace",
    ),
    (
        "ladder: {warn: [{term: {grase: 1s}}]}",
        "1:25",
        "ladder.warn[0].term: unknown key 'grase'",
        "did you mean 'grace'?",
    ),
    (
        "ladder: {warn: [{term: {grace: 0s}}]}",
        "1:32",
        "ladder.warn[0].term.grace: '0s' is out of range",
        "write a time from 1ms to 60min",
    ),
    (
        "ladder: {warn: [{term: {grace: 2h}}]}",
        "1:32",
        "ladder.warn[0].term.grace: '2h' is out of range",
        "write a time from 1ms to 60min",
    ),
    (
        "ladder: {warn: [{term: {grace: 10}}]}",
        "1:32",
        "ladder.warn[0].term.grace: expected a time, found an integer, '10'",
        _TIME,
    ),
    ("ladder: {warn: [{term: {grace: -1s}}]}", "1:32", "ladder.warn[0].term.grace: not a time: '-1s'", _TIME),
]

_VICTIM: list[Case] = [
    ("victim: {tie_break: [bigest]}", "1:22", "victim.tie_break[0]: unknown word 'bigest'", "did you mean 'largest'?"),
    ("victim: {tie_break: [usage]}", "1:22", "victim.tie_break[0]: unknown word 'usage'", _TIES),
    ("victim: {tie_break: [larges]}", "1:22", "victim.tie_break[0]: unknown word 'larges'", "did you mean 'largest'?"),
    ("victim: {tie_break: [newest, newest]}", "1:30", "victim.tie_break[1]: 'newest' a second time", "remove it"),
    (
        "victim: {tie_break: [smallest, newest, largest]}",
        "1:40",
        "victim.tie_break[2]: 'largest' after 'smallest' decides nothing",
        "keep one of the two",
    ),
    (
        "victim: {tie_break: [newest, oldest]}",
        "1:30",
        "victim.tie_break[1]: 'oldest' after 'newest' decides nothing",
        "keep one of the two",
    ),
    ("victim: {cooldown: 0s}", "1:20", "victim.cooldown: '0s' is out of range", "write a time from 10ms to 10min"),
    (
        "victim: {cooldown: 11min}",
        "1:20",
        "victim.cooldown: '11min' is out of range",
        "write a time from 10ms to 10min",
    ),
    ("victim: {cooldown: soon}", "1:20", "victim.cooldown: not a time: 'soon'", _TIME),
    ("victim: {cooldown: " + "1" * 99 + "s}", "1:20", f"victim.cooldown: not a time: '{'1' * 80}...'", _TIME),
]

_MATCH = "{match: {cgroup: a}, "
_RULES: list[Case] = [
    (
        "workloads: {}",
        "1:12",
        "workloads: expected a list, found a mapping",
        "write a list, such as [{match: {cgroup: 'user.slice/**/app-*.scope'}, priority: 600}]",
    ),
    (
        "workloads: [a]",
        "1:13",
        "workloads[0]: expected a mapping, found 'a'",
        "its keys are match, priority, protect",
    ),
    (
        "workloads:\n  - priority: 5",
        "2:5",
        "workloads[0]: the key 'match' is missing",
        "add match: {cgroup: 'system.slice/sshd.service'}",
    ),
    (
        "workloads: [{match: {}, priority: 5}]",
        "1:21",
        "workloads[0].match: the key 'cgroup' is missing",
        "add cgroup: 'system.slice/sshd.service'",
    ),
    (
        "workloads: [{match: {cgroup: a}}]",
        "1:13",
        "workloads[0]: the rule has neither a priority nor protect: true",
        "add priority: 0..1000, or protect: true",
    ),
    (
        f"workloads: [{_MATCH}protect: false}}]",
        "1:13",
        "workloads[0]: the rule has neither a priority nor protect: true",
        "add priority: 0..1000, or protect: true",
    ),
    (
        f"workloads: [{_MATCH}protect: true, priority: 5}}]",
        "1:59",
        "workloads[0].priority: a priority beside protect: true",
        "keep one of them: who never dies has no turn",
    ),
    (
        f"workloads: [{_MATCH}protect: yes}}]",
        "1:43",
        "workloads[0].protect: expected true or false, found a boolean, 'yes'",
        "in small letters, no quotes",
    ),
    (
        f"workloads: [{_MATCH}protect: 1}}]",
        "1:43",
        "workloads[0].protect: expected true or false, found an integer, '1'",
        "in small letters, no quotes",
    ),
    (
        f"workloads:\n- {_MATCH}priority: 1}}\n- {_MATCH}protect: true}}",
        "3:3",
        "workloads[1]: a second rule for 'a'",
        "remove it: the first match wins",
    ),
]

_PRIORITIES: list[Case] = [
    (
        f"workloads: [{_MATCH}priority: {value}}}]",
        "1:44",
        f"workloads[0].priority: {what}",
        "write an integer from 0 to 1000",
    )
    for value, what in [
        ("-1", "not an integer from 0 to 1000: '-1'"),
        ("1001", "not an integer from 0 to 1000: '1001'"),
        ("010", "not an integer from 0 to 1000: '010'"),
        ("1:30", "not an integer from 0 to 1000: '1:30'"),
        ("1_0", "not an integer from 0 to 1000: '1_0'"),
        ("99999999999999999999", "not an integer from 0 to 1000: '99999999999999999999'"),
        ("1.5", "expected an integer, found a number with a fraction, '1.5'"),
        ("'5'", "expected an integer, found '5'"),
        ("low", "expected an integer, found 'low'"),
        ("null", "expected an integer, found nothing"),
        ("true", "expected an integer, found a boolean, 'true'"),
        ("2026-01-01", "expected an integer, found a date, '2026-01-01'"),
        ("[5]", "expected an integer, found a list"),
    ]
]

_PATTERNS: list[Case] = [
    (f"workloads: [{{match: {{cgroup: {value}}}, priority: 1}}]", "1:30", f"workloads[0].match.cgroup: {what}", hint)
    for value, what, hint in [
        ("12", "expected a pattern as text, found an integer, '12'", f"{_PATH}, in quotes"),
        ("true", "expected a pattern as text, found a boolean, 'true'", f"{_PATH}, in quotes"),
        ("''", "an empty name in the pattern: ''", "write names with one slash between them"),
        ("/a", "a leading slash in the pattern: '/a'", "remove it: paths begin below the cgroup root"),
        ("a/", "an empty name in the pattern: 'a/'", "write names with one slash between them"),
        ("a//b", "an empty name in the pattern: 'a//b'", "write names with one slash between them"),
        ("a/../b", "a '.' or '..' in the pattern: 'a/../b'", "write the path itself"),
        ("./a", "a '.' or '..' in the pattern: './a'", "write the path itself"),
        ("'**'", "a pattern that matches every cgroup: '**'", "name a slice, such as user.slice/**"),
        ("'**/**'", "a pattern that matches every cgroup: '**/**'", "name a slice, such as user.slice/**"),
        ("a/**b", "a '**' that is not a whole name: 'a/**b'", _WILDCARDS),
        ("a/***", "a '**' that is not a whole name: 'a/***'", _WILDCARDS),
        ("'app-[0-9]'", "brackets in the pattern: 'app-[0-9]'", _WILDCARDS),
        ("'{a,b}'", "brackets in the pattern: '{a,b}'", _WILDCARDS),
        ('"a\\nb"', "a character that cannot be printed in the pattern: 'a\\nb'", "write * for it"),
        ('"a\\0"', "a character that cannot be printed in the pattern: 'a\\x00'", "write * for it"),
        ('"\\uD800"', "a character that cannot be printed in the pattern: '\\ud800'", "write * for it"),
        ("a" * 4097, "a pattern longer than 4096 characters", _PATH),
    ]
]


@pytest.mark.parametrize(
    ("text", "at", "what", "hint"),
    [*_KEYS, *_TYPES, *_HOST, *_LADDER, *_VICTIM, *_RULES, *_PRIORITIES, *_PATTERNS],
    ids=lambda value: value[:40] if isinstance(value, str) else None,
)
def test_error(text: str, at: str, what: str, hint: str) -> None:
    error = refuse(text)
    assert (error.message, error.hint) == (f"p.yaml:{at}: {what}", hint)
    assert error.status == 3


def test_too_many_rules() -> None:
    rules = "".join(f"- {{match: {{cgroup: a{i}}}, priority: 1}}\n" for i in range(257))
    error = refuse("workloads:\n" + rules)
    assert error.message == "p.yaml:258:3: workloads[256]: more than 256 rules"
    assert error.hint == "join rules with * or **"

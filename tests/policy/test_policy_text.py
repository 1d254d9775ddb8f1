"""Files that are not a policy before any key is read: YAML that is not allowed, bytes that are not text."""

from __future__ import annotations

import pytest

from tests.policy.refusal import refuse

_NOT_YAML = "look at the quotes, the colons and the indentation around this place"

Case = tuple[str, str, str, str]

_YAML: list[Case] = [
    ("a: &x 1", "1:4", "a: the anchor '&x'", "remove it; aliases are not read either"),
    ("*x", "1:1", "the alias '*x'", "write the value again in full"),
    ("host: *x", "1:7", "host: the alias '*x'", "write the value again in full"),
    ("!!map {}", "1:1", "the tag 'tag:yaml.org,2002:map'", "remove it; a policy needs no tags"),
    (
        "a: !!python/object/apply:os.system [x]",
        "1:4",
        "a: the tag 'tag:yaml.org,2002:python/object/apply:os.system'",
        "remove it; a policy needs no tags",
    ),
    ("a: ! b", "1:4", "a: the tag '!'", "remove it; a policy needs no tags"),
    ("<<: {host: 1}", "1:1", "the merge key '<<'", "write the keys again in full"),
    ("---\n---\n", "2:1", "a second document", "one file holds one policy: remove the ---"),
    ("version: 1\n---\nhost: {}", "2:1", "a second document", "one file holds one policy: remove the ---"),
    ("[" * 99999, "1:9", "[0][0][0][0][0][0][0][0]: nested more than 8 deep", "a policy is at most 5 deep"),
    ("- " * 99999, "1:17", "[0][0][0][0][0][0][0][0]: nested more than 8 deep", "a policy is at most 5 deep"),
    ("{" * 99999, "1:9", "nested more than 8 deep", "a policy is at most 5 deep"),
    (
        "- a\n" * 10001,
        "10000:3",
        "[9999]: more than 10000 values",
        "a policy has at most 256 rules; is this the right file?",
    ),
    ("host: a: b", "1:8", "not YAML: mapping values are not allowed here", _NOT_YAML),
    ("{", "1:2", "not YAML: expected the node content, but found '<stream end>' while parsing a flow node", _NOT_YAML),
    ('"abc', "1:5", "not YAML: found unexpected end of stream while scanning a quoted scalar", _NOT_YAML),
    (
        "host: {}\n victim: {}",
        "2:2",
        "not YAML: expected <block end>, but found '<block mapping start>' while parsing a block mapping",
        _NOT_YAML,
    ),
    ('host: "\\UFFFFFFFF"', "1:10", "not YAML: a number or an escape out of range", _NOT_YAML),
    ('host: "\\U00110000"', "1:10", "not YAML: a number or an escape out of range", _NOT_YAML),
    ("%YAML " + "9" * 5000 + ".1\n--- {}", "1:7", "not YAML: a number or an escape out of range", _NOT_YAML),
]

_TEXT: list[Case] = [
    ("host:\n\twarn: {}", "2:1", "a tab", "indent with spaces"),
    ("host: {} #\t", "1:11", "a tab", "indent with spaces"),
    ("a\x00", "1:2", "the control character U+0000", "remove it; a policy is plain text"),
    ("a: 1\n\x1b[2J", "2:1", "the control character U+001B", "remove it; a policy is plain text"),
    ("a: 1\rb: 2", "1:5", "the control character U+000D", "remove it; a policy is plain text"),
    ("a: 1\r\nb\x7f: 2", "2:2", "the control character U+007F", "remove it; a policy is plain text"),
    ("é\u2028", "1:2", "the control character U+2028", "remove it; a policy is plain text"),
    ("# \u202e", "1:3", "the control character U+202E", "remove it; a policy is plain text"),
    ("\ufeff\ufeff", "1:1", "the control character U+FEFF", "remove it; a policy is plain text"),
]


@pytest.mark.parametrize(
    ("text", "at", "what", "hint"),
    [*_YAML, *_TEXT],
    ids=lambda value: value[:40] if isinstance(value, str) else None,
)
def test_error(text: str, at: str, what: str, hint: str) -> None:
    error = refuse(text)
    assert (error.message, error.hint) == (f"p.yaml:{at}: {what}", hint)
    assert error.status == 3


@pytest.mark.parametrize(
    ("text", "at", "byte"),
    [
        (b"\xff\xfeh\x00", "1:1", "0xff"),
        (b"# \xc3\xa9\nhost: \xe9", "2:7", "0xe9"),
        (b"\xef\xbb\xbf# a\r\n\xc3\xa9\xc3(", "2:2", "0xc3"),
        (b"a: \xed\xa0\x80", "1:4", "0xed"),
        (b"a: \xf0\x9f", "1:4", "0xf0"),
    ],
)
def test_the_first_byte_that_is_not_utf8(text: bytes, at: str, byte: str) -> None:
    error = refuse(text)
    assert error.message == f"p.yaml:{at}: the byte {byte} is not UTF-8"
    assert error.hint == "save the file as UTF-8"


def test_a_file_that_is_too_large() -> None:
    error = refuse(b"#" * (2**20 + 1))
    assert error.message == "p.yaml:1:1: larger than 1048576 bytes"


def test_aliases_cannot_multiply() -> None:
    laughs = "a: &a [x,x]\nb: &b [*a,*a]\nc: &c [*b,*b]\n"
    assert refuse(laughs).message == "p.yaml:1:4: a: the anchor '&a'"


@pytest.mark.parametrize(
    ("file", "shown"),
    [
        ("a\nb.yaml", "a\\nb.yaml"),
        ("\udce9.yaml", "\\udce9.yaml"),
        ("\x1b[31m", "\\x1b[31m"),
        ("d/" * 300, "d/" * 256 + "..."),
    ],
)
def test_a_hostile_file_name_stays_on_the_line(file: str, shown: str) -> None:
    assert refuse("a: 1", file).message == f"{shown}:1:1: unknown key 'a'"


def test_a_hostile_key_stays_on_the_line() -> None:
    assert refuse('"a\\n\\e[31m": 1').message == "p.yaml:1:1: unknown key 'a\\n\\x1b[31m'"
    assert refuse("k" * 900 + ": 1").message == f"p.yaml:1:1: unknown key '{'k' * 80}...'"

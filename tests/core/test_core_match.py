"""Path patterns against a matcher that is too slow and too plain to be wrong."""

from __future__ import annotations

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from cgoom.core.match import Scope
from cgoom.model import MatchRule

from .examples import FEW

# Letters that collide often, and everything that a regular expression could take for its own.
NAME_LETTERS = "ab.+[]!()\\|^$*?-\n\udc80{}"
GLOB_LETTERS = "ab.+()\\|^$*?-\n\udc80{}"  # a policy has no brackets in its patterns
NAMES = st.one_of(st.sampled_from(["a", "b", "ab"]), st.text(NAME_LETTERS, min_size=1, max_size=4))
GLOBS = st.one_of(
    st.just("**"),
    st.sampled_from(["*", "a", "a*", "?", "*b", "a?"]),
    st.text(GLOB_LETTERS, min_size=1, max_size=4),
)
PATHS = st.lists(NAMES, min_size=1, max_size=5).map("/".join)
PATTERNS = st.lists(GLOBS, min_size=1, max_size=4).map("/".join)


def glob_matches(glob: str, name: str) -> bool:
    if not glob:
        return not name
    if glob[0] == "*":
        return any(glob_matches(glob[1:], name[skip:]) for skip in range(len(name) + 1))
    return bool(name) and glob[0] in ("?", name[0]) and glob_matches(glob[1:], name[1:])


def names_match(globs: list[str], names: list[str]) -> bool:
    """`**` stands for any number of names; as the last one, for at least one."""
    if not globs:
        return not names
    if globs[0] == "**":
        if len(globs) == 1:
            return bool(names)
        return any(names_match(globs[1:], names[skip:]) for skip in range(len(names) + 1))
    return bool(names) and glob_matches(globs[0], names[0]) and names_match(globs[1:], names[1:])


def can_continue(globs: list[str], names: list[str]) -> bool:
    """Whether some path with at least one more name than `names` matches."""
    if not globs:
        return False
    if globs[0] == "**":
        return True
    return not names or (glob_matches(globs[0], names[0]) and can_continue(globs[1:], names[1:]))


def scope_of(*patterns: str) -> Scope:
    return Scope(tuple(MatchRule(pattern, priority=place) for place, pattern in enumerate(patterns)))


@FEW
@given(PATTERNS, PATHS)
def test_it_agrees_with_the_naive_matcher(pattern: str, path: str) -> None:
    assert (scope_of(pattern).match(path) is not None) == names_match(pattern.split("/"), path.split("/"))


@FEW
@given(st.lists(PATTERNS, max_size=4), PATHS)
def test_the_first_match_wins(patterns: list[str], path: str) -> None:
    rule = scope_of(*patterns).match(path)
    expected = next((at for at, each in enumerate(patterns) if names_match(each.split("/"), path.split("/"))), None)
    assert (None if rule is None else rule.priority) == expected


@st.composite
def matching_pairs(draw: st.DrawFn) -> tuple[str, str]:
    """A pattern and a path that it matches: every glob replaced by something that it stands for."""
    globs, names = draw(PATTERNS).split("/"), []
    for place, glob in enumerate(globs):
        if glob == "**":
            names += draw(st.lists(NAMES, min_size=int(place == len(globs) - 1), max_size=3))
            continue
        stands = "".join(
            draw(st.text("ab", max_size=2))
            if letter == "*"
            else draw(st.sampled_from("ab"))
            if letter == "?"
            else letter
            for letter in glob
        )
        names.append(stands)
    assume(all(names))
    return "/".join(globs), "/".join(names)


@FEW
@given(matching_pairs(), st.lists(PATTERNS, max_size=2))
def test_every_ancestor_of_a_match_is_descended_into(pair: tuple[str, str], others: list[str]) -> None:
    pattern, path = pair
    scope = scope_of(*others, pattern)
    assert scope.match(path) is not None
    names = path.split("/")
    for depth in range(len(names)):
        assert scope.descends("/".join(names[:depth]))


@FEW
@given(st.lists(PATTERNS, max_size=3), PATHS)
def test_nothing_is_descended_into_in_vain(patterns: list[str], path: str) -> None:
    expected = any(can_continue(pattern.split("/"), path.split("/")) for pattern in patterns)
    assert scope_of(*patterns).descends(path) == expected


@pytest.mark.parametrize(
    ("pattern", "path", "matches"),
    [
        ("system.slice/sshd.service", "system.slice/sshd.service", True),
        ("system.slice/sshd.service", "system.slice/sshdXservice", False),
        ("system.slice/sshd.service", "system.slice/sshd.service/child", False),
        ("user.slice/**/app-*.scope", "user.slice/app-x.scope", True),
        ("user.slice/**/app-*.scope", "user.slice/user-1000.slice/user@1000.service/app.slice/app-x.scope", True),
        ("user.slice/**/app-*.scope", "user.slice/app-x/y.scope", False),
        ("user.slice/**", "user.slice", False),
        ("user.slice/**", "user.slice/a/b", True),
        ("*", "a/b", False),
        ("a?", "a", False),
        ("a/*", "a/b\nc", True),
        ("a", "a\n", False),
    ],
)
def test_patterns_as_they_are_documented(pattern: str, path: str, matches: bool) -> None:
    assert (scope_of(pattern).match(path) is not None) == matches


@pytest.mark.parametrize("pattern", ["*", "**", "?", "a", "**/*", "*/**"])
def test_the_root_of_the_host_is_descended_into_and_never_matched(pattern: str) -> None:
    assert scope_of(pattern).match("") is None
    assert scope_of(pattern).descends("")


def test_without_rules_nothing_matches_and_nothing_is_looked_at() -> None:
    assert Scope(()).match("a") is None
    assert not Scope(()).descends("")


@pytest.mark.parametrize("name", ["**", "*", "a*a*a*a*"])
def test_a_path_that_somebody_chose_to_be_slow_is_not(name: str) -> None:
    """Patterns are the operator's, the names are not: none of them may stall the daemon."""
    scope = scope_of("/".join([name] * 8 + ["b"]))
    path = "/".join(["a" * 255] * 16)
    assert scope.match(path) is None
    assert scope.match("/".join(["a" * 255] * 8 + ["b"])) is not None

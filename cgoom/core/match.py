"""Cgroup path patterns: `*` and `?` within a name, `**` for any number of names. First match wins.

Paths are matched name by name, as an automaton over the pattern's names: a user who may create cgroups can choose
paths of any depth, and none of them may cost more than their length.
"""

from __future__ import annotations

import fnmatch
import re

from cgoom.model import MatchRule

_Pattern = tuple[re.Pattern[str] | None, ...]  # None stands for `**`


class Scope:
    """The policy's workload rules, compiled. Paths are below the cgroup2 mount, without a leading slash."""

    def __init__(self, rules: tuple[MatchRule, ...]) -> None:
        self._rules = [(_compile(rule.cgroup), rule) for rule in rules]

    def match(self, path: str) -> MatchRule | None:
        """The first rule that names this cgroup."""
        return next((rule for pattern, rule in self._rules if len(pattern) in _reach(pattern, path)), None)

    def descends(self, path: str) -> bool:
        """Whether a rule may name something below this cgroup, so that its children have to be looked at."""
        return any(min(_reach(pattern, path), default=len(pattern)) < len(pattern) for pattern, _ in self._rules)


def _compile(text: str) -> _Pattern:
    """One matcher for each name; the policy has refused brackets, which fnmatch would read as sets."""
    return tuple(None if name == "**" else re.compile(fnmatch.translate(name)) for name in text.split("/"))


def _reach(pattern: _Pattern, path: str) -> frozenset[int]:
    """How many names of the pattern may be used up by the whole path; the pattern's length means that it matches."""
    reached = _skip_any({0}, pattern)
    for name in path.split("/") if path else ():
        following = set()
        for index in reached - {len(pattern)}:
            matcher = pattern[index]
            if matcher is None:
                following |= {index, index + 1} if index == len(pattern) - 1 else {index}
            elif matcher.match(name):
                following.add(index + 1)
        reached = _skip_any(following, pattern)
    return frozenset(reached)


def _skip_any(reached: set[int], pattern: _Pattern) -> set[int]:
    """`**` stands for no name too, except at the end: `a/**` is what is below `a`, not `a` itself."""
    for start in sorted(reached):
        index = start
        while index < len(pattern) - 1 and pattern[index] is None:
            index += 1
            reached.add(index)
    return reached

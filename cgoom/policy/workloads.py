"""`workloads`: cgroups that cgoom did not start, named by a pattern; the first match wins."""

from __future__ import annotations

from cgoom.model import PRIORITY_MOST, MatchRule
from cgoom.policy.node import Kind, Node, Scalar, describe, fault, quote
from cgoom.policy.scalars import parse_boolean, parse_integer
from cgoom.policy.section import Section, require_items

# Rules. Chosen: each is tried on each cgroup that appears, and nobody reads a longer list.
RULES_LIMIT = 256
# Characters: PATH_MAX (include/uapi/linux/limits.h); no cgroup has a longer path.
PATTERN_LIMIT = 4096

_EXAMPLE = "{match: {cgroup: 'user.slice/**/app-*.scope'}, priority: 600}"
_WILDCARDS = "the wildcards are * and ? within a name and ** for any number of names"


def parse_workloads(node: Node) -> tuple[MatchRule, ...]:
    """`workloads`, in the order of the file. Raises PolicyError."""
    items = require_items(node, f"[{_EXAMPLE}]")
    if len(items) > RULES_LIMIT:
        raise fault(items[RULES_LIMIT].spot, f"more than {RULES_LIMIT} rules", "join rules with * or **")
    rules: dict[str, MatchRule] = {}
    for item in items:
        rule = _parse_rule(item)
        if rule.cgroup in rules:
            raise fault(item.spot, f"a second rule for {quote(rule.cgroup)}", "remove it: the first match wins")
        rules[rule.cgroup] = rule
    return tuple(rules.values())


def _parse_rule(node: Node) -> MatchRule:
    section = Section(node, ("match", "priority", "protect"))
    match = Section(section.require("match", "match: {cgroup: 'system.slice/sshd.service'}"), ("cgroup",))
    cgroup = _parse_pattern(match.require("cgroup", "cgroup: 'system.slice/sshd.service'"))
    priority, protect = section.find("priority"), section.find("protect")
    protected = protect is not None and parse_boolean(protect)
    if priority is None:
        if not protected:
            hint = f"add priority: 0..{PRIORITY_MOST}, or protect: true"
            raise fault(node.spot, "the rule has neither a priority nor protect: true", hint)
        return MatchRule(cgroup, None, True)
    number = parse_integer(priority, 0, PRIORITY_MOST)
    if protected:
        raise fault(priority.spot, "a priority beside protect: true", "keep one of them: who never dies has no turn")
    return MatchRule(cgroup, number, False)


def _parse_pattern(node: Node) -> str:
    hint = "write a path below the cgroup root, such as 'user.slice/**/app-*.scope'"
    if not isinstance(node, Scalar) or node.kind is not Kind.TEXT:
        raise fault(node.spot, f"expected a pattern as text, found {describe(node)}", f"{hint}, in quotes")
    text = node.text
    if len(text) > PATTERN_LIMIT:
        raise fault(node.spot, f"a pattern longer than {PATTERN_LIMIT} characters", hint)
    found = _slip(text)
    if found is not None:
        raise fault(node.spot, f"{found[0]}: {quote(text)}", found[1])
    return text


def _slip(text: str) -> tuple[str, str] | None:
    """What is wrong with a pattern, and the remedy. A pattern that can never match is wrong: it looks like a guard."""
    names = text.split("/")
    slips = (
        (not text.isprintable(), "a character that cannot be printed in the pattern", "write * for it"),
        (any(c in "[]{}" for c in text), "brackets in the pattern", _WILDCARDS),
        (text.startswith("/"), "a leading slash in the pattern", "remove it: paths begin below the cgroup root"),
        ("" in names, "an empty name in the pattern", "write names with one slash between them"),
        ("." in names or ".." in names, "a '.' or '..' in the pattern", "write the path itself"),
        (any("**" in name and name != "**" for name in names), "a '**' that is not a whole name", _WILDCARDS),
        (set(names) == {"**"}, "a pattern that matches every cgroup", "name a slice, such as user.slice/**"),
    )
    return next(((what, hint) for is_so, what, hint in slips if is_so), None)

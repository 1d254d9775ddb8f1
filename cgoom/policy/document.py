"""The whole policy: nodes to a `Policy`, and back to the plain dictionaries that YAML and JSON are written from."""

from __future__ import annotations

from cgoom.model import HostPolicy, Ladder, MatchRule, Policy, Rung, Term, Threshold, VictimPolicy
from cgoom.policy.host import parse_host
from cgoom.policy.ladder import parse_ladder
from cgoom.policy.node import Node
from cgoom.policy.scalars import parse_integer, render_amount, render_duration
from cgoom.policy.section import Section
from cgoom.policy.victim import parse_victim
from cgoom.policy.workloads import parse_workloads

VERSION = 1

Plain = str | int | bool | list["Plain"] | dict[str, "Plain"]


def parse_document(root: Node | None) -> Policy:
    """The policy that the nodes say; None, an empty file, says the defaults. Raises PolicyError."""
    if root is None:
        return Policy()
    section = Section(root, ("version", "host", "ladder", "victim", "workloads"))
    version, host, ladder = section.find("version"), section.find("host"), section.find("ladder")
    victim, workloads = section.find("victim"), section.find("workloads")
    if version is not None:
        parse_integer(version, VERSION, VERSION)
    return Policy(
        HostPolicy() if host is None else parse_host(host),
        Ladder() if ladder is None else parse_ladder(ladder),
        VictimPolicy() if victim is None else parse_victim(victim),
        () if workloads is None else parse_workloads(workloads),
    )


def render_plain(policy: Policy) -> dict[str, Plain]:
    """Every setting, defaults too, in the order of the documentation; exact, so that it parses back to an equal one."""
    host, ladder, victim = policy.host, policy.ladder, policy.victim
    return {
        "version": VERSION,
        "host": {
            "warn": _threshold(host.warn),
            "kill": _threshold(host.kill),
            "recover": _threshold(host.recover),
        },
        "ladder": {"warn": [_rung(rung) for rung in ladder.warn], "kill": [_rung(rung) for rung in ladder.kill]},
        "victim": {
            "tie_break": [tie.value for tie in victim.tie_break],
            "cooldown": render_duration(victim.cooldown_usec),
        },
        "workloads": [_rule(rule) for rule in policy.workloads],
    }


def _threshold(threshold: Threshold) -> dict[str, Plain]:
    return {
        "mem_available": render_amount(threshold.mem_available),
        "swap_free": render_amount(threshold.swap_free),
    }


def _rung(rung: Rung) -> Plain:
    return {"term": {"grace": render_duration(rung.grace_usec)}} if isinstance(rung, Term) else "kill"


def _rule(rule: MatchRule) -> dict[str, Plain]:
    plain: dict[str, Plain] = {"match": {"cgroup": rule.cgroup}}
    if rule.priority is not None:
        plain["priority"] = rule.priority
    if rule.protect:
        plain["protect"] = True
    return plain

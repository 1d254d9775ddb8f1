"""Generated policies: every one that the language can say, and nothing that it cannot."""

from __future__ import annotations

from hypothesis import strategies as st

from cgoom.model import (
    Amount,
    HostPolicy,
    Kill,
    Ladder,
    MatchRule,
    Policy,
    Rung,
    Term,
    Threshold,
    TieBreak,
    VictimPolicy,
)
from cgoom.policy.ladder import GRACE_LEAST_USEC, GRACE_MOST_USEC
from cgoom.policy.victim import COOLDOWN_LEAST_USEC, COOLDOWN_MOST_USEC
from cgoom.units import SIZE_LIMIT_BYTES


def _percent(millionths: int) -> Amount:
    return Amount(round(millionths / 1_000_000, 6), True)


def _size(size_bytes: int) -> Amount:
    return Amount(size_bytes, False)


_amounts = st.one_of(
    st.integers(1, 100_000_000).map(_percent),
    st.integers(1, SIZE_LIMIT_BYTES).map(_size),
    st.builds(lambda count, shift: _size(count << shift), st.integers(1, 999), st.sampled_from([10, 20, 30, 40])),
)


@st.composite
def _hosts(draw: st.DrawFn) -> HostPolicy:
    """Three lines for each field, in order within each unit whatever the units are."""
    warn_line, kill_line, recover_line = [], [], []
    for _ in ("mem_available", "swap_free"):
        kill, warn, recover = (draw(_amounts) for _ in range(3))
        for _ in range(3):  # three passes sort three values by neighbours
            if kill.is_pct == warn.is_pct and kill.value > warn.value:
                kill, warn = warn, kill
            if warn.is_pct == recover.is_pct and warn.value > recover.value:
                warn, recover = recover, warn
        warn_line.append(warn)
        kill_line.append(kill)
        recover_line.append(recover)
    return HostPolicy(Threshold(*warn_line), Threshold(*kill_line), Threshold(*recover_line))


_terms = st.integers(GRACE_LEAST_USEC, GRACE_MOST_USEC).map(Term)
_warn_rungs: st.SearchStrategy[tuple[Rung, ...]] = st.one_of(
    st.just(()), st.tuples(_terms), st.just((Kill(),)), st.tuples(_terms, st.just(Kill()))
)
_kill_rungs: st.SearchStrategy[tuple[Rung, ...]] = st.one_of(st.just((Kill(),)), st.tuples(_terms, st.just(Kill())))

_sizes = st.sampled_from([(), (TieBreak.LARGEST,), (TieBreak.SMALLEST,)])
_ages = st.sampled_from([(), (TieBreak.NEWEST,), (TieBreak.OLDEST,)])
_tie_breaks = st.builds(lambda size, age, flip: age + size if flip else size + age, _sizes, _ages, st.booleans())

_letters = st.characters(exclude_characters="/[]{}*", exclude_categories=("C", "Z"))
_names = st.one_of(
    st.sampled_from(["system.slice", "**", "app-*.scope", "a'b", "dev-disk-by\\x2did", "true", "12", "a b", "é: #x"]),
    st.text(_letters, min_size=1, max_size=8).filter(lambda name: name not in (".", "..")),
)
_patterns = st.lists(_names, min_size=1, max_size=5).filter(lambda names: set(names) != {"**"}).map("/".join)
_rules = st.one_of(
    st.builds(MatchRule, _patterns, st.integers(0, 1000), st.just(False)),
    st.builds(MatchRule, _patterns, st.none(), st.just(True)),
)

policies: st.SearchStrategy[Policy] = st.builds(
    Policy,
    _hosts(),
    st.builds(Ladder, _warn_rungs, _kill_rungs),
    st.builds(VictimPolicy, _tie_breaks, st.integers(COOLDOWN_LEAST_USEC, COOLDOWN_MOST_USEC)),
    st.lists(_rules, max_size=6, unique_by=lambda rule: rule.cgroup).map(tuple),
)

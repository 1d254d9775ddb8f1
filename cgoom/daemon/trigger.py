"""The kill that is decided in advance: what it leaves to do is a read of the level, a store and a write."""

from __future__ import annotations

from typing import NamedTuple

from cgoom.core.decide import kills_at_once
from cgoom.daemon.flight import Flights
from cgoom.daemon.ready import Aim
from cgoom.daemon.sources import Source, Woken
from cgoom.kernel.memory_info import Module
from cgoom.model import Candidate, HostMemory, Level, Policy, State
from cgoom.observe.changes import Changes

# The first of the order, and who comes next: candidates as `decide` takes them. Empty: nobody.
Order = tuple[Candidate, ...]
# Microseconds; chosen: a daemon that hears of it later than that was stopped or kept waiting, and looks itself.
FRESH_USEC = 2_000
_TOLD = [Source.MODULE]


class Look(NamedTuple):
    """The host's memory, when that was (CLOCK_MONOTONIC), and the order whose first was killed for it, or nobody."""

    memory: HostMemory
    now_usec: int
    fired: Order


class Trigger:
    """Cocked at the end of a turn of the loop, pulled by the level at the beginning of the next one.

    The level is what the module saw, where that is what it woke us for, and else a look of our own, both by our
    thresholds. Before the kill nothing else is read.

    Measured in an emulated guest: a function that has not run for a few milliseconds takes 15 - 100 us where it takes
    2 - 10 otherwise, so that whatever can be known before the sleep is not asked between the level and the kill.
    """

    __slots__ = (
        "_aim",
        "_changes",
        "_flights",
        "_generation",
        "_looked_usec",
        "_mem_bytes",
        "_module",
        "_swap_bytes",
        "_totals_bytes",
    )

    def __init__(self, flights: Flights, changes: Changes, module: Module | None) -> None:
        """`changes`: of the tree; after any of them it has to be cocked again. `module` None: nobody looks for us."""
        self._flights, self._changes, self._module = flights, changes, module
        self._aim: Aim | None = None
        self._looked_usec = self._generation = self._mem_bytes = self._swap_bytes = 0
        self._totals_bytes = (0, 0)

    def cock(self, policy: Policy, state: State, memory: HostMemory, now_usec: int) -> None:
        """Find out who dies at the kill threshold, if the decision can only be that one, and where it is.

        To be called whenever the policy, the state or what is ready may have changed; until then nobody is aimed at.
        """
        self._aim = self._flights.aim(state.stuck) if kills_at_once(policy, state, Level.KILL, now_usec) else None
        self._generation = self._changes.generation
        kill, self._totals_bytes = policy.host.kill, (memory.total_bytes, memory.swap_total_bytes)
        self._mem_bytes = kill.mem_available.of(memory.total_bytes)
        self._swap_bytes = kill.swap_free.of(memory.swap_total_bytes)

    def hear(self, woken: Woken, now_usec: int) -> Look | None:
        """Kill who is aimed at if the module woke us for that, and nothing else has happened; None: we have to look.

        An event may have waited: what was seen before our own last look, or long ago, is not how things stand. Nor is
        what the module says of swap: while that is taken away, its total is an old one, and too little of it is free.
        """
        if self._aim is None or self._module is None or self._totals_bytes[1] or woken != _TOLD:
            return None
        seen = self._module.read_look()
        if seen is None:
            return None
        memory, at_usec = seen
        if at_usec < self._looked_usec or not 0 <= now_usec - at_usec <= FRESH_USEC:
            return None
        fired = self.pull(memory, at_usec)
        return Look(memory, at_usec, fired) if fired else None

    def pull(self, memory: HostMemory, now_usec: int) -> Order:
        """Kill who is aimed at if this sample is at the kill threshold, as `raw_level` says; the order behind it.

        Nobody: there was no reason, or no certain first. Then it has to be decided.
        """
        aim, self._looked_usec = self._aim, now_usec
        if aim is None or memory.available_bytes > self._mem_bytes or memory.swap_free_bytes > self._swap_bytes:
            return ()
        if self._generation != self._changes.generation or now_usec > aim.until_usec:
            return ()
        if (memory.total_bytes, memory.swap_total_bytes) != self._totals_bytes:
            return ()
        self._aim = None
        return self._flights.fire(aim, now_usec)

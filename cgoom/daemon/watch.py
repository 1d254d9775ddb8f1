"""The kernel module as the daemon knows it: it sees the level for us, and does what it must when we are late.

Its events are wake-ups here and nothing more (`Trigger` takes what the next of them saw for a look at the host). It
may come and go at any time.
"""

from __future__ import annotations

from cgoom.errors import CgoomError, FormatError, GoneError
from cgoom.kernel.clock import read_usec
from cgoom.kernel.memory_info import (
    ORDER_MAX,
    Answer,
    Appeared,
    ArmedKill,
    ArmedKillEvent,
    Event,
    LevelEvent,
    Lost,
    Module,
    Stats,
    Vanished,
    encode_thresholds,
)
from cgoom.model import HostPolicy, Level, Workload
from cgoom.record.journal import Journal, Severity

# Armed kills whose own event is kept until they are told; as many as the module remembers.
_EVENTS_MOST = 64
# Microseconds in which the thresholds are set again once; chosen: an administrator who tries a parameter is corrected,
# and two programs that both insist on theirs do not take turns for ever.
_AGAIN_USEC = 60_000_000
# Microseconds between two questions after one that failed; chosen: memory is sampled meanwhile, at the cost of a timer.
_RETRY_USEC = 1_000_000
# Bytes; the module speaks of KiB.
_BYTES_PER_KIB = 1024


class Watch:
    """What the module says. `level` None: nobody watches for us, so that we have to look ourselves.

    `changes`: how often it came or went.
    """

    def __init__(self, module: Module | None, journal: Journal, fill_bytes_per_sec: int) -> None:
        self._module, self._journal, self._fill_bytes_per_sec = module, journal, fill_bytes_per_sec
        self._host: HostPolicy | None = None
        self._seq = 0
        self._said = ""
        self._is_followed = False  # it judges by the policy's thresholds
        self._set_again_usec: int | None = None  # when they were last set because somebody else had set others
        self._retry_at_usec = 0
        self._ask = False
        self._stats: dict[int, Stats] = {}  # sequence number of an armed kill -> what the module saw then
        self.level: Level | None = None
        self.changes = 0

    @property
    def is_present(self) -> bool:
        """Whether it can be told an order."""
        return self._module is not None and self._module.is_present

    @property
    def is_calm(self) -> bool:
        """Whether it watches and sees no shortage: it will wake us."""
        return self.level == Level.OK

    @property
    def is_below_kill(self) -> bool:
        """Whether it watches and sees a warning at most: it will wake us at the kill threshold."""
        return self.level is not None and self.level < Level.KILL

    def follow(self, host: HostPolicy) -> None:
        """Make it judge as the policy does, so that the two never disagree. Refused: said once, and we look ourselves.

        Its answer shows in `level`; a `take` has to follow.
        """
        self._host, self.level, self._is_followed = host, None, False
        if self._module is None or not self._module.is_present:
            return
        try:
            self._module.write_thresholds(host, self._fill_bytes_per_sec)
        except CgoomError as error:
            self._say(f"memory_info does not take the policy's thresholds, memory is sampled: {error.message}")
        else:
            self._is_followed = self._ask = True

    def arm(self, order: tuple[Workload, ...]) -> bool:
        """Hand over the order; whether it took it."""
        if self._module is None:
            return False
        try:
            self._module.arm([workload.ref.cgroup_id for workload in order[:ORDER_MAX]])
        except CgoomError as error:
            self._say(f"memory_info does not take the order: {error.message}")
            return False
        return True

    def disarm(self) -> None:
        """Take the order back, at a clean end."""
        if self._module is None:
            return
        try:
            self._module.disarm()
        except GoneError:
            return
        except CgoomError as error:
            self._say(f"memory_info keeps the order: {error.message}")

    def ask(self) -> None:
        """Have the next `take` look at everything that the module remembers."""
        self._ask = self.is_present

    def retry(self, now_usec: int) -> bool:
        """Whether a `take` has to follow, since the module is there and its last answer was none."""
        if self.level is not None or not self._is_followed or not self.is_present or now_usec < self._retry_at_usec:
            return False
        self._retry_at_usec = now_usec + _RETRY_USEC
        self._ask = True
        return True

    def take(self) -> tuple[Answer | None, dict[int, Stats]]:
        """Take every event.

        The module's own account where one of them called for it, and what it saw at each armed kill, by its number.
        """
        answer = None
        while (events := self._drain()) or self._ask:
            for event in events:
                self._take_event(event)
            if self._ask:
                self._ask = False
                answer = self._read_stats() or answer
        return answer, self._stats

    def _drain(self) -> list[Event]:
        try:
            return self._module.drain() if self._module is not None else []
        except FormatError as error:
            self._say(f"memory_info cannot be understood: {error.message}")
            return [Lost()]
        except CgoomError as error:
            self._say(f"memory_info cannot be heard, memory is sampled: {error.message}")
            self.level = None
            return []

    def _take_event(self, event: Event) -> None:
        if isinstance(event, Appeared):
            self._seq, self.changes = 0, self.changes + 1
            self._journal.write(Severity.NOTICE, "memory_info is there: it wakes the daemon")
            if self._host is not None:
                self.follow(self._host)
        elif isinstance(event, Vanished):
            self.level, self.changes = None, self.changes + 1
            self._journal.write(Severity.WARNING, "memory_info is gone: memory is sampled")
        elif isinstance(event, Lost):
            self.ask()
        else:
            if isinstance(event, LevelEvent) and event.previous == event.stats.level and event.stats.seq > self._seq:
                self.ask()  # the thresholds were set
            self._take_stats(event.stats)
        if isinstance(event, ArmedKillEvent):
            self._stats[event.stats.seq] = event.stats
            while len(self._stats) > _EVENTS_MOST:
                del self._stats[next(iter(self._stats))]
            self.ask()

    def _read_stats(self) -> Answer | None:
        if self._module is None:
            return None
        try:
            answer = self._module.read_stats()
        except GoneError:  # it goes: the event is on its way
            self.level = None
            return None
        except CgoomError as error:
            self._say(f"memory_info cannot be asked, memory is sampled: {error.message}")
            self.level = None
            return None
        if self._is_followed and not self._is_ours(answer):
            self._set_again()
        elif self._is_followed:  # by thresholds of its own its level says nothing
            self.level, self._seq = answer.stats.level, answer.stats.seq
        return answer

    def _is_ours(self, answer: Answer) -> bool:
        """Whether it judges as it was told; as it stands in a message, since that is where amounts are rounded."""
        told = encode_thresholds(self._host or answer.host, self._fill_bytes_per_sec)
        return encode_thresholds(answer.host, answer.fill_kib_per_sec * _BYTES_PER_KIB) == told

    def _set_again(self) -> None:
        """Somebody set other thresholds, as a parameter or by a request: ours again, but not in turns."""
        now_usec = read_usec()
        if self._host is None or (self._set_again_usec is not None and now_usec - self._set_again_usec < _AGAIN_USEC):
            self.level, self._is_followed = None, False
            self._say("somebody else sets memory_info's thresholds, memory is sampled until the policy is reloaded")
            return
        self._set_again_usec = now_usec
        self._journal.write(Severity.WARNING, "memory_info had other thresholds than the policy's: they are set again")
        self.follow(self._host)

    def _take_stats(self, stats: Stats) -> None:
        """Every event tells the level. One that waited while something newer was asked for says nothing any more, and
        one with a gap before it is not the whole story.
        """
        if self.level is None:
            if self._is_followed:  # the last answer was none
                self.ask()
            return
        if stats.seq <= self._seq:
            return
        if stats.seq != self._seq + 1:
            self.ask()
        self.level, self._seq = stats.level, stats.seq

    def _say(self, text: str) -> None:
        """Once, until it is taken again."""
        if text != self._said:
            self._said = text
            self._journal.write(Severity.WARNING, text)


def find_new(answer: Answer, told_ns: int) -> list[ArmedKill]:
    """The armed kills after that moment (CLOCK_MONOTONIC), oldest first.

    By time and not by number: the numbers begin anew when the module is inserted again.
    """
    return sorted((kill for kill in answer.kills if kill.time_ns > told_ns), key=lambda kill: kill.time_ns)

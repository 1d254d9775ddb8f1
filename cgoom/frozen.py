"""Frozen records for the processes that must be small or start at once.

`@dataclass(frozen=True, slots=True)` says the same, but its import brings `inspect`, `ast` and `dis`: measured with
Python 3.11, 13 ms and 2.6 MiB of private memory, more than a bare interpreter takes to start and to live. What every
launch and every waiting parent loads is therefore a `Frozen`; everything else stays a dataclass.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any, dataclass_transform
else:

    def dataclass_transform(**_options: object) -> Callable[[type], type]:
        """What `typing` has for type checkers; importing that would cost 4 ms."""
        return lambda cls: cls


@dataclass_transform(frozen_default=True)
class Frozen:
    """Base of a record: the annotated names of a subclass are its fields, a value given to one is its default."""

    _fields: tuple[str, ...] = ()

    def __init_subclass__(cls) -> None:
        """Learn the fields, in the order in which they are written."""
        cls._fields = tuple(cls.__annotations__)

    def __init__(self, *given: Any, **named: Any) -> None:
        """Fields by position, then by name. Raises TypeError for one that is missing or unknown."""
        fields = self._fields
        if not named and len(given) == len(fields):  # a launch, and a daemon for each workload that it adopts
            self.__dict__.update(zip(fields, given, strict=True))
            return
        values = dict(zip(fields, given, strict=False)) | named
        wrong = [name for name in fields if name not in values and not hasattr(type(self), name)]
        if wrong or len(values) != len(given) + len(named) or not values.keys() <= set(fields):
            raise TypeError(f"{type(self).__name__}: fields are {', '.join(fields)}")
        self.__dict__.update(values)

    def __setattr__(self, name: str, value: object) -> None:
        raise AttributeError(f"{type(self).__name__}.{name} is frozen")

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Frozen) and type(other) is type(self) and self._values() == other._values()

    def __hash__(self) -> int:
        return hash(self._values())

    def __repr__(self) -> str:
        shown = ", ".join(f"{name}={value!r}" for name, value in zip(self._fields, self._values(), strict=True))
        return f"{type(self).__name__}({shown})"

    def _values(self) -> tuple[Any, ...]:
        return tuple(getattr(self, name) for name in self._fields)

"""What every test of a refusal needs: the error itself, and the promise that it is one line."""

from __future__ import annotations

import pytest

from cgoom.errors import PolicyError
from cgoom.policy.parse import parse_policy

# Characters. The longest message: a file name and a value that were cut, every character of both escaped to ten.
MESSAGE_LIMIT = 10 * (512 + 80) + 1000


def refuse(text: str | bytes, file: str = "p.yaml") -> PolicyError:
    """The error that `text` ends in, checked to be one printable line with a hint of one printable line."""
    with pytest.raises(PolicyError) as caught:
        parse_policy(text.encode() if isinstance(text, str) else text, file)
    require_one_line(caught.value)
    return caught.value


def require_one_line(error: PolicyError) -> None:
    """Fails unless message and hint are what a terminal shows as one line each."""
    for line in (error.message, error.hint):
        assert line
        assert line.isprintable()
        assert len(line) < MESSAGE_LIMIT

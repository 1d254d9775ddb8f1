"""Bytes of a policy file to text: size, encoding, and no character that an editor would not show."""

from __future__ import annotations

import re

from cgoom.policy.node import Spot, fault, place

# Bytes. Chosen: 256 rules with the longest patterns fit; parsing more would only delay the start of the daemon.
TEXT_LIMIT_BYTES = 2**20
# C0 and C1 controls, line breaks that editors do not count, marks that reorder a line on the screen, and noncharacters.
_FORBIDDEN = re.compile("[\x00-\x09\x0b-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069\ufeff\ufffe\uffff]")


def parse_text(text: bytes, file: str) -> str:
    """The text of the file with line feeds only. Raises PolicyError.

    A byte order mark at the start and line ends of CR LF are what editors on other systems write; both are taken.
    """
    if len(text) > TEXT_LIMIT_BYTES:
        what = f"larger than {TEXT_LIMIT_BYTES} bytes"
        raise fault(Spot(place(file, 1, 1)), what, "a policy has at most 256 rules; is this the right file?")
    decoded = _decode(text, file).removeprefix("\ufeff").replace("\r\n", "\n")
    found = _FORBIDDEN.search(decoded)
    if found is None:
        return decoded
    spot = _spot(file, decoded[: found.start()])
    if found.group() == "\t":
        raise fault(spot, "a tab", "indent with spaces")
    raise fault(spot, f"the control character U+{ord(found.group()):04X}", "remove it; a policy is plain text")


def _decode(text: bytes, file: str) -> str:
    try:
        return text.decode()
    except UnicodeDecodeError as error:
        good = text[: error.start].decode().removeprefix("\ufeff").replace("\r\n", "\n")
        what = f"the byte 0x{text[error.start]:02x} is not UTF-8"
        raise fault(_spot(file, good), what, "save the file as UTF-8") from None


def _spot(file: str, before: str) -> Spot:
    """The place of the character that follows `before`."""
    line_start = before.rfind("\n") + 1
    return Spot(place(file, before.count("\n") + 1, len(before) - line_start + 1))

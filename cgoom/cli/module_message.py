"""The messages of `memory_info` as pyroute2 knows messages: the second, independent reader of kmod/uapi/memory_info.h.

Importing pyroute2 takes ten times as long as the whole rest of a command, so only `cgoom module` imports this file.
"""

from __future__ import annotations

from pyroute2.netlink import NLA_F_NESTED, genlmsg, nla

FAMILY = "memory_info"
GROUP = "events"
VERSION = 1
GET_STATS = 1
# Command number -> name of the event.
EVENTS = {5: "level", 6: "oom", 7: "armed-kill", 8: "near"}

# The enum of the header in its order: a place in the tuple is the number of the attribute.
_ATTRIBUTES = (
    ("MEMORY_INFO_A_UNSPEC", "none"),
    ("MEMORY_INFO_A_PAD", "hex"),
    ("MEMORY_INFO_A_TOTAL_KIB", "uint64"),
    ("MEMORY_INFO_A_AVAILABLE_KIB", "uint64"),
    ("MEMORY_INFO_A_FREE_KIB", "uint64"),
    ("MEMORY_INFO_A_SWAP_TOTAL_KIB", "uint64"),
    ("MEMORY_INFO_A_SWAP_FREE_KIB", "uint64"),
    ("MEMORY_INFO_A_PAGE_SIZE", "uint32"),
    ("MEMORY_INFO_A_LEVEL", "uint32"),
    ("MEMORY_INFO_A_SEQ", "uint64"),
    ("MEMORY_INFO_A_TIME_NS", "uint64"),
    ("MEMORY_INFO_A_WARN", "threshold"),
    ("MEMORY_INFO_A_KILL", "threshold"),
    ("MEMORY_INFO_A_RECOVER", "threshold"),
    ("MEMORY_INFO_A_FILL_KIB_PER_SEC", "uint64"),
    ("MEMORY_INFO_A_ORDER", "cdata"),
    ("MEMORY_INFO_A_ARMED", "uint32"),
    ("MEMORY_INFO_A_OOMS", "uint64"),
    ("MEMORY_INFO_A_LOOKS", "uint64"),
    ("MEMORY_INFO_A_LOOK_NS", "uint64"),
    ("MEMORY_INFO_A_KILLS", "kills"),
    ("MEMORY_INFO_A_ENTRY", "entry"),
    ("MEMORY_INFO_A_CGROUP_ID", "uint64"),
    ("MEMORY_INFO_A_PROCESSES", "uint32"),
    ("MEMORY_INFO_A_PREVIOUS_LEVEL", "uint32"),
)

_THRESHOLD = (
    ("MEMORY_INFO_T_UNSPEC", "none"),
    ("MEMORY_INFO_T_PAD", "hex"),
    ("MEMORY_INFO_T_MEM_PPM", "uint32"),
    ("MEMORY_INFO_T_MEM_KIB", "uint64"),
    ("MEMORY_INFO_T_SWAP_PPM", "uint32"),
    ("MEMORY_INFO_T_SWAP_KIB", "uint64"),
)


def _map(*nests: str) -> tuple[tuple[str, str], ...]:
    """The attributes at a place where only `nests` may stand: pyroute2 wants a class for every other one, too."""
    plain = {"threshold", "kills", "entry"} - set(nests)
    return tuple((name, "hex" if kind in plain else kind) for name, kind in _ATTRIBUTES)


class ModuleMessage(genlmsg):
    """One message of the family; `cmd` and `version` are fields, everything else attributes by their kernel names."""

    prefix = "MEMORY_INFO_A_"
    nla_map = _map("threshold", "kills")

    class kills(nla):  # noqa: N801 - pyroute2 finds the class by the name in the map
        """The numbers go on one storey down: KILLS holds ENTRYs."""

        nla_flags = NLA_F_NESTED
        prefix = "MEMORY_INFO_A_"
        nla_map = _map("entry")

        class entry(nla):  # noqa: N801 - as above
            """What is known of one armed kill."""

            nla_flags = NLA_F_NESTED
            prefix = "MEMORY_INFO_A_"
            nla_map = _map()

    class threshold(nla):  # noqa: N801 - as above
        """Memory and swap, each as a share or as a size."""

        nla_flags = NLA_F_NESTED
        prefix = "MEMORY_INFO_T_"
        nla_map = _THRESHOLD


def list_attributes(message: nla) -> dict[str, object]:
    """The attributes of a message or nest by lower-case name without prefix; KILLS becomes a list of entries."""
    found: dict[str, object] = {}
    for cell in message["attrs"]:
        name, value = cell[0], cell[1]
        short = name.removeprefix("MEMORY_INFO_A_").removeprefix("MEMORY_INFO_T_").lower()
        if short == "kills":
            found[short] = [list_attributes(entry[1]) for entry in value["attrs"]]
        elif isinstance(value, dict):
            found[short] = list_attributes(value)
        elif name.startswith("MEMORY_INFO_"):
            found[short] = value
    return found

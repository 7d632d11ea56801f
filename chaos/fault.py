"""Defines faults of the connection to Fitten: their kinds, and how a prompt asks for one.

The prompt of a request says which fault it meets, `tag=NAME fault=KIND:AT:TIMES`; the proxy does
not choose by chance. Connections come in another order in every run, prompts do not.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

# What each fault does.
FAULTS = {
    "refuse": "the connection is reset in place of an answer; the emulator never sees the request",
    "reset": "the connection is reset after AT bytes of the answer",
    "close": "the connection is closed in order after AT bytes of the answer",
    "hang": "nothing more comes after AT bytes, until the gateway leaves",
    "garbage": "bytes that belong to nothing stand after AT bytes of the answer",
    "stall": "a pause after AT bytes of the answer",
    "trickle": "the answer comes a few bytes at a time",
}
# After these the answer is as whole as without.
HARMLESS = frozenset({"stall", "trickle"})

_ORDER = re.compile(rb"tag=([a-z0-9-]+)(?: fault=([a-z]+):(\d+):(\d+))?")


@dataclass(frozen=True)
class ChaosFault:
    """Describes a fault of the first `times` exchanges of a request. at: bytes of the answer."""

    kind: str
    at: int
    times: int

    def __str__(self) -> str:
        return f"fault={self.kind}:{self.at}:{self.times}"


def read(text: bytes) -> tuple[str, ChaosFault | None]:
    """Return the tag in a request and the fault it asks for; "" and None if there is none."""
    found = _ORDER.search(text)
    if found is None:
        return "", None
    tag, kind, at, times = (group.decode() if group else "" for group in found.groups())
    return tag, ChaosFault(kind, int(at), int(times)) if kind in FAULTS else None

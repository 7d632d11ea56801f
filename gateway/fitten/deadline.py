"""Defines the deadline of a request, which everything before its first piece has to keep."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass

from gateway.errors import UpstreamTimeout


@dataclass(frozen=True, slots=True)
class Deadline:
    """Holds a point in time. at: of the event loop's clock, in seconds."""

    at: float

    @property
    def left(self) -> float:
        """Return the seconds until the deadline; negative after it."""
        return self.at - asyncio.get_running_loop().time()


def timeout_error() -> UpstreamTimeout:
    """Return the error for an upstream that did not answer before the deadline."""
    return UpstreamTimeout("Fitten did not answer in time; please try again.")

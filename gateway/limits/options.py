"""Defines the limits as options of the configuration."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Annotated

from gateway.limits.names import LIMIT_NAMES
from gateway.options import SHOWN_IF_SET, Amount

# Each request of the last minute is remembered, so the number is bounded.
Rate = Annotated[int, Amount(100_000)]
Budget = Annotated[int, Amount(10**15)]


@dataclass(frozen=True, slots=True, kw_only=True)
class LimitOptions:
    """Sets limits; None for no limit, 0 to admit nothing.

    A number may end in `k` (thousand) or `m` (million).
    """

    chats_per_minute: Rate | None = field(default=None, metadata=SHOWN_IF_SET)
    completions_per_minute: Rate | None = field(default=None, metadata=SHOWN_IF_SET)
    listings_per_minute: Rate | None = field(default=None, metadata=SHOWN_IF_SET)
    tokens_per_minute: Budget | None = field(default=None, metadata=SHOWN_IF_SET)
    concurrency: Rate | None = field(default=None, metadata=SHOWN_IF_SET)
    requests_per_day: Budget | None = field(default=None, metadata=SHOWN_IF_SET)
    requests_per_month: Budget | None = field(default=None, metadata=SHOWN_IF_SET)
    tokens_per_5h: Budget | None = field(default=None, metadata=SHOWN_IF_SET)
    tokens_per_day: Budget | None = field(default=None, metadata=SHOWN_IF_SET)
    tokens_per_7d: Budget | None = field(default=None, metadata=SHOWN_IF_SET)
    tokens_per_month: Budget | None = field(default=None, metadata=SHOWN_IF_SET)

    def by_name(self) -> dict[str, int]:
        """Return the limits that are set, by their names."""
        values = ((name, getattr(self, name)) for name in LIMIT_NAMES)
        return {name: value for name, value in values if value is not None}

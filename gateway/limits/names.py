"""Defines the names of the limits, which are the same in configuration, headers and messages."""

from __future__ import annotations

from typing import Literal

Kind = Literal["chat", "completion", "listing"]
"""The class of a request: a generation, code at the cursor, or any other route behind a key."""

ROUTE_NAMES = ("chat", "completion", "fim", "infill")
"""The routes that the upstream answers, as rows of the ledger name them; a key may have some."""

LIMIT_NAMES = (
    "chats_per_minute",
    "completions_per_minute",
    "listings_per_minute",
    "tokens_per_minute",
    "concurrency",
    "requests_per_day",
    "requests_per_month",
    "tokens_per_5h",
    "tokens_per_day",
    "tokens_per_7d",
    "tokens_per_month",
)

BUDGET_NAMES = LIMIT_NAMES[5:]
"""Limits that last for hours or longer. Who has used one up gets `insufficient_quota`."""

TOKEN_NAMES = tuple(name for name in LIMIT_NAMES if name.startswith("tokens"))

_GENERATION_NAMES = ("tokens_per_minute", "concurrency", *BUDGET_NAMES)

NAMES_OF_KIND: dict[Kind, tuple[str, ...]] = {
    "chat": ("chats_per_minute", *_GENERATION_NAMES),
    "completion": ("completions_per_minute", *_GENERATION_NAMES),
    "listing": ("listings_per_minute",),
}
"""Which limits apply to a request of each class."""

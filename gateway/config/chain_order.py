"""Warns of middlewares in an order in which they do not do what they are for."""

from __future__ import annotations

from collections.abc import Sequence

# The first must be before the second; else the third happens.
_ORDER = (
    ("request_id", "request_log", "the line of a request has no id"),
    ("request_id", "api_key", "an answer to a wrong key has no id"),
    ("request_log", "api_key", "requests with a wrong key are not logged"),
    ("request_log", "rate_limit", "requests over the limit are not logged"),
    ("cors", "api_key", "a page cannot read the answer to a wrong key"),
    ("cors", "rate_limit", "a page cannot read that its limit is reached"),
    ("api_key", "rate_limit", "requests are counted by address, not by key"),
)


def order_warnings(names: Sequence[str], path: str) -> dict[str, str]:
    """Return what is probably not meant in the order of a chain, by path.

    names: of the middlewares, the outermost first. path: the place of the list.
    """
    if not names:
        return {path: "is empty: nobody is asked for a key, nothing is limited or logged"}
    warnings: dict[str, str] = {}
    for first, second, otherwise in _ORDER:
        if first in names and second in names and names.index(first) > names.index(second):
            place = f"{path}[{names.index(second)}].{second}"
            text = f"is before {first}: {otherwise}; move {first} before it"
            warnings[place] = f"{warnings[place]}; {text}" if place in warnings else text
    return warnings

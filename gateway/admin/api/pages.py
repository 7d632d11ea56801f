"""Cuts a sorted list into pages. A cursor names the last item of a page, so none is lost."""

from __future__ import annotations

import base64
from collections.abc import Callable, Iterable
from typing import TypeVar

import msgspec

from gateway.keys.errors import InvalidValue

Item = TypeVar("Item")

DEFAULT_ITEMS = 100
MOST_ITEMS = 1000
"""The most items of a page."""


def page_of(
    items: Iterable[Item], place: Callable[[Item], tuple[str, str]], cursor: str | None, limit: int
) -> tuple[list[Item], str | None]:
    """Return the items of a page, and the cursor of the next one; None at the end.

    place: of an item in the order of the list; no two items have the same.
    Raises InvalidValue for a cursor that no list gave.
    """
    after = None if cursor is None else _place_of(cursor)
    left = sorted((item for item in items if after is None or place(item) > after), key=place)
    found = left[:limit]
    return found, _cursor_of(place(found[-1])) if len(left) > limit else None


def _cursor_of(place: tuple[str, str]) -> str:
    return base64.urlsafe_b64encode(msgspec.json.encode(place)).decode().rstrip("=")


def _place_of(cursor: str) -> tuple[str, str]:
    try:
        raw = base64.urlsafe_b64decode(cursor.encode() + b"=" * (-len(cursor) % 4))
        return msgspec.json.decode(raw, type=tuple[str, str])
    except (ValueError, msgspec.DecodeError):
        raise InvalidValue("The cursor is not one that this list gave.", param="cursor") from None

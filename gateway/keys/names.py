"""Checks the names of keys and teams."""

from __future__ import annotations

from typing import Final

MAX_NAME: Final = 64


def name_fault(text: str) -> str | None:
    """Return why a text cannot be the name of a key or a team, or None if it can.

    A name has 1 to 64 printable characters, and no blank before or after it. Control characters
    and those that change the direction of writing are not printable.
    """
    if not text:
        return "must not be empty"
    if len(text) > MAX_NAME:
        return f"has {len(text)} characters; {MAX_NAME} at most are allowed"
    if not text.isprintable():
        return "has a control character, or one that changes the direction of writing, in it"
    if text != text.strip():
        return "has a blank before or after it"
    return None

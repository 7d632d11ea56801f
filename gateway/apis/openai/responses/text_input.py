"""Finds the text of a custom tool's call in the JSON arguments that a model wrote."""

from __future__ import annotations

import json
import re
from typing import Literal

_OPENING = re.compile(r'\s*\{\s*"input"\s*:\s*"')
_MAX_OPENING = 64  # characters
_STRING = re.compile(r'(?:[^"\\]+|\\u[0-9a-fA-F]{4}|\\[^u])*')
_HALF = re.compile(r"\\u[dD][89abAB][0-9a-fA-F]{2}\Z")  # the first half of a surrogate pair
_MAY_WRAP = "{`~"
_FENCE = re.compile(r"\s*(`{3,}|~{3,})[^\n]*\n(.*?\n)\1\s*", re.DOTALL)
# Members under which models put the text, by the names of their other tools.
_MEMBERS = ("input", "patch", "text", "command", "cmd", "code", "content", "arguments")


class TextInput:
    """Decodes the argument of one call while it arrives.

    The text is passed on as it comes. One that may be wrapped, in a fence or in JSON, is passed
    on at the end.
    """

    def __init__(self) -> None:
        self._parts: list[str] = []
        self._held = ""  # JSON that has been taken and not decoded
        self._lead = ""  # white space before the text, which may yet be wrapped
        self._state: Literal["opening", "lead", "text", "whole"] = "opening"
        self._sent = 0  # characters of the text that have been passed on

    def feed(self, arguments: str) -> str:
        """Take a part of the arguments; return the text that can be passed on."""
        self._parts.append(arguments)
        if self._state == "whole":
            return ""
        self._held += arguments
        if self._state == "opening":
            opening = _OPENING.match(self._held)
            if opening is None:
                self._state = "whole" if len(self._held) > _MAX_OPENING else "opening"
                return ""
            self._held = self._held[opening.end() :]
            self._state = "lead"
        text = self._decode()
        if self._state == "lead":
            text = self._lead + text
            if not text.strip():
                self._lead = text
                return ""
            self._state = "whole" if text.lstrip()[0] in _MAY_WRAP else "text"
            if self._state == "whole":
                return ""
        self._sent += len(text)
        return text

    def end(self) -> str | None:
        """Return the whole text of the call; None if its arguments are not whole."""
        arguments = "".join(self._parts)
        try:
            text = _text_of(json.loads(arguments, strict=False))
        except (ValueError, RecursionError):
            return None
        text = arguments if text is None else text
        return text if self._state == "text" else _unwrapped(text)

    @property
    def sent(self) -> int:
        """Return how many characters of the text have been passed on."""
        return self._sent

    def _decode(self) -> str:
        """Return the text that is held, up to its end or to an escape that is not whole."""
        found = _STRING.match(self._held)
        end = found.end() if found else 0
        if half := _HALF.search(self._held, 0, end):
            end = half.start()
        text = json.loads(f'"{self._held[:end]}"', strict=False)
        self._held = self._held[end:]
        return str(text)


def _text_of(given: object) -> str | None:
    """Return the text in arguments; None if they have none."""
    if not isinstance(given, dict):
        return given if isinstance(given, str) else None
    names = [name for name in _MEMBERS if name in given] or [*given][: len(given) == 1]
    for name in names:
        value = given[name]
        if isinstance(value, list) and value:  # a command line; the text is its last word
            value = value[-1]
        if isinstance(value, str):
            return value
    return None


def _unwrapped(text: str) -> str:
    """Return a text without a fence around it, and without JSON around it."""
    if fence := _FENCE.fullmatch(text):
        text = fence[2]
    if text.lstrip().startswith("{"):
        try:
            given = json.loads(text, strict=False)
        except (ValueError, RecursionError):
            return text
        if isinstance(given, dict) and len(given) == 1 and next(iter(given)) in _MEMBERS:
            inner = _text_of(given)
            return text if inner is None else inner
    return text

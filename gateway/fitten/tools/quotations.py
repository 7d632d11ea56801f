"""Tells whether a text of the answer is a quotation of the request. No I/O."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from typing import Any

from gateway.generation.request import Message, Tool

_BETWEEN = "\0"  # no white space, so no text goes on in the next one
_TEXTS = frozenset((str, dict, list))
# Calls in JSON are quoted as the prompt writes them: letters not escaped.
_encode = json.JSONEncoder(ensure_ascii=False).encode


class Quotations:
    """Searches the texts of a request; white space does not count.

    A model that quotes a page or a file may write a call that stands there. Such a call must not
    be run. The texts are those of messages, of calls in the history, and of offered tools. They
    are prepared at the first search, since few answers need one.
    """

    def __init__(self, messages: Sequence[Message], tools: Sequence[Tool] = ()) -> None:
        self._messages = messages
        self._tools = tools
        self._texts: str | None = None

    def has(self, text: str) -> bool:
        """Return whether the request has this text."""
        if self._texts is None:
            self._texts = _packed(_BETWEEN.join(self._all_texts()))
        return _packed(text) in self._texts

    def _all_texts(self) -> Iterator[str]:
        for message in self._messages:
            yield message.text
            for call in message.calls:
                yield from _texts_of_json(call.arguments)
        for tool in self._tools:
            yield tool.description
            yield from _texts_of(dict(tool.parameters))


def _texts_of_json(text: str) -> Iterator[str]:
    try:
        yield from _texts_of(json.loads(text))
    except (ValueError, RecursionError):
        yield text


def _texts_of(value: Any) -> Iterator[str]:
    """Yield a JSON value, and each text in it as it is without escapes."""
    try:
        yield _encode(value)
    except RecursionError:
        return
    stack = [value]
    while stack:
        inner = stack.pop()
        if isinstance(inner, str):
            yield inner
        elif isinstance(inner, dict):
            stack += [one for pair in inner.items() for one in pair if one.__class__ in _TEXTS]
        elif isinstance(inner, list):
            stack += [one for one in inner if one.__class__ in _TEXTS]


def _packed(text: str) -> str:
    return "".join(text.split())

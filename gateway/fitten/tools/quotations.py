"""Tells whether a text of the answer is a quotation of the request. No I/O."""

from __future__ import annotations

from collections.abc import Sequence

from gateway.generation.request import Message


class Quotations:
    """Searches the texts of a request; white space does not count.

    A model that quotes a page or a file may write a call that stands there. Such a call must not
    be run. The texts are prepared at the first search, since few answers need one.
    """

    def __init__(self, messages: Sequence[Message]) -> None:
        self._messages = messages
        self._texts: str | None = None

    def has(self, text: str) -> bool:
        """Return whether one of the messages has this text."""
        if self._texts is None:
            self._texts = "\n".join([_packed(message.text) for message in self._messages])
        return _packed(text) in self._texts


def _packed(text: str) -> str:
    return "".join(text.split())

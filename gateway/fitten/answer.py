"""Defines what the upstream needs of an answer; chats, JSON and completions implement it."""

from __future__ import annotations

from typing import Protocol

from gateway.generation.outcome import AnswerResult


class Answer(Protocol):
    """Sends the batches of one answer to the sink that it was made with."""

    @property
    def result(self) -> AnswerResult:
        """Return what is known of the answer; final after `run`."""
        ...

    async def run(self) -> None:
        """Send the answer and return when it is whole. Raises a GatewayError when it is not.

        The calls to Fitten have ended then, in each case.
        """
        ...

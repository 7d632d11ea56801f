"""Defines what the writers of all notations return, and what they share."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from gateway.fitten.prompt_limit import MAX_CHARS, too_long_error
from gateway.generation.outcome import OfferedTools
from gateway.generation.request import GenerationRequest, Message

NO_PARAMETERS: Mapping[str, object] = {"type": "object", "properties": {}}
"""Describes the arguments of a tool that has no JSON schema."""


@dataclass(frozen=True, slots=True)
class WrittenTools:
    """Holds the messages with all tools, calls and results as text.

    value: what marks the blocks of the hybrid notation; None for another notation.
    offered: how the list of the tools was written; None when no tool is offered.
    """

    messages: tuple[Message, ...]
    value: str | None = None
    offered: OfferedTools | None = None


def refuse_excess(size: int, messages: Sequence[Message]) -> None:
    """Raise the error for a prompt that is too long, before it is processed.

    size: characters.
    """
    if size > MAX_CHARS:
        raise too_long_error(size, messages)


def refuse_long_history(request: GenerationRequest, size_of_call: int) -> None:
    """Raise the error for messages that are too long already without the tools.

    size_of_call: the characters that a call takes besides what the client sent.
    """
    calls = [call for message in request.messages for call in message.calls]
    size = sum(len(message.text) + len(message.call_id or "") for message in request.messages)
    size += sum(len(call.id) + len(call.name) + len(call.arguments) for call in calls)
    refuse_excess(size + size_of_call * len(calls), request.messages)

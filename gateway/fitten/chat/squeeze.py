"""Cuts tool results in a request that sums up its conversation. No I/O.

Nothing else is ever shortened; see docs/decisions/compaction.md.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from gateway.generation.compaction import is_compaction
from gateway.generation.request import GenerationRequest, Message, inline

# Characters that stay at the beginning and at the end of a result, more in the first round.
_ROUNDS = ((1500, 500), (300, 100), (0, 0))
_MARK = "\n[... {count} characters left out here to make room for the summary ...]\n"
_MAX_MARK = len(_MARK) + 10


def shorten(request: GenerationRequest, excess: int) -> GenerationRequest | None:
    """Return a request for a summary with about `excess` characters less.

    Returns None for any other request, and if nothing can be shortened.
    """
    if not (request.keeps_reserve and is_compaction(request)):
        return None
    messages = _shorten_results(request.messages, excess)
    if length_of(messages) >= length_of(request.messages):
        return None
    return replace(request, messages=messages)


def length_of(messages: Sequence[Message]) -> int:
    """Return the characters of messages, without what the prompt adds."""
    return sum(_length(message) for message in messages)


def _shorten_results(messages: Sequence[Message], excess: int) -> tuple[Message, ...]:
    """Return the messages with at least `excess` characters less, if their results allow it.

    The oldest results are shortened first, each to its beginning and its end with a mark between
    them. Images of a shortened result are left out.
    """
    shorter = list(messages)
    for head, tail in _ROUNDS:
        for index, message in enumerate(shorter):
            if excess <= 0:
                return tuple(shorter)
            if message.role == "tool":
                shorter[index] = less = _shortened(message, head, tail)
                excess -= _length(message) - _length(less)
    return tuple(shorter)


def _length(message: Message) -> int:
    return len(message.text) + sum(len(image.data) for image in inline(message.images))


def _shortened(message: Message, head: int, tail: int) -> Message:
    text, count = message.text, len(message.text) - head - tail
    if count > _MAX_MARK:
        end = text[len(text) - tail :]
        text = text[:head] + _MARK.format(count=count) + end
    if message.images:
        text += f"\n[{len(message.images)} images left out here to make room for the summary]"
    return replace(message, text=text, images=())

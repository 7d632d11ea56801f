"""Messages -> the one string that Fitten takes as a conversation (protocol 4.3)."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

from gateway.errors import InvalidRequest
from gateway.generation import Message

# Protocol 4.3 and 8: the official extension's own limit, in characters.
MAX_CHARS = 307_200

# What would open or close a turn; anything in that form is kept from meaning anything.
ROLE_MARKERS = ("<|end|>", "<|user|>", "<|assistant|>", "<|system|>", "<|endoftext|>")

_MARKER = re.compile(r"<\|([^\s<>|]{1,64})\|>")


def neutralise(text: str) -> str:
    """The text with a blank on either side of the word in anything like `<|word|>`.

    That is what the official extension does; a person or a model still reads it.
    """
    # One character is found far faster than two, and most texts have neither.
    return _MARKER.sub(r"<| \1 |>", text) if "|" in text and "<|" in text else text


def render(messages: Sequence[Message], *, default_system: str, limit: int = MAX_CHARS) -> str:
    """The prompt: one system block in front, each turn a block, the answer's opening.

    Every system message goes into the leading block, in order, a blank line between;
    without any it holds `default_system`. Tool results become user turns.
    Raises InvalidRequest (`context_length_exceeded`) beyond `limit` characters.
    """
    system = "\n\n".join(m.text for m in messages if m.role == "system" and m.text)
    blocks = [_block("system", system or default_system)]
    blocks.extend(_turns(m for m in messages if m.role != "system"))
    blocks.append("<|assistant|>")
    prompt = "\n".join(blocks)
    if len(prompt) > limit:
        raise InvalidRequest(
            f"This model's maximum context length is {limit} characters. However, your messages "
            f"resulted in {len(prompt)} characters. Please reduce the length of the messages.",
            code="context_length_exceeded",
            param="messages",
        )
    return prompt


def _turns(messages: Iterable[Message]) -> Iterable[str]:
    for message in messages:
        if message.role == "tool":
            yield _block("user", f"Tool result ({message.call_id or 'unnamed'}):\n{message.text}")
        else:
            yield _block(message.role, message.text)


def _block(role: str, text: str) -> str:
    return f"<|{role}|>\n{neutralise(text)}\n<|end|>"

"""Messages -> the one string that Fitten takes as a conversation (protocol 4.3)."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

from gateway.fitten.prompt_limit import MAX_CHARS, MAX_EXAMINED_CHARS, too_long_error
from gateway.generation.request import Image, Message, RemoteImage, inline

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
    without any it holds `default_system`. Tool results become user turns. Images are to be
    fetched before.
    Raises InvalidRequest (`context_length_exceeded`) beyond `limit` characters.
    """
    size = 0
    for message in messages:
        size += len(message.text)
    if size > MAX_EXAMINED_CHARS:
        raise too_long_error(size, messages, limit)
    system = "\n\n".join(m.text for m in messages if m.role == "system" and m.text)
    blocks = [_block("system", system or default_system)]
    blocks.extend(_turns(m for m in messages if m.role != "system"))
    blocks.append("<|assistant|>")
    prompt = "\n".join(blocks)
    if len(prompt) > limit:
        raise too_long_error(len(prompt), messages, limit)
    return prompt


def _turns(messages: Iterable[Message]) -> Iterable[str]:
    for message in messages:
        if message.role == "tool":
            text = f"Tool result ({message.call_id or 'unnamed'}):\n{message.text}"
            yield _block("user", text, message.images)
        else:
            yield _block(message.role, message.text, message.images)


def _block(role: str, text: str, images: Sequence[Image | RemoteImage] = ()) -> str:
    """Pictures stand before the text, each on a line of its own (protocol 4.5)."""
    if images:
        lines = [f"![Base64 Image](data:{i.mime};base64,{i.data})\n" for i in inline(images)]
        return f"<|{role}|>\n{''.join(lines)}{neutralise(text)}\n<|end|>"
    return f"<|{role}|>\n{neutralise(text)}\n<|end|>"

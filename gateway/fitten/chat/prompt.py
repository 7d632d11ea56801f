"""Renders messages as the one string that Fitten takes as a conversation (protocol 4.3)."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

from gateway.fitten.prompt_limit import MAX_CHARS, MAX_EXAMINED_CHARS, too_long_error
from gateway.generation.request import Image, Message, RemoteImage, inline

# They open and close turns. In texts of the client, these and similar markers are escaped.
ROLE_MARKERS = ("<|end|>", "<|user|>", "<|assistant|>", "<|system|>", "<|endoftext|>")
OPENING = "<|assistant|>"
"""What each prompt ends with, so that the model writes its own turn."""

_MARKER = re.compile(r"<\|([^\s<>|]{1,64})\|>")


def escape_role_markers(text: str) -> str:
    """Return the text with blanks around the word of each `<|word|>`, so that it is no marker.

    The official extension does the same. People and models can still read the text.
    """
    # A search for one character is far faster than for two, and most texts have neither.
    return _MARKER.sub(r"<| \1 |>", text) if "|" in text and "<|" in text else text


def render(messages: Sequence[Message], *, default_system: str, limit: int = MAX_CHARS) -> str:
    """Return the prompt: a system block, a block for each turn, the start of the answer.

    The texts of all system messages stand in the first block, separated by blank lines. If
    there are none, it holds `default_system`. Tool results become user turns.

    messages: their remote images must have been fetched before.
    limit: characters. Raises InvalidRequest (`context_length_exceeded`) for a longer prompt.
    """
    size = 0
    for message in messages:
        size += len(message.text)
    if size > MAX_EXAMINED_CHARS:
        raise too_long_error(size, messages, limit)
    system = "\n\n".join(m.text for m in messages if m.role == "system" and m.text)
    blocks = [_block("system", system or default_system)]
    blocks.extend(_turns(m for m in messages if m.role != "system"))
    blocks.append(OPENING)
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
    """Return one turn. Images stand before the text, each on its own line (protocol 4.5)."""
    if images:
        lines = [f"![Base64 Image](data:{i.mime};base64,{i.data})\n" for i in inline(images)]
        return f"<|{role}|>\n{''.join(lines)}{escape_role_markers(text)}\n<|end|>"
    return f"<|{role}|>\n{escape_role_markers(text)}\n<|end|>"

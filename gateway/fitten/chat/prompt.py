"""Renders messages as the one string that Fitten takes as a conversation (protocol 4.3)."""

from __future__ import annotations

import re
from collections.abc import Sequence

from gateway.fitten.conversation import begun_answer, leading_system_messages
from gateway.fitten.prompt_limit import MAX_CHARS, too_long_error
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
    if "|" not in text or "<|" not in text:
        return text
    # Of a text full of markers, this takes a quarter of the time of a substitution.
    parts = _MARKER.split(text)
    parts[1::2] = [f"<| {word} |>" for word in parts[1::2]]
    return "".join(parts)


def render(messages: Sequence[Message], *, default_system: str, limit: int = MAX_CHARS) -> str:
    """Return the prompt: a system block, a block for each turn, the start of the answer.

    The system messages before all others stand in the first block, separated by blank lines. If
    they have no text, it holds `default_system`. Tool results become user turns. If an assistant
    has the last word, its turn stays open: the answer continues it.

    messages: their remote images must have been fetched before.
    limit: characters. Raises InvalidRequest (`context_length_exceeded`) for a longer prompt.
    """
    size = 0
    for message in messages:
        size += len(message.text)
        if message.call_id:
            size += len(message.call_id)
    if size > limit:  # before it is processed, since that would take long
        raise too_long_error(size, messages, limit)
    count = leading_system_messages(messages)
    system = "\n\n".join([m.text for m in messages[:count] if m.text])
    blocks = [_block("system", system or default_system)]
    turns = messages[count:]
    begun = begun_answer(turns)
    for message in turns if begun is None else turns[:-1]:
        if message.role == "tool":
            text = f"Tool result ({message.call_id or 'unnamed'}):\n{message.text}"
            blocks.append(_block("user", text, message.images))
        elif message.text or message.role != "system":
            blocks.append(_block(message.role, message.text, message.images))
    blocks.append(OPENING if begun is None else _open_block(begun))
    prompt = "\n".join(blocks)
    if len(prompt) > limit:
        raise too_long_error(len(prompt), messages, limit)
    return prompt


def _open_block(message: Message) -> str:
    """Return the turn of an assistant without its end.

    White space at its end stays: clients append the answer to what they sent.
    """
    if not (message.text or message.images):
        return "<|assistant|>"
    return _block("assistant", message.text, message.images).removesuffix("\n<|end|>")


def _block(role: str, text: str, images: Sequence[Image | RemoteImage] = ()) -> str:
    """Return one turn. Images stand before the text, each on its own line (protocol 4.5)."""
    if images:
        lines = [f"![Base64 Image](data:{i.mime};base64,{i.data})\n" for i in inline(images)]
        return f"<|{role}|>\n{''.join(lines)}{escape_role_markers(text)}\n<|end|>"
    return f"<|{role}|>\n{escape_role_markers(text)}\n<|end|>"

"""Renders messages as the one string that Fitten takes as a conversation (protocol 4.3)."""

from __future__ import annotations

from collections.abc import Sequence

from gateway.fitten.chat.role_markers import escape_role_markers
from gateway.fitten.conversation import begun_answer, leading_system_messages
from gateway.fitten.prompt_limit import MAX_CHARS, too_long_error
from gateway.generation.request import Image, Message, RemoteImage, inline

# They open and close turns. In texts of the client, these and similar markers are escaped.
ROLE_MARKERS = ("<|end|>", "<|user|>", "<|assistant|>", "<|system|>", "<|endoftext|>")
OPENING = "<|assistant|>"
"""What each prompt ends with, so that the model writes its own turn."""


def render(
    messages: Sequence[Message],
    *,
    default_system: str,
    limit: int = MAX_CHARS,
    levels: set[int] | None = None,
) -> str:
    """Return the prompt: a system block, a block for each turn, the start of the answer.

    The system messages before all others stand in the first block, separated by blank lines. If
    they have no text, it holds `default_system`. Tool results become user turns. If an assistant
    has the last word, its turn stays open: the answer continues it.

    messages: their remote images must have been fetched before.
    limit: characters. Raises InvalidRequest (`context_length_exceeded`) for a longer prompt.
    levels: gets which role markers were escaped; see `escape_role_markers`.
    """
    size = 0
    for message in messages:
        size += len(message.text)
        if message.call_id:
            size += len(message.call_id)
    if size > limit:  # before it is processed, since that would take long
        raise too_long_error(size, messages, limit)
    levels = set() if levels is None else levels
    count = leading_system_messages(messages)
    system = "\n\n".join([m.text for m in messages[:count] if m.text])
    blocks = [_block("system", system or default_system, levels)]
    turns = messages[count:]
    begun = begun_answer(turns)
    for message in turns if begun is None else turns[:-1]:
        if message.role == "tool":
            text = f"Tool result ({message.call_id or 'unnamed'}):\n{message.text}"
            blocks.append(_block("user", text, levels, message.images))
        elif message.text or message.role != "system":
            blocks.append(_block(message.role, message.text, levels, message.images))
    blocks.append(OPENING if begun is None else _open_block(begun, levels))
    prompt = "\n".join(blocks)
    if len(prompt) > limit:
        raise too_long_error(len(prompt), messages, limit)
    return prompt


def _open_block(message: Message, levels: set[int]) -> str:
    """Return the turn of an assistant without its end.

    White space at its end stays: clients append the answer to what they sent.
    """
    if not (message.text or message.images):
        return "<|assistant|>"
    block = _block("assistant", message.text, levels, message.images)
    return block.removesuffix("\n<|end|>")


def _block(
    role: str, text: str, levels: set[int], images: Sequence[Image | RemoteImage] = ()
) -> str:
    """Return one turn. Images stand before the text, each on its own line (protocol 4.5)."""
    text = escape_role_markers(text, levels)
    if images:
        lines = [f"![Base64 Image](data:{i.mime};base64,{i.data})\n" for i in inline(images)]
        return f"<|{role}|>\n{''.join(lines)}{text}\n<|end|>"
    return f"<|{role}|>\n{text}\n<|end|>"

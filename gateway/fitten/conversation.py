"""Finds the parts of a conversation that a prompt treats specially: its start and its end. No I/O.

System messages before all others make up the system block, the first one of a prompt. Later ones
keep their place, since clients use them as remarks on what was said before. A last message of an
assistant is the beginning of the answer.
"""

from __future__ import annotations

from collections.abc import Sequence

from gateway.generation.request import Message


def leading_system_messages(messages: Sequence[Message]) -> int:
    """Return how many system messages stand before all others."""
    count = 0
    for message in messages:
        if message.role != "system":
            break
        count += 1
    return count


def add_to_system_block(
    messages: Sequence[Message], text: str, *, default_system: str
) -> tuple[Message, ...]:
    """Return the messages with a text at the end of the system block.

    default_system: the text that stands first in a block which would else be empty.
    """
    count = leading_system_messages(messages)
    block = [message for message in messages[:count] if message.text]
    if not block:
        block.append(Message("system", default_system))
    return (*block, Message("system", text), *messages[count:])


def begun_answer(messages: Sequence[Message]) -> Message | None:
    """Return the last message if the answer continues it; None if the answer begins anew.

    An assistant that has called tools has ended its turn.
    """
    last = messages[-1] if messages else None
    return last if last is not None and last.role == "assistant" and not last.calls else None

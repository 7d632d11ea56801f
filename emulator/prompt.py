"""Parses the `inputs` string of a chat request into its blocks."""

from __future__ import annotations

import re
from dataclasses import dataclass

# Any case, because a marker in the wrong case inside a message is an attempt to break out of it,
# and the emulator should show when that works.
_MARKER = re.compile(r"<\|(system|user|assistant|end)\|>", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Block:
    """Describes one closed message of the conversation."""

    role: str
    text: str


@dataclass(frozen=True, slots=True)
class Prompt:
    """Holds a parsed prompt.

    `blocks` are the messages. `ends_with_assistant`: whether the prompt ends by opening the answer,
    as it should. `prefill`: what the client already wrote into that answer.
    """

    blocks: tuple[Block, ...]
    ends_with_assistant: bool
    prefill: str

    @property
    def last_user(self) -> str:
        """Return the text of the last user block, or an empty string."""
        return next((b.text for b in reversed(self.blocks) if b.role == "user"), "")

    @property
    def system(self) -> str:
        """Return the texts of all system blocks."""
        return "\n\n".join(b.text for b in self.blocks if b.role == "system" and b.text)

    @property
    def earlier_turns(self) -> int:
        """Return how many user and assistant blocks stand before the last user block."""
        turns = [b.role for b in self.blocks if b.role in ("user", "assistant")]
        while turns and turns[-1] != "user":
            turns.pop()
        return max(0, len(turns) - 1)


def parse_prompt(inputs: str) -> Prompt:
    """Read `<|role|>` text `<|end|>` blocks from a prompt, in time linear in its length.

    Lenient, because clients cut long prompts from the front: text outside blocks is dropped, and
    a block that was never closed ends where the next one begins.
    """
    blocks: list[Block] = []
    role = ""
    start = 0
    for marker in _MARKER.finditer(inputs):
        if role:
            blocks.append(Block(role, _inner(inputs[start : marker.start()])))
        name = marker[1].lower()
        role = "" if name == "end" else name
        start = marker.end()
    rest = inputs[start:] if role else ""
    if role and role != "assistant":
        blocks.append(Block(role, _inner(rest)))
    return Prompt(tuple(blocks), role == "assistant", rest.strip() if role == "assistant" else "")


def _inner(text: str) -> str:
    # The line feeds next to the markers belong to the format; all others to the message.
    return text.removeprefix("\n").removesuffix("\n")

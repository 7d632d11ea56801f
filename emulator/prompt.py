"""Parses the `inputs` string of a chat request into its blocks."""

from __future__ import annotations

import re
from dataclasses import dataclass

# Any case, because a marker in the wrong case inside a message is an attempt to break out of it,
# and the emulator should show when that works.
_MARKER = re.compile(r"<\|(system|user|assistant|end)\|>", re.IGNORECASE)
# The list of tools in the hybrid notation. Its tags carry the block value of the conversation.
_TOOLS = re.compile(r"^<tools-([A-Z0-9]{4})>\n(.*?)^</tools-\1>$", re.MULTILINE | re.DOTALL)


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
        """Return the text of the last user block, or an empty string.

        The line at its end that reminds a model of the hybrid notation is left out.
        """
        text = next((b.text for b in reversed(self.blocks) if b.role == "user"), "")
        return self.without_reminder(text)

    @property
    def block_value(self) -> str:
        """Return the value in the tags of the hybrid notation; "" if that is not asked for."""
        found = self._tools()
        return found[1] if found else ""

    @property
    def signatures(self) -> str:
        """Return the list of tools in the hybrid notation, or an empty string."""
        found = self._tools()
        return found[2] if found else ""

    def without_reminder(self, text: str) -> str:
        """Return the text of the last user block without the reminder of the notation."""
        value = self.block_value
        body, _, last = text.rpartition("\n")
        if not value or value not in last or last.startswith(f"</result-{value}>"):
            return text
        return body.removesuffix("\n")

    @property
    def system(self) -> str:
        """Return the texts of all system blocks."""
        return "\n\n".join(b.text for b in self.blocks if b.role == "system" and b.text)

    def _tools(self) -> re.Match[str] | None:
        system = self.system
        # The last one: what a client wrote into the system text stands before it.
        start = system.rfind("\n<tools-")
        return _TOOLS.search(system, max(0, start)) if "<tools-" in system else None

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

"""Finds out whether a request asks for a summary of its own conversation. No I/O.

An agent replaces its history by a summary when the context is nearly full. The request for the
summary carries the whole history once more.
"""

from __future__ import annotations

from gateway.generation.request import GenerationRequest

SIGNS = (
    "You are performing a CONTEXT CHECKPOINT COMPACTION",  # Codex
    "Your task is to create a detailed summary of",  # Claude Code, and agents that copied it
)
"""Begin a line of the user's last message in such a request."""


def is_compaction(request: GenerationRequest) -> bool:
    """Return whether a request asks for a summary of its own conversation."""
    for message in reversed(request.messages):
        if message.role == "user":
            # A list costs less than a generator.
            return bool([sign for sign in SIGNS if _begins_a_line(sign, message.text)])
        if message.role != "system":  # agents add remarks behind the text of the user
            return False
    return False


def _begins_a_line(sign: str, text: str) -> bool:
    return text.startswith(sign) or f"\n{sign}" in text

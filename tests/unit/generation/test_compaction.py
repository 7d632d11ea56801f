"""Requests that sum up their own conversation."""

from __future__ import annotations

import pytest

from gateway.generation.compaction import is_compaction
from gateway.generation.request import GenerationRequest, Message

CODEX = "You are performing a CONTEXT CHECKPOINT COMPACTION. Write a handover."
CLAUDE = "CRITICAL: text only.\n\nYour task is to create a detailed summary of the conversation."
HISTORY = (Message("system", "s"), Message("user", "begin"), Message("assistant", "done"))


@pytest.mark.parametrize("text", [CODEX, CLAUDE, f"<system-reminder>a</system-reminder>\n{CODEX}"])
@pytest.mark.parametrize("behind", [(), (Message("system", "a remark"),)])
def test_a_request_for_a_summary_is_recognised(text: str, behind: tuple[Message, ...]) -> None:
    request = GenerationRequest((*HISTORY, Message("user", text), *behind))
    assert is_compaction(request)


@pytest.mark.parametrize(
    "last",
    [
        (),
        (Message("user", "go on"),),
        (Message("user", f"What does {CODEX!r} mean?"),),
        (Message("user", CODEX), Message("assistant", "A summary."), Message("user", "go on")),
        (Message("user", CODEX), Message("tool", "result", "1")),
        (Message("tool", CODEX, "1"),),
    ],
)
def test_other_requests_are_not(last: tuple[Message, ...]) -> None:
    assert not is_compaction(GenerationRequest((*HISTORY, *last)))
    assert not is_compaction(GenerationRequest(last))

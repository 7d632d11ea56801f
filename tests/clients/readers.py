"""What each client makes of a stream: it raises where the client would, and returns the text."""

from __future__ import annotations

from typing import Any

from tests.support import frames


class ClientError(Exception):
    """The client shows an error."""


def data_frames(raw: bytes) -> list[dict[str, Any]]:
    """The frames before [DONE]; a frame with an error raises, as in all of the SDKs."""
    found: list[dict[str, Any]] = []
    for frame in frames(raw):
        if frame == "[DONE]":
            break
        if frame.get("error"):
            raise ClientError(frame["error"]["message"])
        found.append(frame)
    return found


def ai_sdk(raw: bytes) -> str:
    """Cline, by way of the AI SDK: each frame is checked, and a reason must have come."""
    text, reason = "", None
    for frame in data_frames(raw):
        assert isinstance(frame["choices"], list)
        for choice in frame["choices"][:1]:
            delta = choice["delta"]
            assert delta.get("role", "assistant") in ("assistant", "")
            assert isinstance(delta.get("content") or "", str)
            text += delta.get("content") or ""
            reason = choice["finish_reason"] or reason
    assert reason is not None
    return text


def openai_node(raw: bytes) -> str:
    """The stream helper: one answer with a role and a reason."""
    role = reason = None
    text, ids = "", set()
    for frame in data_frames(raw):
        ids.add(frame["id"])
        for choice in frame["choices"]:
            assert choice["index"] == 0
            role = choice["delta"].get("role") or role
            text += choice["delta"].get("content") or ""
            reason = choice["finish_reason"] or reason
    assert role == "assistant"
    assert reason
    assert len(ids) == 1
    return text


def roo_code(raw: bytes) -> str:
    """Roo Code: the first choice if there is one, and the usage for its meter."""
    read = data_frames(raw)
    usage = [frame["usage"] for frame in read if frame.get("usage")]
    assert usage
    assert usage[-1]["prompt_tokens"] > 0
    assert usage[-1]["completion_tokens"] > 0
    return first_choice(raw)


def first_choice(raw: bytes) -> str:
    """The plain loop of Continue, ProxyAI, Zed, twinny and litellm (Aider)."""
    text = ""
    for frame in data_frames(raw):
        for choice in frame["choices"][:1]:
            text += choice["delta"].get("content") or ""
    return text

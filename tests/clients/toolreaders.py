"""How the clients put a tool call together; they raise where the client would."""

from __future__ import annotations

from typing import Any

from tests.clients.readers import data_frames

Calls = list[tuple[str, str]]


def openai_node(raw: bytes) -> Calls:
    """The stream helper and the AI SDK: pieces by `index`, the first with id, type and name."""
    calls: dict[int, dict[str, str]] = {}
    reason = None
    for choice in _choices(raw):
        reason = choice["finish_reason"] or reason
        for piece in choice["delta"].get("tool_calls") or ():
            function = piece["function"]
            if piece["index"] not in calls:
                assert piece["id"]
                assert piece["type"] == "function"
                calls[piece["index"]] = {"name": function["name"], "arguments": ""}
            else:
                assert "id" not in piece
                assert "name" not in function
            calls[piece["index"]]["arguments"] += function.get("arguments") or ""
    assert reason == "tool_calls"
    return [(calls[index]["name"], calls[index]["arguments"]) for index in sorted(calls)]


def roo_code(raw: bytes) -> Calls:
    """A piece with an id starts a call; the reason `tool_calls` ends those that are open."""
    started: list[list[str]] = []
    ended: Calls = []
    for choice in _choices(raw):
        for piece in choice["delta"].get("tool_calls") or ():
            if piece.get("id"):
                started.append([piece["function"]["name"], ""])
            started[-1][1] += piece["function"].get("arguments") or ""
        if choice["finish_reason"] == "tool_calls":
            ended += [(name, arguments) for name, arguments in started]
    return ended


def _choices(raw: bytes) -> list[dict[str, Any]]:
    return [choice for frame in data_frames(raw) for choice in frame["choices"][:1]]

"""Codex's requests, and its rules for what it reads of an answer."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import Any

import pytest

from emulator import Emulator
from tests.clients import emulated, sending
from tests.integration.peer import upstream_call
from tests.support import Gateway

REQUESTS = ["codex_first", "codex_turn", "codex_known_model", "codex_schema", "codex_compact"]


@dataclass
class Read:
    """What Codex takes from a stream."""

    texts: list[str] = field(default_factory=list)
    calls: list[dict[str, Any]] = field(default_factory=list)
    failure: str | None = None
    tokens: int = 0
    ended: bool = False


def codex(raw: bytes) -> Read:
    """Only items that are done count; an item without what it needs is dropped silently."""
    read = Read()
    for line in raw.decode().splitlines():
        if not line.startswith("data: "):
            continue
        event = json.loads(line.removeprefix("data: "))
        if event["type"] == "response.output_item.done":
            _add(event["item"], read)
        elif event["type"] == "response.failed":
            read.failure = event["response"]["error"]["code"]
        elif event["type"] in ("response.completed", "response.incomplete"):
            assert event["response"]["id"]
            read.tokens = event["response"]["usage"]["total_tokens"]
            read.ended = True
    return read


def _add(item: dict[str, Any], read: Read) -> None:
    if item["type"] == "message" and item.get("role") == "assistant":
        read.texts += [part["text"] for part in item["content"] if part["type"] == "output_text"]
    member = {"function_call": "arguments", "custom_tool_call": "input"}.get(item["type"])
    if member is not None and isinstance(item.get(member), str) and item.get("call_id"):
        read.calls.append(item)


@pytest.mark.parametrize("name", REQUESTS)
async def test_every_request_is_answered(gateway: Gateway, name: str) -> None:
    answer = await sending.send(gateway, name, emulated.CHAT)
    assert (answer.status, answer.media_type) == (200, "text/event-stream"), answer.body
    read = codex(answer.body)
    assert read.texts == [emulated.SAID]
    assert (read.calls, read.failure, read.ended) == ([], None, True)
    assert read.tokens > 0


async def test_the_history_of_a_turn_is_in_the_prompt(gateway: Gateway, emulator: Emulator) -> None:
    await sending.send(gateway, "codex_turn", emulated.CHAT)
    prompt = (await upstream_call(emulator)).body["inputs"]
    for text in (
        "I run two commands.",
        "echo one",
        "ABC",
        "say a",
        "+a\n*** End Patch",
        "Success.",
    ):
        assert text in prompt
    assert "Two commands." not in prompt.replace("I run two commands.", "")
    assert "not available in this conversation: web_search." in prompt


@pytest.mark.parametrize(
    ("name", "tool", "namespace"),
    [("codex_first", "exec_command", None), ("codex_known_model", "apply_patch", None)],
)
async def test_a_call_is_one_that_codex_runs(
    gateway: Gateway, name: str, tool: str, namespace: str | None
) -> None:
    answer = await sending.send(gateway, name, emulated.TOOL)
    (call,) = codex(answer.body).calls
    assert (call["name"], call.get("namespace")) == (tool, namespace)
    if tool == "apply_patch":
        assert call["type"] == "custom_tool_call"
    else:
        assert isinstance(json.loads(call["arguments"])["cmd"], str)


async def test_a_failure_after_the_first_event_is_understood(gateway: Gateway) -> None:
    answer = await sending.send(gateway, "codex_first", emulated.FAILING)
    read = codex(answer.body)
    assert (read.texts, read.failure, read.ended) == ([], "server_error", False)

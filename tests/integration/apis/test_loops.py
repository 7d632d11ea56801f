"""Agents that go round in circles: the log, the reminder and the end, through real sockets."""

from __future__ import annotations

from typing import Any

import pytest
from structlog.testing import capture_logs

from emulator import Emulator
from tests.conftest import StartGateway

TOOLS = [{"type": "function", "function": {"name": "read", "parameters": {"type": "object"}}}]
SECRET = "the-path-of-a-client"


def conversation(count: int) -> list[dict[str, Any]]:
    """Return the messages of an agent that has made the same call so often."""
    messages: list[dict[str, Any]] = [{"role": "user", "content": "Read it."}]
    for number in range(count):
        function = {"name": "read", "arguments": f'{{"path": "{SECRET}"}}'}
        call = {"id": f"call_{number}", "type": "function", "function": function}
        messages += [
            {"role": "assistant", "content": None, "tool_calls": [call]},
            {"role": "tool", "tool_call_id": call["id"], "content": f"no such file: {SECRET}"},
        ]
    return messages


@pytest.mark.parametrize("stream", [True, False])
@pytest.mark.parametrize("response_format", [None, {"type": "json_object"}])
async def test_a_loop_is_logged_reminded_of_and_ended(
    start_gateway: StartGateway,
    emulator: Emulator,
    stream: bool,
    response_format: dict[str, str] | None,
) -> None:
    gateway = await start_gateway(tools={"loop": {"remind": 4, "stop": 5}})
    extra = {} if response_format is None else {"response_format": response_format}
    seen = []
    for count in (2, 3, 4, 5):
        with capture_logs() as lines:
            async with gateway.post_chat(
                "", messages=conversation(count), tools=TOOLS, stream=stream, **extra
            ) as response:
                assert response.status == 200
                await response.read()
        prompt = emulator.calls_to("/codeapi/chat_auth")[-1].body["inputs"]
        (line,) = [line for line in lines if line["event"] == "request"]
        warned = [(one["tool"], one["count"]) for one in lines if one["event"] == "tool_loop"]
        assert SECRET not in str(lines)
        seen.append((warned, line.get("loop"), f"made {count} times" in prompt, "<tools" in prompt))
    assert seen == [
        ([], None, False, True),
        ([("read", 3)], 3, False, True),
        ([("read", 4)], 4, True, True),
        ([("read", 5)], 5, True, False),
    ]


async def test_without_settings_a_loop_is_only_logged(
    start_gateway: StartGateway, emulator: Emulator
) -> None:
    gateway = await start_gateway()
    with capture_logs() as lines:
        status, _ = await gateway.whole("", messages=conversation(9), tools=TOOLS)
    assert status == 200
    assert [line["count"] for line in lines if line["event"] == "tool_loop"] == [9]
    prompt = emulator.calls_to("/codeapi/chat_auth")[-1].body["inputs"]
    assert "times" not in prompt
    assert "<tools" in prompt

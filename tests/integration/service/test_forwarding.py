"""What the upstream is sent for a chat request, as the emulator understood it."""

from __future__ import annotations

import json
from typing import Any

import pytest

from emulator import Emulator
from tests.integration.peer import UPSTREAM_CHAT
from tests.support import Gateway

DEFAULT_SYSTEM = "Reply same language as the user's input."


async def echoed(gateway: Gateway, messages: list[Any], **parameters: Any) -> dict[str, Any]:
    """The emulator's summary of the prompt; the last user message must hold `[[echo]]`."""
    body = {"messages": messages, **parameters}
    async with gateway.http.post(f"{gateway.url}/v1/chat/completions", json=body) as response:
        assert response.status == 200, await response.text()
        answer = await response.json()
    summary: dict[str, Any] = json.loads(answer["choices"][0]["message"]["content"])
    return summary


def said(summary: dict[str, Any]) -> list[tuple[str, str]]:
    assert summary["ends_with_assistant"]
    assert summary["prefill"] == ""
    return [(role, text) for role, text, _ in summary["blocks"]]


def user(text: Any) -> dict[str, Any]:
    return {"role": "user", "content": text}


async def test_a_conversation_becomes_one_block_a_turn(gateway: Gateway) -> None:
    messages = [
        {"role": "system", "content": "Be brief."},
        user("Hi"),
        {"role": "assistant", "content": "Hello"},
        user("[[echo]]"),
    ]
    assert said(await echoed(gateway, messages)) == [
        ("system", "Be brief."),
        ("user", "Hi"),
        ("assistant", "Hello"),
        ("user", "[[echo]]"),
    ]


async def test_system_messages_in_front_are_joined_and_others_keep_their_place(
    gateway: Gateway,
) -> None:
    messages = [
        {"role": "system", "content": "One."},
        {"role": "developer", "content": "Two."},
        user("Hi"),
        {"role": "developer", "content": "Three."},
        user("[[echo]]"),
        {"role": "system", "content": "Four."},
    ]
    assert said(await echoed(gateway, messages)) == [
        ("system", "One.\n\nTwo."),
        ("user", "Hi"),
        ("system", "Three."),
        ("user", "[[echo]]"),
        ("system", "Four."),
    ]


@pytest.mark.parametrize("messages", [[], [{"role": "system", "content": ""}]])
async def test_without_a_system_text_the_default_stands_in_front(
    gateway: Gateway, messages: list[Any]
) -> None:
    blocks = said(await echoed(gateway, [*messages, user("[[echo]]")]))
    assert blocks == [("system", DEFAULT_SYSTEM), ("user", "[[echo]]")]


async def test_tool_results_become_user_turns_that_name_their_call(gateway: Gateway) -> None:
    call = {"id": "call_1", "type": "function", "function": {"name": "f", "arguments": "{}"}}
    messages = [
        {"role": "assistant", "content": None, "tool_calls": [call]},
        {"role": "tool", "content": "42", "tool_call_id": "call_1"},
        {"role": "function", "content": "43", "name": "g"},
        user("[[echo]]"),
    ]
    blocks = said(await echoed(gateway, messages))
    assert [role for role, _ in blocks] == ["system", "assistant", "user", "user"]
    assert "call_1" in blocks[2][1]
    assert "\n42\n" in blocks[2][1]
    assert "\n43\n" in blocks[2][1]


async def test_text_parts_are_joined(gateway: Gateway) -> None:
    parts = [
        {"type": "text", "text": "first", "cache_control": {"type": "ephemeral"}},
        {"type": "text", "text": "[[echo]]"},
    ]
    assert said(await echoed(gateway, [user(parts)]))[-1] == ("user", "first\n[[echo]]")


@pytest.mark.parametrize(
    "part",
    [
        {"type": "image_url", "image_url": {"url": "data:image/png;base64,AAAA"}},
        {"type": "input_audio", "input_audio": {"data": "", "format": "wav"}},
        {"type": "file", "file": {"file_id": "f"}},
    ],
)
async def test_parts_that_are_not_text_are_refused(
    gateway: Gateway, emulator: Emulator, part: Any
) -> None:
    body = {"messages": [user([{"type": "text", "text": "look"}, part])]}
    async with gateway.http.post(f"{gateway.url}/v1/chat/completions", json=body) as response:
        error = (await response.json())["error"]
        assert response.status == 400
    assert error["type"] == "invalid_request_error"
    assert error["param"].startswith("messages[0].content[1]")
    assert not emulator.calls_to(UPSTREAM_CHAT)


async def test_any_characters_pass_unchanged(gateway: Gateway) -> None:
    text = "[[echo]] 你好 👋🏽 \t \x00 \x7f \u2028 \\u0041 \"'<|>&amp; \r\n"
    assert said(await echoed(gateway, [user(text)]))[-1] == ("user", text)


@pytest.mark.parametrize(
    ("name", "model", "agent_model"),
    [
        (None, None, None),
        ("", None, None),
        ("fitten-code", None, None),
        ("Default", "S1", None),
        ("DeepSeek R1", "S3", None),
        ("deepseek r1", "S3", None),
        ("S2", "S2", None),
        ("S5", None, "S5"),
        ("agent/Default", None, "S5"),
    ],
)
async def test_the_chosen_model_is_sent_where_its_section_wants_it(
    gateway: Gateway, name: str | None, model: str | None, agent_model: str | None
) -> None:
    summary = await echoed(gateway, [user("[[echo]]")], model=name)
    assert (summary["model"], summary["agentModel"]) == (model, agent_model)


async def test_an_answer_names_the_model_as_the_client_did(gateway: Gateway) -> None:
    for name in ("DeepSeek R1", "S3", "fitten-code"):
        _, answer = await gateway.whole("[[say]]", model=name)
        assert answer["model"] == name
    _, answer = await gateway.whole("[[say]]")
    assert answer["model"] == "fitten-code"


async def test_an_unknown_model_is_refused_before_the_upstream_is_asked(
    gateway: Gateway, emulator: Emulator
) -> None:
    for stream in (True, False):
        async with gateway.post_chat("[[say]]", model="qwen-9", stream=stream) as response:
            error = (await response.json())["error"]
            assert response.status == 404
            assert response.headers["x-should-retry"] == "false"
        assert (error["type"], error["code"]) == ("invalid_request_error", "model_not_found")
        assert error["param"] == "model"
    assert not emulator.calls_to(UPSTREAM_CHAT)


async def test_the_upstream_gets_the_token_the_user_id_and_nothing_of_the_client(
    gateway: Gateway, emulator: Emulator
) -> None:
    headers = {
        "Cookie": "canary=1",
        "X-Canary": "canary",
        "User-Agent": "canary",
        "X-Forwarded-For": "192.0.2.1",
        "x-request-id": "canary",
    }
    async with gateway.post_chat("[[say]]", headers, user="canary", metadata={"a": "canary"}):
        pass
    (call,) = emulator.calls_to(UPSTREAM_CHAT)
    assert call.query == {"ft_token": "u_demo_user"}
    assert call.body["ft_token"] == "u_demo_user"
    assert call.headers["Authorization"].startswith("Bearer eyJ")
    assert call.headers["Content-Type"] == "application/json"
    assert "canary" not in str(dict(call.headers)) + call.raw.decode()
    assert "X-Forwarded-For" not in call.headers
    assert set(call.body) == {"inputs", "ft_token", "meta_datas"}
    assert "workspace_path" not in call.body["meta_datas"]

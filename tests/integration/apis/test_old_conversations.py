"""What clients send again from earlier conversations reaches the model: old forms, other APIs'."""

from __future__ import annotations

import json
import re
from typing import Any
from urllib.parse import quote

import pytest

from emulator import Emulator
from tests.integration.peer import upstream_call
from tests.support import Gateway, frames

WEATHER = {"name": "get_weather", "arguments": '{"city": "Oslo"}'}
FUNCTION = {
    "name": "get_weather",
    "description": "Tells the weather.",
    "parameters": {
        "type": "object",
        "properties": {"city": {"type": "string"}},
        "required": ["city"],
    },
}
SAID = '<tool_call>\n{"name": "get_weather", "arguments": {"city": "Paris"}}\n</tool_call>'
CALLED = f"[[say text={quote(SAID, safe='')}]]"


async def ask(gateway: Gateway, messages: list[Any], **parameters: Any) -> tuple[int, Any]:
    url = f"{gateway.url}/v1/chat/completions"
    async with gateway.http.post(url, json={"messages": messages, **parameters}) as response:
        return response.status, await response.json()


@pytest.mark.parametrize("functions", [False, True])
async def test_a_function_call_and_its_result_reach_the_model(
    gateway: Gateway, emulator: Emulator, functions: bool
) -> None:
    messages: list[Any] = [
        {"role": "user", "content": "weather?"},
        {"role": "assistant", "content": None, "function_call": WEATHER},
        {"role": "function", "name": "get_weather", "content": "-3"},
    ]
    more = {"functions": [FUNCTION], "function_call": "auto"} if functions else {}
    status, answer = await ask(gateway, messages, **more)
    assert status == 200, answer
    inputs = (await upstream_call(emulator)).body["inputs"]
    inputs = re.sub(r"(?<=<call|esult|/call)-\w{4}(?=[ >])", "", inputs)
    assert '<|assistant|>\n<call get_weather>\n{"city": "Oslo"}\n</call>\n<|end|>' in inputs
    assert "<result get_weather get_weather ok>\n-3\n</result>" in inputs
    assert ("Tells the weather." in inputs) == functions


async def test_calls_and_results_in_parts_reach_the_model(
    gateway: Gateway, emulator: Emulator
) -> None:
    """Cursor sends the parts of Anthropic's API to this route."""
    use = {"type": "tool_use", "id": "t1", "name": "get_weather", "input": {"city": "Oslo"}}
    result = {
        "type": "tool_result",
        "tool_use_id": "t1",
        "content": [{"type": "text", "text": "-3"}],
    }
    messages: list[Any] = [
        {"role": "user", "content": "weather?"},
        {"role": "assistant", "content": [{"type": "text", "text": "I look."}, use]},
        {"role": "user", "content": [result, {"type": "text", "text": "and now?"}]},
    ]
    tool = {"name": "get_weather", "input_schema": FUNCTION["parameters"]}
    status, answer = await ask(gateway, messages, tools=[tool])
    assert status == 200, answer
    inputs = (await upstream_call(emulator)).body["inputs"]
    inputs = re.sub(r"(?<=<call|esult)-\w{4}(?=[ >])", "", inputs)
    assert "I look.\n<call get_weather>\n" in inputs
    assert "<|user|>\n<result get_weather t1 ok>\n-3\n</result>" in inputs
    assert "<|user|>\nand now?\n" in inputs


async def test_a_client_of_functions_gets_a_function_call(gateway: Gateway) -> None:
    messages = [{"role": "user", "content": CALLED}]
    status, answer = await ask(gateway, messages, functions=[FUNCTION])
    assert status == 200, answer
    (choice,) = answer["choices"]
    assert choice["finish_reason"] == "function_call"
    assert choice["message"]["content"] is None
    assert choice["message"]["function_call"]["name"] == "get_weather"
    assert json.loads(choice["message"]["function_call"]["arguments"])["city"] == "Paris"
    assert "tool_calls" not in choice["message"]


async def test_a_client_of_functions_gets_a_streamed_function_call(gateway: Gateway) -> None:
    url = f"{gateway.url}/v1/chat/completions"
    body = {
        "messages": [{"role": "user", "content": CALLED}],
        "functions": [FUNCTION],
        "stream": True,
    }
    async with gateway.http.post(url, json=body) as response:
        assert response.status == 200
        assert "x-fitten-ignored-params" not in response.headers
        parsed = frames(await response.read())
    choices = [choice for frame in parsed[:-1] for choice in frame["choices"]]
    deltas = [c["delta"]["function_call"] for c in choices if "function_call" in c["delta"]]
    first, *rest = deltas
    assert first == {"name": "get_weather", "arguments": ""}
    assert all(delta.keys() == {"arguments"} for delta in rest)
    assert json.loads("".join(delta["arguments"] for delta in rest))["city"] == "Paris"
    assert [c["finish_reason"] for c in choices if c["finish_reason"]] == ["function_call"]
    assert parsed[-1] == "[DONE]"


async def test_only_allowed_tools_reach_the_model(gateway: Gateway, emulator: Emulator) -> None:
    tools = [{"type": "function", "function": {"name": name}} for name in ("first", "second")]
    allowed = {"mode": "required", "tools": tools[1:]}
    choice = {"type": "allowed_tools", "allowed_tools": allowed}
    messages = [{"role": "user", "content": "hi"}]
    status, answer = await ask(gateway, messages, tools=tools, tool_choice=choice)
    assert status == 200, answer
    inputs = (await upstream_call(emulator)).body["inputs"]
    assert "\nsecond\n" in inputs
    assert "\nfirst\n" not in inputs
    assert "In this answer, call at least one tool." in inputs


@pytest.mark.parametrize(
    ("path", "parameters"),
    [
        ("/v1/chat/completions", {"messages": [{"role": "user", "content": "[[say]]"}]}),
        ("/v1/completions", {"prompt": "x"}),
        ("/v1/fim/completions", {"prompt": "x", "suffix": None}),
        ("/beta/completions", {"prompt": "x", "suffix": "y"}),
        ("/infill", {"input_prefix": "x", "input_suffix": None, "prompt": None}),
    ],
)
@pytest.mark.parametrize(
    "more",
    [
        {"max_tokens": -1, "n_predict": -1},
        {"max_tokens": None, "n_predict": None},
        {"max_tokens": 64.0, "n_predict": 64.0},
        {"max_tokens": 10**30, "n_predict": 10**30},
        {"max_tokens": 0, "n_predict": 0},
        {"stop": ["a1", "a2", "a3", "a4", "a5", "", None]},
        {"stop": ""},
        {"stop": "zzz"},
        {"n": 1.0, "best_of": 1.0, "user": 5, "temperature": "hot", "seed": 1.5},
    ],
    ids=str,
)
async def test_every_route_takes_the_same_forms_of_parameters(
    gateway: Gateway, path: str, parameters: dict[str, Any], more: dict[str, Any]
) -> None:
    async with gateway.http.post(gateway.url + path, json={**parameters, **more}) as response:
        assert response.status == 200, await response.text()

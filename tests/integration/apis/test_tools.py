"""Tools through the HTTP API: offered, called, answered, streamed and whole."""

from __future__ import annotations

import asyncio
import json
from typing import Any
from urllib.parse import quote

import pytest

from emulator import Emulator
from emulator.scenarios.call_notations import NOTATIONS, QUIRKS, Notation, Quirk
from tests.conftest import StartGateway
from tests.support import Gateway, content, frames
from tests.waiting import LONGEST_WAIT

CITY: dict[str, Any] = {
    "type": "object",
    "properties": {
        "city": {"type": "string", "description": "The town's name"},
        "days": {"type": "integer", "minimum": 1},
        "place": {"$ref": "#/$defs/place"},
    },
    "required": ["city", "days"],
    "$defs": {"place": {"type": "object", "properties": {"zip": {"type": "string"}}}},
}


def function(name: str, parameters: dict[str, Any] | None = None) -> dict[str, Any]:
    spec: dict[str, Any] = {"name": name, "description": f"Does {name}."}
    if parameters is not None:
        spec["parameters"] = parameters
    return {"type": "function", "function": spec}


TOOLS = [function("get_weather", CITY), function("clock")]
NAMED = {"type": "function", "function": {"name": "clock"}}


def streamed_calls(parsed: list[Any]) -> list[dict[str, Any]]:
    """The calls of a stream, put together as clients do it; asserts trap 8."""
    calls: list[dict[str, Any]] = []
    for frame in parsed:
        for choice in frame["choices"] if isinstance(frame, dict) else ():
            for piece in choice["delta"].get("tool_calls") or ():
                if piece["index"] == len(calls):
                    assert piece["type"] == "function"
                    assert piece["id"].startswith("call_")
                    assert len(piece["id"]) >= 29
                    name = piece["function"]["name"]
                    calls.append({"id": piece["id"], "name": name, "arguments": ""})
                else:
                    assert piece["index"] == len(calls) - 1
                    assert piece.keys() == {"index", "function"}
                    assert piece["function"].keys() == {"arguments"}
                calls[-1]["arguments"] += piece["function"]["arguments"]
    return calls


def finish(parsed: list[Any]) -> list[str]:
    reasons = [c["finish_reason"] for f in parsed if "choices" in f for c in f["choices"]]
    return [reason for reason in reasons if reason]


def call_marker(**arguments: object) -> str:
    words = [f"{name}={quote(str(value), safe='')}" for name, value in arguments.items()]
    return f"[[{' '.join(['call', *words])}]]"


async def whole(gateway: Gateway, text: str, **parameters: Any) -> dict[str, Any]:
    """The only choice of an answer that is not streamed."""
    status, answer = await gateway.whole(text, **parameters)
    assert status == 200, answer
    (choice,) = answer["choices"]
    return dict(choice)


@pytest.mark.parametrize("notation", NOTATIONS)
async def test_a_call_in_any_notation_is_a_tool_call(gateway: Gateway, notation: Notation) -> None:
    text = f"The weather in Paris for 3 days? {call_marker(notation=notation)}"
    choice = await whole(gateway, text, tools=TOOLS)
    (call,) = choice["message"]["tool_calls"]
    assert call["function"]["name"] == "get_weather"
    assert json.loads(call["function"]["arguments"]) == {"city": "Paris", "days": 3}
    assert (call["type"], call["id"][:5]) == ("function", "call_")
    assert choice["message"]["content"] is None
    assert choice["finish_reason"] == "tool_calls"

    parsed = await gateway.stream(text, tools=TOOLS)
    (streamed,) = streamed_calls(parsed)
    assert streamed["name"] == "get_weather"
    assert json.loads(streamed["arguments"]) == {"city": "Paris", "days": 3}
    assert content(parsed) == ""
    assert finish(parsed) == ["tool_calls"]
    assert parsed[-1] == "[DONE]"


@pytest.mark.parametrize("quirk", QUIRKS)
async def test_a_call_with_any_quirk_is_a_tool_call_or_text(gateway: Gateway, quirk: Quirk) -> None:
    text = f"The weather in Paris for 3 days? {call_marker(notation='attributes', quirk=quirk)}"
    choice = await whole(gateway, text, tools=TOOLS)
    if quirk == "broken":  # the second answer, which the gateway asks for, does not continue it
        assert choice["finish_reason"] == "stop"
        assert choice["message"]["content"].startswith("<function_calls>\n<get_weather")
        return
    (call,) = choice["message"]["tool_calls"]
    assert json.loads(call["function"]["arguments"]) == {"city": "Paris", "days": 3}
    shown = choice["message"]["content"] or ""
    assert ("Let me look that up." in shown) == quirk.startswith("prose")
    assert "made up" not in shown


async def test_the_schema_and_the_choice_reach_the_model(gateway: Gateway) -> None:
    answer = await whole(gateway, "[[echo]]", tools=TOOLS, tool_choice="required")
    system = json.loads(answer["message"]["content"])["blocks"][0][1]
    assert " city: The town's name\n" in system
    assert "zip?" in system
    assert "call at least one tool" in system


@pytest.mark.parametrize("notation", NOTATIONS)
async def test_with_no_tools_offered_nothing_is_taken_for_a_call(
    gateway: Gateway, notation: Notation
) -> None:
    marker = call_marker(notation=notation, tool="get_weather", arguments='{"city":"Rio"}')
    none: list[dict[str, Any]] = [{}, {"tools": []}, {"tools": TOOLS, "tool_choice": "none"}]
    for parameters in none:
        choice = await whole(gateway, marker, **parameters)
        assert "tool_calls" not in choice["message"]
        assert "get_weather" in choice["message"]["content"]
        assert choice["finish_reason"] == "stop"


@pytest.mark.parametrize(
    "text",
    [
        "a<br/>b",
        '<?xml version="1.0"?>\n<a b="1"><c/></a>\n',
        '{"name": "Ann", "arguments": [1]}',
        '```json\n{"city": "Rio", "days": 1}\n```\n',
    ],
)
async def test_markup_that_was_asked_for_passes_unharmed(gateway: Gateway, text: str) -> None:
    marker = f"[[say text={quote(text, safe='')} piece=1]]"
    for parameters in ({}, {"tools": TOOLS}):
        assert (await whole(gateway, marker, **parameters))["message"]["content"] == text
        assert content(await gateway.stream(marker, **parameters)) == text


async def test_text_and_calls_keep_their_order(gateway: Gateway) -> None:
    said = 'One. <clock/> Two. <get_weather city="Rio" days="1"/> Three.'
    parsed = await gateway.stream(f"[[say text={quote(said)}]]", tools=TOOLS)
    order: list[str] = []
    for frame in parsed[:-1]:
        delta = frame["choices"][0]["delta"]
        kind = "call" if "tool_calls" in delta else "text" if delta.get("content") else ""
        if kind and order[-1:] != [kind]:
            order.append(kind)
    assert order == ["text", "call", "text", "call", "text"]
    assert content(parsed) == "One.  Two.  Three."
    assert [call["name"] for call in streamed_calls(parsed)] == ["clock", "get_weather"]
    assert len({call["id"] for call in streamed_calls(parsed)}) == 2


async def test_long_arguments_stream_in_pieces(gateway: Gateway) -> None:
    arguments = json.dumps({"city": "x" * 600, "days": 1})
    marker = call_marker(tool="get_weather", arguments=arguments, piece=9)
    parsed = await gateway.stream(marker, tools=TOOLS)
    pieces = [f for f in parsed[:-1] if "tool_calls" in f["choices"][0]["delta"]]
    assert len(pieces) > 3
    (call,) = streamed_calls(parsed)
    assert json.loads(call["arguments"]) == json.loads(arguments)


async def test_text_before_a_call_arrives_before_the_call_is_whole(gateway: Gateway) -> None:
    said = f"Let me see. <get_weather city={'x' * 200} days=1/>"
    async with gateway.post_chat(
        f"[[say text={quote(said)} piece=12 pace=0.03]]", stream=True, tools=TOOLS
    ) as response:
        seen = b""
        async with asyncio.timeout(LONGEST_WAIT):
            while b"Let me see." not in seen:
                seen += await response.content.readany()
        assert b"tool_calls" not in seen
        seen += await response.content.read()
    assert finish(frames(seen)) == ["tool_calls"]


async def test_parallel_calls_come_together_unless_they_are_not_wanted(gateway: Gateway) -> None:
    marker = f"Paris 2 {call_marker(n=2, notation='attributes')}"
    both = await whole(gateway, marker, tools=TOOLS)
    assert [c["function"]["name"] for c in both["message"]["tool_calls"]] == [
        "get_weather",
        "clock",
    ]
    one = await whole(gateway, marker, tools=TOOLS, parallel_tool_calls=False)
    assert [c["function"]["name"] for c in one["message"]["tool_calls"]] == ["get_weather"]


@pytest.mark.parametrize("choice", ["required", NAMED])
async def test_a_required_call_that_the_model_ignores_is_not_invented(
    gateway: Gateway, choice: Any
) -> None:
    answer = await whole(gateway, "[[ignore_tools]]", tools=TOOLS, tool_choice=choice)
    assert answer["message"]["content"] == "I would rather just talk.\n"
    assert "tool_calls" not in answer["message"]
    assert answer["finish_reason"] == "stop"


async def test_a_named_tool_is_the_only_one_that_can_be_called(gateway: Gateway) -> None:
    other = call_marker(notation="tool_call", tool="get_weather", arguments='{"city":"Rio"}')
    answer = await whole(gateway, other, tools=TOOLS, tool_choice=NAMED)
    assert "tool_calls" not in answer["message"]
    answer = await whole(gateway, "Weather?", tools=TOOLS, tool_choice=NAMED)
    assert answer["message"]["tool_calls"][0]["function"]["name"] == "clock"


async def test_an_answer_that_repeats_the_prompt_makes_no_calls(gateway: Gateway) -> None:
    answer = await whole(gateway, "[[fragment]]", tools=TOOLS)
    assert "tool_calls" not in answer["message"]
    assert "such blocks" in answer["message"]["content"]


@pytest.mark.parametrize("stream", [False, True])
async def test_an_agent_loop_runs_to_its_answer(gateway: Gateway, stream: bool) -> None:
    messages: list[Any] = [{"role": "user", "content": "The weather in Paris for 3 days?"}]
    body = {"messages": messages, "tools": TOOLS, "stream": stream}
    url = f"{gateway.url}/v1/chat/completions"
    async with gateway.http.post(url, json=body) as response:
        if stream:
            (call,) = streamed_calls(frames(await response.read()))
        else:
            (made,) = (await response.json())["choices"][0]["message"]["tool_calls"]
            call = {"id": made["id"], **made["function"]}
    assert json.loads(call["arguments"]) == {"city": "Paris", "days": 3}
    made = {"name": call["name"], "arguments": call["arguments"]}
    messages += [
        {
            "role": "assistant",
            "content": None,
            "tool_calls": [{"id": call["id"], "type": "function", "function": made}],
        },
        {"role": "tool", "tool_call_id": call["id"], "content": "sunny <|end|> </tool_result> ok"},
    ]
    async with gateway.http.post(url, json=body) as response:
        raw = await response.read()
    text = content(frames(raw)) if stream else json.loads(raw)["choices"][0]["message"]["content"]
    assert text == "get_weather says: sunny <|end|> </tool_result> ok\n"


async def test_a_stop_string_is_looked_for_in_the_text_and_not_in_calls(gateway: Gateway) -> None:
    said = 'One\n<tool_call>\n{"name": "clock", "arguments": {}}\n</tool_call>\nTwo STOP three'
    marker = f"[[say text={quote(said, safe='')}]]"
    parsed = await gateway.stream(marker, tools=TOOLS, stop=["arguments", "STOP"])
    assert content(parsed) == "One\n\nTwo "
    assert [call["name"] for call in streamed_calls(parsed)] == ["clock"]
    assert finish(parsed) == ["tool_calls"]
    parsed = await gateway.stream(marker, tools=TOOLS, stop="One")
    assert (content(parsed), streamed_calls(parsed), finish(parsed)) == ("", [], ["stop"])


async def test_a_token_limit_never_leaves_a_broken_call(gateway: Gateway) -> None:
    said = '<tool_call>\n{"name": "clock", "arguments": {}}\n</tool_call>'
    for limit in range(1, 16):
        choice = await whole(
            gateway, f"[[say text={quote(said, safe='')}]]", tools=TOOLS, max_tokens=limit
        )
        if calls := choice["message"].get("tool_calls"):
            assert calls[0]["function"] == {"name": "clock", "arguments": "{}"}
            assert limit > 10
        else:
            assert choice["message"]["content"] == said[: limit * 4]
            assert choice["finish_reason"] == "length"


async def test_a_role_marker_after_a_call_ends_the_answer_with_the_call(gateway: Gateway) -> None:
    said = "<clock/>\n<|end|>\n<|user|>\nmore"
    parsed = await gateway.stream(f"[[say text={quote(said, safe='')}]]", tools=TOOLS)
    assert [call["name"] for call in streamed_calls(parsed)] == ["clock"]
    assert (content(parsed), finish(parsed)) == ("", ["tool_calls"])


async def test_an_answer_that_breaks_off_in_a_call_ends_in_an_error(gateway: Gateway) -> None:
    async with gateway.post_chat(
        "[[reset after=2]]", stream=True, tools=TOOLS, stream_options={"include_usage": True}
    ) as response:
        parsed = frames(await response.read())
    assert "error" in parsed[-1]
    assert finish(parsed) == []


async def test_a_call_that_takes_long_to_write_is_no_silence(start_gateway: StartGateway) -> None:
    gateway = await start_gateway(fitten={"timeouts": {"between_pieces": 1.0}})
    arguments = json.dumps({"city": "x" * 90, "days": 1})
    said = f'<tool_call>{{"name": "get_weather", "arguments": {arguments}}}</tool_call>'
    parsed = await gateway.stream(
        f"[[say text={quote(said, safe='')} piece=10 pace=0.1]]", tools=TOOLS
    )
    assert [call["name"] for call in streamed_calls(parsed)] == ["get_weather"]


@pytest.mark.parametrize(
    ("parameters", "param"),
    [
        ({"tools": [{"type": "custom", "custom": {"name": "x"}}]}, "tools[0].type"),
        ({"tools": [{"type": "function"}]}, "tools[0].function"),
        ({"tools": [{"type": "function", "function": {}}]}, "tools[0].function.name"),
        ({"tools": [function("a b")]}, "tools[0].function.name"),
        ({"tools": [function("x" * 129)]}, "tools[0].function.name"),
        ({"tools": [function("a"), function("a", CITY)]}, "tools[1].function.name"),
        ({"tools": [function(f"t{i}") for i in range(257)]}, "tools"),
        ({"tools": "all"}, "tools"),
        ({"tools": TOOLS, "tool_choice": "sometimes"}, "tool_choice"),
        ({"tools": TOOLS, "tool_choice": {"type": "function"}}, "tool_choice"),
        (
            {"tools": TOOLS, "tool_choice": {"type": "function", "function": {"name": "x"}}},
            "tool_choice.function.name",
        ),
        ({"tool_choice": "required"}, "tool_choice"),
        ({"tools": TOOLS, "parallel_tool_calls": "no"}, "parallel_tool_calls"),
    ],
)
async def test_tools_that_cannot_be_offered_are_refused_by_name(
    gateway: Gateway, emulator: Emulator, parameters: dict[str, Any], param: str
) -> None:
    status, answer = await gateway.whole("hi", **parameters)
    assert (status, answer["error"]["param"]) == (400, param)
    assert len(answer["error"]["message"]) < 400


@pytest.mark.parametrize("depth", [50, 400, 900, 5000, 100_000])
async def test_schemas_and_arguments_of_any_depth_are_answered(
    gateway: Gateway, depth: int
) -> None:
    nested = '{"a":' * depth + "1" + "}" * depth
    parameters = f'"tools":[{{"type":"function","function":{{"name":"f","parameters":{nested}}}}}]'
    bodies = [f'{{"messages":[{{"role":"user","content":"[[say]]"}}],{parameters}}}']
    for arguments in (nested, json.dumps(nested)):
        call = f'{{"id":"c","function":{{"name":"f","arguments":{arguments}}}}}'
        made = f'{{"role":"assistant","tool_calls":[{call}]}}'
        bodies.append(f'{{"messages":[{made},{{"role":"user","content":"[[say]]"}}]}}')
    for body in bodies:
        async with gateway.http.post(
            f"{gateway.url}/v1/chat/completions",
            data=body.encode(),
            headers={"Content-Type": "application/json"},
        ) as response:
            assert response.status in (200, 400), await response.text()


@pytest.mark.parametrize("stream", [False, True])
async def test_tools_and_a_response_format_go_together(gateway: Gateway, stream: bool) -> None:
    wanted = {"type": "json_object"}
    asked = f"Weather in Paris for 3 days? {call_marker(notation='tool_call')}"
    sky = quote('{"sky": "blue"}', safe="")
    answer = f"[[say text={sky}]]"
    if stream:
        parsed = await gateway.stream(asked, tools=TOOLS, response_format=wanted)
        assert [call["name"] for call in streamed_calls(parsed)] == ["get_weather"]
        assert finish(parsed) == ["tool_calls"]
        parsed = await gateway.stream(answer, tools=TOOLS, response_format=wanted)
        assert json.loads(content(parsed)) == {"sky": "blue"}
        return
    choice = await whole(gateway, asked, tools=TOOLS, response_format=wanted)
    assert choice["message"]["tool_calls"][0]["function"]["name"] == "get_weather"
    assert choice["message"]["content"] is None
    choice = await whole(gateway, answer, tools=TOOLS, response_format=wanted)
    assert json.loads(choice["message"]["content"]) == {"sky": "blue"}


async def test_tools_are_not_named_as_ignored(gateway: Gateway) -> None:
    async with gateway.post_chat(
        "hi", tools=TOOLS, tool_choice="auto", parallel_tool_calls=True
    ) as response:
        assert response.status == 200
        assert "x-fitten-ignored-params" not in response.headers


WRITE = function(
    "write",
    {
        "type": "object",
        "properties": {
            "path": {"type": "string"},
            "content": {"type": "string"},
            "factor": {"type": "number"},
        },
    },
)


@pytest.mark.parametrize(
    ("said", "arguments"),
    [
        (
            '{"path": "package.json", "content": {"private": true, "v": 1.10}}',
            r'{"path":"package.json","content":"{\"private\": true, \"v\": 1.10}"}',
        ),
        ('{"path": "1", "factor": 1.10}', '{"path":"1","factor":1.10}'),
        ('{"path": 1.10, "factor": "12345678901234567890.5"}', None),
        (r'{"path": "C:\Users\bob\new.txt"}', r'{"path":"C:\\Users\\bob\\new.txt"}'),
        ('{"path": "a", "content": "“好”，＂x＂",}', '{"path":"a","content":"“好”，＂x＂"}'),
        ("{“path”: “say ‘hi’，＂x＂”}", '{"path":"say ‘hi’，＂x＂"}'),
        ("{'path': 'a', 'content': None}", '{"path":"a","content":null}'),
    ],
)  # fmt: skip
@pytest.mark.parametrize("piece", [1, 1000])
async def test_arguments_come_as_the_model_wrote_them_in_valid_json(
    gateway: Gateway, said: str, arguments: str | None, piece: int
) -> None:
    arguments = arguments or '{"path":"1.10","factor":12345678901234567890.5}'
    call = f'<tool_call>\n{{"name": "write", "arguments": {said}}}\n</tool_call>'
    message = f"[[say piece={piece} text={quote(call, safe='')}]]"
    (made,) = streamed_calls(await gateway.stream(message, tools=[WRITE]))
    assert made["arguments"] == arguments
    choice = await whole(gateway, message, tools=[WRITE])
    assert choice["message"]["tool_calls"][0]["function"]["arguments"] == arguments

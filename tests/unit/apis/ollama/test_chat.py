"""The body of a chat: what clients of Ollama send comes through, or has a name."""

from __future__ import annotations

import json
from typing import Any

import pytest

from gateway.apis.ollama.chat import OllamaChat
from gateway.errors import InvalidRequest
from gateway.generation.request import (
    GenerationRequest,
    Image,
    Message,
    ResponseFormat,
    Tool,
    ToolChoice,
)
from tests.images import data_url, png

USER = {"role": "user", "content": "hi"}
IMAGE = data_url(png()).partition(",")[2]
SCHEMA: dict[str, Any] = {"type": "object", "properties": {"path": {"type": "string"}}}


def parse(*messages: Any, **members: Any) -> GenerationRequest:
    return OllamaChat().parse(json.dumps({"messages": list(messages), **members}).encode())


def refused(*messages: Any, **members: Any) -> InvalidRequest:
    with pytest.raises(InvalidRequest) as failure:
        parse(*(messages or (USER,)), **members)
    assert failure.value.status == 400
    return failure.value


def tool(name: str, **more: Any) -> dict[str, Any]:
    return {"type": "function", "function": {"name": name, **more}}


def test_the_usual_request_is_a_stream() -> None:
    parsed = parse(USER, model="fitten-code:latest")
    assert parsed == GenerationRequest(
        messages=(Message("user", "hi"),),
        model="fitten-code:latest",
        stream=True,
        include_usage=True,
    )
    assert parse(USER, stream=None).stream is True
    assert parse(USER, stream=True).stream is True
    assert parse(USER, stream=False).stream is False


@pytest.mark.parametrize("body", [{}, {"messages": None}, {"messages": [], "stream": True}])
def test_a_request_without_messages_asks_for_nothing_and_is_no_stream(body: Any) -> None:
    parsed = OllamaChat().parse(json.dumps({"model": "a", "keep_alive": "5m", **body}).encode())
    assert (parsed.messages, parsed.fills, parsed.stream) == ((), (), False)


def test_images_are_base64_without_the_beginning_of_a_url() -> None:
    (message,) = parse({**USER, "images": [IMAGE, data_url(png())]}).messages
    assert message.images == (Image("image/png", IMAGE),) * 2
    assert parse({**USER, "images": None}).messages[0].images == ()
    error = refused({**USER, "images": [IMAGE, "no image"]})
    assert error.param == "messages[0].images[1]"
    assert refused({**USER, "images": [IMAGE] * 1001}).param == "messages[0].images"


@pytest.mark.parametrize("prefix", ["http://", "https://"])
def test_an_address_is_no_image(prefix: str) -> None:
    assert refused({**USER, "images": [prefix + "example.org/a.png"]}).code == "invalid_image_url"


@pytest.mark.parametrize(
    ("given", "limit"), [(None, None), (-1, None), (-2, None), (0, None), (5, 5), (5.0, 5)]
)
def test_a_limit_of_tokens_counts_if_it_is_positive(given: Any, limit: int | None) -> None:
    assert parse(USER, options={"num_predict": given}).max_tokens == limit


@pytest.mark.parametrize(
    ("stop", "strings"),
    [(None, ()), (["a", "", "b", "a"], ("a", "b")), ("a", ("a",)), ([], ())],
)
def test_stop_strings_stand_in_the_options(stop: Any, strings: tuple[str, ...]) -> None:
    assert parse(USER, options={"stop": stop}).stop == strings


@pytest.mark.parametrize(
    ("wanted", "parsed"),
    [
        (None, None),
        ("", None),
        ("json", ResponseFormat(is_object=True)),
        (SCHEMA, ResponseFormat(schema=SCHEMA, name="response")),
    ],
)
def test_the_format_is_json_or_a_schema(wanted: Any, parsed: ResponseFormat | None) -> None:
    assert parse(USER, format=wanted).response_format == parsed


@pytest.mark.parametrize(
    ("think", "reasoning"),
    [(None, True), (True, True), (False, False), ("high", True), ("low", True)],
)
def test_thoughts_are_left_out_only_if_nobody_wants_them(think: Any, reasoning: bool) -> None:
    assert parse(USER, think=think).reasoning is reasoning


def test_tools_are_functions() -> None:
    function = {"name": "Read", "description": "Reads a file.", "parameters": SCHEMA}
    parsed = parse(USER, tools=[{"type": "function", "function": function}])
    assert parsed.tools == (Tool("Read", "Reads a file.", SCHEMA),)
    assert parsed.tool_choice == ToolChoice()
    assert parse(USER, tools=[{"function": {"name": "a"}}]).tools == (Tool("a"),)
    assert parse(USER, tools=None).tools == ()


def test_what_has_no_effect_is_named() -> None:
    options = {"temperature": 0.5, "num_ctx": 8192, "seed": None, "stop": ["a"], "not a name": 1}
    parsed = parse(USER, options=options, keep_alive=-1, truncate=True, model="a", think=False)
    assert parsed.ignored == ("truncate", "temperature", "num_ctx")


@pytest.mark.parametrize(
    ("members", "param"),
    [
        ({"options": 1}, "options"),
        ({"options": {"num_predict": "a"}}, "options.num_predict"),
        ({"options": {"num_predict": 1.5}}, "options.num_predict"),
        ({"options": {"stop": 1}}, "options.stop"),
        ({"options": {"stop": ["a" * 2000]}}, "options.stop"),
        ({"format": "yaml"}, "format"),
        ({"format": ["json"]}, "format"),
        ({"think": "hard"}, "think"),
        ({"think": 1}, "think"),
        ({"stream": "yes"}, "stream"),
        ({"model": 1}, "model"),
        ({"tools": [{"type": "function"}]}, "tools[0].function"),
        ({"tools": [tool("a b")]}, "tools[0].function.name"),
        ({"tools": [tool("a")] * 257}, "tools"),
        ({"tools": [tool("a"), tool("a", parameters={"b": 1})]}, "tools[1].function.name"),
        ({"messages": [{"role": "robot", "content": ""}]}, "messages[0].role"),
        ({"messages": [{"role": "user", "content": [{"type": "text"}]}]}, "messages[0].content"),
        ({"messages": [USER] * 10_001}, "messages"),
        (
            {"messages": [{"role": "assistant", "tool_calls": [{"id": "a"}]}]},
            "messages[0].tool_calls[0].function",
        ),
    ],
)
def test_what_is_wrong_has_a_name(members: dict[str, Any], param: str) -> None:
    assert refused(**members).param == param


def test_a_schema_may_not_be_nested_without_end() -> None:
    schema: dict[str, Any] = {}
    for _ in range(200):
        schema = {"a": schema}
    assert refused(format=schema).param == "format"

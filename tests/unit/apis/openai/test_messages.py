"""The messages of a chat request: what old and new clients send comes through, or has a name."""

from __future__ import annotations

import json
from typing import Any

import pytest

from gateway.apis.json_body import convert
from gateway.apis.openai.messages import ChatMessage, parse_messages
from gateway.errors import InvalidRequest
from gateway.generation.request import Image, Message, ToolCall
from gateway.images.sniff import ImageLimits
from tests.images import data_url, png

PNG = Image("image/png", data_url(png()).partition(",")[2])


def parse(*messages: Any) -> list[Message]:
    given = [convert(message, ChatMessage) for message in messages]
    return list(parse_messages(given, ImageLimits()))


def user(*parts: Any) -> dict[str, Any]:
    return {"role": "user", "content": list(parts)}


def assistant(content: Any = None, **more: Any) -> dict[str, Any]:
    return {"role": "assistant", "content": content, **more}


@pytest.mark.parametrize(
    ("part", "text"),
    [
        ({"type": "text", "text": "a"}, "a"),
        ({"type": "text", "text": "a", "cache_control": {"type": "ephemeral"}}, "a"),
        ({"type": "text", "text": None}, ""),
        ({"type": "input_text", "text": "a"}, "a"),
        ({"type": "output_text", "text": "a", "annotations": [], "logprobs": []}, "a"),
        ({"type": "refusal", "refusal": "I can't."}, "I can't."),
        ("a", "a"),
    ],
)
def test_parts_of_text_of_every_api_are_text(part: Any, text: str) -> None:
    assert parse(user(part, {"type": "text", "text": "b"})) == [Message("user", f"{text}\nb")]
    assert parse(assistant([part]))[0].text == text


@pytest.mark.parametrize(
    "part",
    [
        {"type": "thinking", "thinking": "Hm.", "signature": "abc"},
        {"type": "redacted_thinking", "data": "abc"},
        {"type": "reasoning", "summary": [{"type": "summary_text", "text": "Hm."}]},
    ],
)
def test_thoughts_of_earlier_answers_are_left_out(part: Any) -> None:
    answer = assistant([part, {"type": "text", "text": "Hello"}], reasoning_content="Hm.")
    assert parse(answer) == [Message("assistant", "Hello")]
    assert parse(assistant([part])) == [Message("assistant", "")]


@pytest.mark.parametrize(
    "part",
    [
        {"type": "image_url", "image_url": {"url": data_url(png()), "detail": "high"}},
        {"type": "image_url", "image_url": data_url(png())},
        {"type": "input_image", "image_url": data_url(png()), "detail": "auto"},
        {"type": "image", "source": {"type": "base64", "media_type": "a/b", "data": PNG.data}},
        {"type": "image", "source": {"type": "url", "url": data_url(png())}},
    ],
)
@pytest.mark.parametrize("role", ["user", "assistant", "tool", "function"])
def test_images_of_every_api_are_images_of_their_message(part: Any, role: str) -> None:
    (message,) = parse({"role": role, "content": [part, {"type": "text", "text": "a"}]})
    assert (message.images, message.text) == ((PNG,), "a")


@pytest.mark.parametrize(
    "message",
    [
        {"role": "tool", "content": None, "tool_call_id": "c"},
        {"role": "tool", "tool_call_id": "c"},
        {"role": "tool", "content": "", "tool_call_id": "c"},
        {"role": "tool", "content": [], "tool_call_id": "c"},
        {"role": "function", "content": None, "name": "c"},
    ],
)
def test_the_result_of_a_tool_may_be_nothing(message: Any) -> None:
    assert parse(message) == [Message("tool", "", "c")]


@pytest.mark.parametrize(
    ("content", "text"),
    [
        ({"temperature": -3, "sky": "grün"}, '{"temperature": -3, "sky": "grün"}'),
        ({}, "{}"),
        (42, "42"),
        (1.5, "1.5"),
        (True, "true"),
        (["a", {"type": "text", "text": "b"}], "a\nb"),
    ],
)
def test_the_result_of_a_tool_may_be_any_json(content: Any, text: str) -> None:
    assert parse({"role": "tool", "content": content}) == [Message("tool", text)]


@pytest.mark.parametrize(
    ("content", "name"),
    [({}, "an object"), (5, "a number"), (1.5, "a number"), (False, "a boolean"), (None, "null")],
)
@pytest.mark.parametrize("role", ["user", "system", "developer"])
def test_the_content_of_others_is_text_or_parts(content: Any, name: str, role: str) -> None:
    with pytest.raises(InvalidRequest) as caught:
        parse({"role": role, "content": content})
    assert caught.value.message == (
        f"'messages[0].content' must be a string or an array of parts, not {name}."
    )


@pytest.mark.parametrize("content", [{}, {"content": None}, {"content": ""}, {"content": []}])
def test_an_assistant_may_have_said_nothing(content: dict[str, Any]) -> None:
    more = {"tool_calls": None, "function_call": None, "refusal": None, "audio": None}
    assert parse({"role": "assistant", **content, **more}) == [Message("assistant", "")]


def test_a_refusal_of_the_assistant_is_its_text() -> None:
    assert parse(assistant(None, refusal="I can't.")) == [Message("assistant", "I can't.")]
    assert parse(assistant("Yes.", refusal="I can't.")) == [Message("assistant", "Yes.")]


@pytest.mark.parametrize("name", ["bob", None, 5, {"a": 1}])
def test_a_name_that_says_nothing_may_be_anything(name: Any) -> None:
    assert parse({"role": "user", "content": "a", "name": name}) == [Message("user", "a")]


@pytest.mark.parametrize(
    ("arguments", "text"),
    [('{"city": "Oslo"}', '{"city": "Oslo"}'), ({"city": "Oslo"}, '{"city": "Oslo"}'),
     (None, ""), ("", ""), ([1], "[1]"), (5, "5")],
)  # fmt: skip
def test_a_call_of_the_history_comes_through_in_every_form(arguments: Any, text: str) -> None:
    function = {"name": "f", "arguments": arguments}
    call = {"id": "c", "type": "function", "function": function}
    assert parse(assistant(None, tool_calls=[call]))[0].calls == (ToolCall("c", "f", text),)
    part = {"type": "tool_use", "id": "c", "name": "f", "input": arguments}
    assert parse(assistant([part]))[0].calls == (ToolCall("c", "f", text),)
    (message,) = parse(assistant(None, function_call=function))
    assert message.calls == (ToolCall("f", "f", text),)


def test_a_call_with_a_text_in_place_of_arguments_comes_through() -> None:
    call = {"id": "c", "type": "custom", "custom": {"name": "patch", "input": "*** Begin"}}
    assert parse(assistant(None, tool_calls=[call]))[0].calls == (
        ToolCall("c", "patch", "*** Begin"),
    )


def test_a_function_call_and_its_result_are_linked_by_the_name() -> None:
    made, result = parse(
        assistant(None, function_call={"name": "f", "arguments": "{}"}),
        {"role": "function", "name": "f", "content": "-3"},
    )
    assert made.calls[0].id == result.call_id == "f"


def test_results_of_tools_in_parts_are_messages_of_their_own() -> None:
    result = {"type": "tool_result", "tool_use_id": "c", "content": "sunny"}
    content = [{"type": "text", "text": "a"}, {"type": "image", "source": {"data": PNG.data}}]
    parts = {"type": "tool_result", "tool_use_id": "d", "is_error": True, "content": content}
    nothing = {"type": "tool_result", "tool_use_id": "e"}
    results = [
        Message("tool", "sunny", "c"),
        Message("tool", "a", "d", (PNG,), failed=True),
        Message("tool", "", "e"),
    ]
    assert parse(user(result, parts, nothing)) == results
    said = {"type": "text", "text": "and now?"}
    assert parse(user(result, parts, nothing, said)) == [*results, Message("user", "and now?")]


HERE = "messages[0].content"


@pytest.mark.parametrize(
    ("message", "param", "code", "says"),
    [
        ({"role": "robot", "content": "a"}, "messages[0].role", "unsupported_value",
         "'robot' are not supported; allowed: system, developer, user, assistant, tool, function"),
        ({"role": "user"}, HERE, "missing_required_parameter", "Missing required parameter"),
        ({"role": "user", "content": None}, HERE, "invalid_type",
         "a string or an array of parts, not null"),
        ({"role": "system", "content": None}, HERE, "invalid_type", "not null"),
        (user({"type": "input_audio"}), f"{HERE}[0].type", "unsupported_value",
         "allowed: text, input_text, output_text, refusal, image_url"),
        (user({"type": "file"}), f"{HERE}[0].type", "unsupported_value", "'file'"),
        (user({"type": "text"}), f"{HERE}[0].text", "missing_required_parameter", "text"),
        (user({"type": "image_url"}), f"{HERE}[0].image_url", "missing_required_parameter", ""),
        (user({"type": "image", "source": {}}), f"{HERE}[0].source.url",
         "missing_required_parameter", ""),
        (user({"type": "tool_use", "name": "f"}), f"{HERE}[0].type", "unsupported_value", ""),
        (assistant([{"type": "tool_use"}]), f"{HERE}[0].name", "missing_required_parameter", ""),
        (assistant([{"type": "tool_result"}]), f"{HERE}[0].type", "unsupported_value", ""),
        (user({"type": "tool_result", "content": [{"type": "tool_result"}]}),
         f"{HERE}[0].content[0].type", "unsupported_value", ""),
        ({"role": "system", "content": [{"type": "image_url", "image_url": data_url(png())}]},
         f"{HERE}[0].type", "unsupported_value", "users, assistants and tools"),
        (assistant(None, tool_calls=[{}]), "messages[0].tool_calls[0].function",
         "missing_required_parameter", ""),
    ],
)  # fmt: skip
def test_what_cannot_be_read_is_named_with_what_is_allowed(
    message: Any, param: str, code: str, says: str
) -> None:
    with pytest.raises(InvalidRequest) as caught:
        parse(message)
    assert (caught.value.param, caught.value.code) == (param, code)
    assert says in caught.value.message


def test_results_nested_deeply_are_refused_cleanly() -> None:
    nested = '{"type":"tool_result","content":[' * 150 + "]}" * 150
    with pytest.raises(InvalidRequest):
        parse({"role": "user", "content": [json.loads(nested)]})


@pytest.mark.parametrize(
    ("messages", "param"),
    [
        ([{"role": "user", "content": "a"}] * 10_001, "messages"),
        ([user(*[{"type": "text", "text": "a"}] * 10_001)], "messages[0].content"),
    ],
    ids=["messages", "parts"],
)
def test_more_than_the_loop_can_read_is_too_long(messages: list[Any], param: str) -> None:
    with pytest.raises(InvalidRequest) as caught:
        parse(*messages)
    assert (caught.value.code, caught.value.param) == ("context_length_exceeded", param)
    assert "10000" in caught.value.message


def test_ten_thousand_messages_and_parts_are_read() -> None:
    assert len(parse(*[{"role": "tool", "content": None}] * 10_000)) == 10_000
    (message,) = parse(user(*["a"] * 10_000))
    assert len(message.text) == 19_999


IMAGE = {"type": "image_url", "image_url": data_url(png())}
RESULT = {"type": "tool_result", "tool_use_id": "a", "content": [IMAGE]}


@pytest.mark.parametrize(
    "parts",
    [[IMAGE] * 1001, [RESULT] * 1001, [*[IMAGE] * 600, *[RESULT] * 401]],
    ids=["of the message", "of results", "of both"],
)
def test_a_message_takes_up_to_a_thousand_images(parts: list[Any]) -> None:
    with pytest.raises(InvalidRequest) as caught:
        parse(user(*parts))
    assert (caught.value.code, caught.value.param) == ("unsupported_value", "messages[0].content")
    assert caught.value.message == "'messages[0].content' takes up to 1000 images."
    found = parse(user(*parts[:1000]))
    assert sum(len(message.images) for message in found) == 1000

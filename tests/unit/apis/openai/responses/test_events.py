"""The events of Responses streams, each as the official SDK's own types read it."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from functools import cache
from typing import Any, Literal

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from openai import omit
from openai.lib.streaming.responses._responses import ResponseStreamState
from openai.types.responses import Response, ResponseStreamEvent
from openai.types.responses.response_output_item import ResponseOutputItem
from pydantic import TypeAdapter

from gateway.apis.openai.responses.events import ResponsesEncoder
from gateway.errors import (
    GatewayError,
    InternalError,
    InvalidRequest,
    RateLimited,
    UpstreamError,
    overloaded,
)
from gateway.generation.model import Model
from gateway.generation.outcome import AnswerResult, Outcome, Usage
from gateway.generation.pieces import FinishReason, Piece
from gateway.generation.request import Generation, GenerationRequest, Message, Tool

MODEL = Model("fitten-code", "Fitten", None, "chat", is_default=True)
TOOLS = (
    Tool("run"),
    Tool("start", namespace="team"),
    Tool("mcp__x.add", namespace="mcp__x"),
    Tool("patch", kind="text"),
    Tool("tool_search", kind="search"),
)
TOO_LONG = "context_length_exceeded"
USAGE = {
    "input_tokens": 11,
    "input_tokens_details": {"cached_tokens": 0, "cache_write_tokens": 0},
    "output_tokens": 7,
    "output_tokens_details": {"reasoning_tokens": 2},
    "total_tokens": 18,
}


@cache
def adapter() -> TypeAdapter[Any]:
    return TypeAdapter(ResponseStreamEvent)


@cache
def item_adapter() -> TypeAdapter[ResponseOutputItem]:
    return TypeAdapter(ResponseOutputItem)


def generation(**more: Any) -> Generation:
    given: dict[str, Any] = {"tools": TOOLS, "reasoning": True, "stream": True, **more}
    request = GenerationRequest((Message("user", "hi"),), **given)
    return Generation(request, MODEL, Outcome())


def finish(one: Generation, reason: FinishReason = "stop") -> None:
    one.outcome.receive_result(AnswerResult(Usage(11, 7, 2), (reason,)))


def parsed(raw: bytes) -> Iterator[dict[str, Any]]:
    """The events, each of which is one frame and has its type twice."""
    for block in raw.decode().split("\n\n")[:-1]:
        kind, data = block.split("\n")
        event = json.loads(data.removeprefix("data: "))
        assert kind == f"event: {event['type']}"
        yield event


def stream(
    batches: Sequence[Sequence[Piece]], reason: FinishReason = "stop", **more: Any
) -> list[dict[str, Any]]:
    one = generation(**more)
    encoder = ResponsesEncoder(one)
    raw = encoder.begin() + b"".join([encoder.pieces(batch) for batch in batches])
    finish(one, reason)
    found = [*parsed(raw + encoder.end())]
    check(found)
    return found


def check(found: Sequence[dict[str, Any]]) -> None:
    """Numbers count from 0, and both the SDK's types and its collector accept every event."""
    assert [event["sequence_number"] for event in found] == [*range(len(found))]
    state: Any = ResponseStreamState(input_tools=[], text_format=omit)
    for event in found:
        read = adapter().validate_python(event)
        assert read.type == event["type"]
        state.handle_event(read)


def whole(batches: Sequence[Sequence[Piece]], reason: FinishReason = "stop") -> dict[str, Any]:
    one = generation(stream=False)
    finish(one, reason)
    encoded = ResponsesEncoder(one).whole([piece for batch in batches for piece in batch])
    Response.model_validate_json(encoded)
    answer: dict[str, Any] = json.loads(encoded)
    return answer


def without_ids(value: Any) -> Any:
    if isinstance(value, list):
        return [without_ids(item) for item in value]
    if isinstance(value, dict):
        ids = ("id", "item_id", "call_id", "created_at")
        return {key: without_ids(item) for key, item in value.items() if key not in ids}
    return value


def kinds(found: Sequence[dict[str, Any]]) -> list[str]:
    return [event["type"].removeprefix("response.") for event in found]


def items(found: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    return [event["item"] for event in found if event["type"] == "response.output_item.done"]


def test_a_text_has_every_event() -> None:
    found = stream([[("content", "Hel"), ("content", "lo")], [("content", "!")]])
    assert kinds(found) == [
        "created",
        "in_progress",
        "output_item.added",
        "content_part.added",
        "output_text.delta",
        "output_text.delta",
        "output_text.done",
        "content_part.done",
        "output_item.done",
        "completed",
    ]
    assert [event["delta"] for event in found[4:6]] == ["Hello", "!"]
    (item,) = items(found)
    part = {"type": "output_text", "text": "Hello!", "annotations": [], "logprobs": []}
    assert without_ids(item) == {
        "type": "message",
        "status": "completed",
        "role": "assistant",
        "content": [part],
    }
    last = found[-1]["response"]
    assert last == {**found[0]["response"], "status": "completed", "output": [item], "usage": USAGE}
    assert last["model"] == "fitten-code"


def test_thoughts_a_text_and_calls_are_items_in_their_order() -> None:
    found = stream(
        [
            [("reasoning", "Let "), ("reasoning", "me."), ("content", "I run.")],
            [("call", "run"), ("arguments", '{"a"'), ("arguments", ":1}"), ("call", "start")],
            [("arguments", "{}"), ("call", "mcp__x.add"), ("arguments", "{}"), ("content", "!")],
        ],
        "tool_calls",
    )
    done = items(found)
    assert [without_ids(item) for item in done[2:5]] == [
        {"type": "function_call", "status": "completed", "name": "run", "arguments": '{"a":1}'},
        {
            "type": "function_call",
            "status": "completed",
            "name": "start",
            "namespace": "team",
            "arguments": "{}",
        },
        {
            "type": "function_call",
            "status": "completed",
            "name": "add",
            "namespace": "mcp__x",
            "arguments": "{}",
        },
    ]
    assert [item["type"] for item in done] == [
        "reasoning",
        "message",
        *["function_call"] * 3,
        "message",
    ]
    assert done[0]["summary"] == [{"type": "summary_text", "text": "Let me."}]
    assert found[-1]["response"]["output"] == done
    ids = [item["id"] for item in done] + [item["call_id"] for item in done[2:5]]
    assert len({*ids}) == len(ids)
    assert [name.partition("_")[0] for name in ids] == [
        *("rs", "msg", "fc", "fc", "fc", "msg", "call", "call", "call")
    ]


def test_a_custom_tool_gets_its_text() -> None:
    found = stream(
        [
            [("call", "patch"), ("arguments", '{"input":"'), ("arguments", "*** A")],
            [("arguments", "\\n+b"), ("arguments", '"')],
            [("arguments", "}")],
        ],
        "tool_calls",
    )
    (item,) = items(found)
    assert without_ids(item) == {
        "type": "custom_tool_call",
        "status": "completed",
        "name": "patch",
        "input": "*** A\n+b",
    }
    assert item["id"].startswith("ctc_")
    assert item["call_id"].startswith("call_")
    deltas = [event["delta"] for event in found if event["type"].endswith("input.delta")]
    assert deltas == ["*** A", "\n+b", ""]
    assert found[-3]["type"] == "response.custom_tool_call_input.done"
    assert found[-3]["input"] == item["input"]


def test_a_wrapped_text_comes_at_the_end() -> None:
    found = stream(
        [[("call", "patch"), ("arguments", '{"input":"```\\n*** A\\n```"}')]], "tool_calls"
    )
    deltas = [event["delta"] for event in found if event["type"].endswith("input.delta")]
    assert deltas == ["", "*** A\n"]
    assert items(found)[0]["input"] == "*** A\n"


def test_a_search_for_tools_has_its_arguments_as_an_object() -> None:
    found = stream(
        [[("call", "tool_search"), ("arguments", '{"query":'), ("arguments", '"x"}')]], "tool_calls"
    )
    (item,) = items(found)
    assert without_ids(item) == {
        "type": "tool_search_call",
        "status": "completed",
        "execution": "client",
        "arguments": {"query": "x"},
    }


def test_keep_alives_are_events_with_data() -> None:
    one = generation()
    encoder = ResponsesEncoder(one)
    raw = encoder.begin() + encoder.pieces([("content", "a")]) + encoder.keep_alive()
    raw += encoder.pieces([("content", "b")]) + encoder.keep_alive()
    finish(one)
    found = [*parsed(raw + encoder.end())]
    check(found)
    assert kinds(found).count("in_progress") == 3
    assert items(found)[0]["content"][0]["text"] == "ab"


def test_an_item_behind_a_call_that_was_cut_has_a_number_of_its_own() -> None:
    found = stream([[("call", "run"), ("arguments", "{"), ("content", "a")]], "length")
    numbers = [event["output_index"] for event in found if "output_index" in event]
    assert sorted({*numbers}) == [0, 1]
    assert [item["type"] for item in items(found)] == ["message"]


def test_an_answer_without_anything_is_an_empty_text() -> None:
    (item,) = items(stream([]))
    assert item["content"][0]["text"] == ""
    assert items(stream([], "length")) == []


def test_an_answer_that_was_cut_is_incomplete() -> None:
    found = stream([[("content", "Hel")]], "length")
    last = found[-1]
    assert last["type"] == "response.incomplete"
    assert last["response"]["status"] == "incomplete"
    assert last["response"]["incomplete_details"] == {"reason": "max_output_tokens"}
    assert last["response"]["usage"] == USAGE
    assert items(found)[0]["status"] == "incomplete"


@pytest.mark.parametrize("name", ["run", "start", "patch", "tool_search", "not offered"])
def test_a_call_that_was_cut_is_no_item(name: str) -> None:
    cut: list[list[Piece]] = [
        [("content", "I run.")],
        [("call", "run"), ("arguments", "{}"), ("call", name), ("arguments", '{"input":"x')],
    ]
    found = stream(cut, "length")
    assert [item["type"] for item in items(found)] == ["message", "function_call"]
    assert found[-1]["response"]["output"] == items(found)
    assert [
        event["output_index"] for event in found if event["type"].endswith("output_item.added")
    ] == [0, 1, 2]
    answer = whole(cut, "length")
    assert without_ids(answer["output"]) == without_ids(items(found))
    assert answer["status"] == "incomplete"
    found = stream([[("content", "I run."), ("call", name)]], "length")
    assert [item["type"] for item in items(found)] == ["message"], "no arguments are no whole call"


@pytest.mark.parametrize(
    ("error", "code", "message"),
    [
        (
            InvalidRequest("Long.", code="context_length_exceeded"),
            "context_length_exceeded",
            "Long.",
        ),
        (InvalidRequest("Bad."), "invalid_prompt", "Bad."),
        (
            RateLimited("Slow down.", retry_after=3.2),
            "rate_limit_exceeded",
            "Slow down. Please try again in 4s.",
        ),
        (RateLimited("Over.", code="insufficient_quota"), "insufficient_quota", "Over."),
        (RateLimited("Over."), "rate_limit_exceeded", "Over."),
        (overloaded(), "server_is_overloaded", overloaded().message),
        (UpstreamError("Broken."), "server_error", "Broken."),
        (UpstreamError("Refused.", retryable=False), "invalid_prompt", "Refused."),
        (InternalError(), "server_error", InternalError().message),
    ],
)
def test_a_failure_has_a_code_and_our_message(error: GatewayError, code: str, message: str) -> None:
    one = generation()
    encoder = ResponsesEncoder(one)
    raw = encoder.begin() + encoder.pieces([("content", "a"), ("call", "run")])
    raw += encoder.pieces([("arguments", "{}"), ("content", "b")]) + encoder.error(error)
    found = [*parsed(raw)]
    last = found[-1]
    assert last["type"] == "response.failed"
    assert last["response"]["status"] == "failed"
    assert last["response"]["error"] == {"code": code, "message": message}
    assert last["response"]["id"] == found[0]["response"]["id"]
    assert [item["type"] for item in last["response"]["output"]] == ["message", "function_call"]
    assert items(found) == last["response"]["output"]
    check(found[:-1])


def test_the_whole_answer_has_the_same_items() -> None:
    batches: list[list[Piece]] = [
        [("reasoning", "t"), ("content", "a")],
        [("call", "patch"), ("arguments", '{"input":"x"}')],
    ]
    answer = whole(batches, "tool_calls")
    found = stream(batches, "tool_calls")
    assert without_ids(answer) == without_ids(found[-1]["response"])


_text = st.text(min_size=1, max_size=5)
_values = st.dictionaries(st.sampled_from(["input", "patch", "a"]), _text, max_size=2)
_calls = st.tuples(st.sampled_from([tool.name for tool in TOOLS]), _values)
_part = st.one_of(
    st.tuples(st.just("content"), _text), st.tuples(st.just("reasoning"), _text), _calls
)


@given(
    parts=st.lists(_part, max_size=6),
    cuts=st.lists(st.integers(1, 4), min_size=1, max_size=5),
    reason=st.sampled_from(["stop", "length"]),
)
@settings(deadline=None)
def test_any_order_of_pieces_is_a_valid_stream(
    parts: list[Any], cuts: list[int], reason: Literal["stop", "length"]
) -> None:
    pieces: list[Piece] = []
    for kind, value in parts:
        if isinstance(value, dict):
            encoded = msgspec.json.encode(value).decode()
            pieces += [("call", kind), ("arguments", encoded[:3]), ("arguments", encoded[3:])]
        else:
            pieces.append((kind, value))
    pieces = [piece for piece in pieces if piece[1]]
    batches: list[list[Piece]] = []
    at = 0
    while at < len(pieces):
        size = cuts[len(batches) % len(cuts)]
        batches.append(pieces[at : at + size])
        at += size
    found = stream(batches, reason)
    done = items(found)
    for item in done:
        item_adapter().validate_python(item)
    assert found[-1]["response"]["output"] == done
    added = [event["output_index"] for event in found if event["type"].endswith("item.added")]
    assert added == [*range(len(done))]
    said = "".join(value for kind, value in parts if kind == "content")
    texts = [item["content"][0]["text"] for item in done if item["type"] == "message"]
    assert "".join(texts) == said
    names = [kind for kind, value in parts if isinstance(value, dict)]
    assert len([item for item in done if item["type"].endswith("_call")]) == len(names)
    for kind, member in (
        ("output_text", "text"),
        ("function_call_arguments", "arguments"),
        ("custom_tool_call_input", "input"),
    ):
        deltas: dict[str, str] = {}
        for event in found:
            if event["type"] == f"response.{kind}.delta":
                deltas[event["item_id"]] = deltas.get(event["item_id"], "") + event["delta"]
            elif event["type"] == f"response.{kind}.done":
                assert event[member] == deltas.get(event["item_id"], "")

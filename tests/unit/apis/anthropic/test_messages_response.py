"""The events of a Messages answer: any order of pieces is a valid stream and a valid object."""

from __future__ import annotations

import itertools
import json
from collections.abc import Sequence
from typing import Any

import pytest
from anthropic.types import Message, RawMessageStreamEvent
from hypothesis import example, given
from hypothesis import strategies as st
from pydantic import TypeAdapter

from gateway.apis.anthropic.messages_response import MessageEncoder
from gateway.errors import InvalidRequest, UpstreamError, overloaded
from gateway.generation.model import Model
from gateway.generation.outcome import AnswerResult, Outcome, Usage
from gateway.generation.pieces import FinishReason, Piece
from gateway.generation.request import Generation, GenerationRequest

_EVENT: TypeAdapter[Any] = TypeAdapter(RawMessageStreamEvent)
USAGE = Usage(9, 4)
MODEL = Model("fitten-code", "Fitten Code", None, "chat")


def encoder(
    reason: FinishReason = "stop",
    *,
    reasoning: bool = True,
    stop: str | None = None,
    usage: Usage | None = USAGE,
) -> MessageEncoder:
    request = GenerationRequest(messages=(), model="claude-x", reasoning=reasoning)
    outcome = Outcome()
    outcome.estimate_prompt(7)
    outcome.receive_result(AnswerResult(usage, (reason,), stop))
    return MessageEncoder(Generation(request, MODEL, outcome))


def parsed(raw: bytes) -> list[dict[str, Any]]:
    """The events of a stream; each has the name that its data have."""
    events = []
    assert raw.endswith(b"\n\n")
    for block in raw.decode().split("\n\n")[:-1]:
        name, data = block.split("\n")
        event = json.loads(data.removeprefix("data: "))
        assert name == f"event: {event['type']}"
        events.append(event)
    return events


def collected(events: list[dict[str, Any]]) -> dict[str, Any]:
    """Put a stream together as clients do; assert that each event may stand where it stands."""
    first, *events = events
    assert first["type"] == "message_start"
    message: dict[str, Any] = first["message"]
    _EVENT.validate_python(first)
    assert message["content"] == []
    assert message["usage"]["input_tokens"] > 0
    inputs: list[str] = []
    is_open = False
    for event in events[:-2]:
        _EVENT.validate_python(event)
        kind = event["type"]
        if kind == "content_block_start":
            assert not is_open
            assert event["index"] == len(message["content"])
            message["content"].append(event["content_block"])
            inputs.append("")
            is_open = True
            continue
        assert is_open
        assert event["index"] == len(message["content"]) - 1
        block = message["content"][-1]
        if kind == "content_block_stop":
            is_open = False
            continue
        assert kind == "content_block_delta"
        delta = event["delta"]
        if delta["type"] == "input_json_delta":
            inputs[-1] += delta["partial_json"]
        elif delta["type"] == "signature_delta":
            block["signature"] = delta["signature"]
        else:
            member = {"text_delta": "text", "thinking_delta": "thinking"}[delta["type"]]
            assert not block.get("signature")
            block[member] += delta[member]
    assert not is_open
    delta, last = events[-2:]
    _EVENT.validate_python(delta)
    _EVENT.validate_python(last)
    assert (delta["type"], last["type"]) == ("message_delta", "message_stop")
    for block, text in zip(message["content"], inputs, strict=True):
        if block["type"] == "tool_use":
            block["input"] = json.loads(text) if text else {}
    assert all(block["signature"] for block in message["content"] if "signature" in block)
    return {**message, **delta["delta"], "usage": delta["usage"]}


def streamed(batches: Sequence[Sequence[Piece]], made: MessageEncoder) -> dict[str, Any]:
    raw = made.begin() + b"".join([made.pieces(batch) for batch in batches]) + made.end()
    return collected(parsed(raw))


def anonymous(message: dict[str, Any]) -> dict[str, Any]:
    """The message with what is random made the same for all."""
    content = [
        {**block, **{name: "" for name in ("id", "signature") if name in block}}
        for block in message["content"]
    ]
    return {**message, "id": "", "content": content}


TEXTS = st.text(min_size=1, max_size=4)
CALL = st.dictionaries(TEXTS, TEXTS, max_size=2).map(
    lambda value: [("call", "Run"), *(("arguments", part) for part in json.dumps(value))]
)
RUNS = st.one_of(
    TEXTS.map(lambda text: [("content", text)]),
    TEXTS.map(lambda text: [("reasoning", text)]),
    CALL,
)
PIECES = st.lists(RUNS, max_size=6).map(lambda runs: [piece for run in runs for piece in run])


@given(PIECES, st.lists(st.integers(0, 40), max_size=5), st.booleans())
@example([], [], True)
@example([("call", "Run"), ("arguments", "{"), ("reasoning", "a"), ("arguments", "}")], [], True)
def test_a_stream_and_an_object_say_the_same(
    pieces: list[Piece], cuts: list[int], reasoning: bool
) -> None:
    ends = [0, *sorted(min(cut, len(pieces)) for cut in cuts), len(pieces)]
    batches = [pieces[a:b] for a, b in itertools.pairwise(ends)]
    stream = streamed(batches, encoder(reasoning=reasoning))
    whole = json.loads(encoder(reasoning=reasoning).whole(pieces))
    Message.model_validate(whole)
    assert anonymous(stream) == anonymous(whole)
    content = whole["content"]
    assert content
    texts = "".join(text for kind, text in pieces if kind == "content")
    assert "".join(block.get("text", "") for block in content) == texts
    calls = [block for block in content if block["type"] == "tool_use"]
    assert len(calls) == sum(kind == "call" for kind, _ in pieces)
    assert len({call["id"] for call in calls}) == len(calls)
    thoughts = [block for block in content if block["type"] == "thinking"]
    assert reasoning or not thoughts


def test_blocks_stand_in_the_order_of_the_pieces() -> None:
    pieces: list[Piece] = [
        ("reasoning", "Hm. "),
        ("reasoning", "So."),
        ("content", "I "),
        ("content", "look."),
        ("call", "Read"),
        ("arguments", '{"path":'),
        ("arguments", '"a"}'),
        ("call", "Run"),
        ("arguments", "{}"),
        ("content", "Wait."),
    ]
    message = streamed([pieces[:1], pieces[1:4], pieces[4:]], encoder("tool_calls"))
    assert [
        (block["type"], block.get("text") or block.get("thinking") or block.get("input"))
        for block in message["content"]
    ] == [
        ("thinking", "Hm. So."),
        ("text", "I look."),
        ("tool_use", {"path": "a"}),
        ("tool_use", {}),
        ("text", "Wait."),
    ]
    assert message["stop_reason"] == "tool_use"
    assert all(b["id"].startswith("toolu_") for b in message["content"] if b["type"] == "tool_use")


def test_the_frames_of_a_text_are_one_event_for_each_piece() -> None:
    made = encoder()
    made.begin()
    events = parsed(made.pieces([("content", "a"), ("content", 'b"\n'), ("content", "c")]))
    assert [event["type"] for event in events] == [
        "content_block_start",
        *["content_block_delta"] * 3,
    ]
    assert [event["delta"]["text"] for event in events[1:]] == ["a", 'b"\n', "c"]


@pytest.mark.parametrize(
    ("reason", "stop", "shown"),
    [
        ("stop", None, ("end_turn", None)),
        ("stop", "END", ("stop_sequence", "END")),
        ("length", None, ("max_tokens", None)),
        ("tool_calls", None, ("tool_use", None)),
        ("tool_calls", "END", ("tool_use", None)),
    ],
)
def test_the_reason_of_the_end(
    reason: FinishReason, stop: str | None, shown: tuple[str, str | None]
) -> None:
    pieces: list[Piece] = [("content", "a")]
    whole = json.loads(encoder(reason, stop=stop).whole(pieces))
    stream = streamed([pieces], encoder(reason, stop=stop))
    assert (whole["stop_reason"], whole["stop_sequence"]) == shown
    assert (stream["stop_reason"], stream["stop_sequence"]) == shown


def test_the_usage_is_an_estimate_first_and_the_truth_at_the_end() -> None:
    made = encoder()
    assert parsed(made.begin())[0]["message"]["usage"]["input_tokens"] == 7
    usage = parsed(made.end())[-2]["usage"]
    assert (usage["input_tokens"], usage["output_tokens"]) == (9, 4)
    unknown = parsed(encoder(usage=None).end())[-2]["usage"]
    assert (unknown["input_tokens"], unknown["output_tokens"]) == (7, 0)
    assert json.loads(encoder().whole([]))["usage"]["input_tokens"] == 9


@pytest.mark.parametrize("arguments", [[], ['{"path": "a'], ["[1]"]])
def test_a_call_that_was_cut_off_is_none(arguments: list[str]) -> None:
    """A client of a stream has its beginning already; it cannot parse the rest."""
    pieces: list[Piece] = [("content", "I look."), ("call", "Read")]
    pieces += [("arguments", text) for text in arguments]
    whole = json.loads(encoder("length").whole(pieces))
    assert whole["content"] == [{"type": "text", "text": "I look."}]
    assert whole["stop_reason"] == "max_tokens"
    made = encoder("length")
    events = parsed(made.begin() + made.pieces(pieces) + made.end())
    assert [event["type"] for event in events[-3:]] == [
        "content_block_stop",
        "message_delta",
        "message_stop",
    ]


def test_a_whole_call_before_the_limit_stays() -> None:
    pieces: list[Piece] = [("call", "Run"), ("arguments", "{}")]
    (block,) = json.loads(encoder("length").whole(pieces))["content"]
    assert (block["name"], block["input"]) == ("Run", {})


def test_arguments_that_are_no_object_are_marked() -> None:
    pieces: list[Piece] = [("call", "Run"), ("arguments", "[1]")]
    (block,) = json.loads(encoder("tool_calls").whole(pieces))["content"]
    assert block["input"] == {"__unparsedToolInput": {"raw": "[1]", "len": 3}}


def test_a_keep_alive_is_a_ping() -> None:
    assert parsed(encoder().keep_alive()) == [{"type": "ping"}]


def test_an_error_is_an_event_and_closes_no_block() -> None:
    made = encoder()
    made.begin()
    made.pieces([("call", "Run"), ("arguments", "{")])
    (event,) = parsed(made.error(UpstreamError("Broken off.")))
    assert event == {"type": "error", "error": {"type": "api_error", "message": "Broken off."}}
    (event,) = parsed(made.error(overloaded()))
    assert event["error"]["type"] == "overloaded_error"
    (event,) = parsed(made.error(InvalidRequest("No.", param="messages")))
    assert event["error"]["message"] == "messages: No."

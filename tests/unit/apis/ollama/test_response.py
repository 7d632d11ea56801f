"""The lines of an answer: any order of pieces is a valid stream and a valid object."""

from __future__ import annotations

import itertools
import json
import time
from collections.abc import Sequence
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from gateway.apis.ollama.response import OllamaChatEncoder, OllamaGenerateEncoder
from gateway.errors import InvalidRequest, UpstreamError
from gateway.generation.model import Model
from gateway.generation.outcome import AnswerResult, Outcome, Usage
from gateway.generation.pieces import FinishReason, Piece
from gateway.generation.request import Fill, Generation, GenerationRequest, Message

USAGE = Usage(9, 4)
MODEL = Model("fitten-code", "Fitten Code", None, "chat")
CHAT = GenerationRequest(messages=(Message("user", "hi"),), model="llama3:latest")
DURATIONS = ("total_duration", "load_duration", "prompt_eval_duration", "eval_duration")
Encoder = OllamaChatEncoder | OllamaGenerateEncoder


def generation(
    reason: FinishReason = "stop",
    *,
    reasoning: bool = True,
    usage: Usage | None = USAGE,
) -> Generation:
    request = GenerationRequest(messages=CHAT.messages, model=CHAT.model, reasoning=reasoning)
    outcome = Outcome()
    outcome.estimate_prompt(7)
    outcome.receive_first_piece()
    outcome.receive_result(AnswerResult(usage, (reason,)))
    return Generation(request, MODEL, outcome)


def parsed(raw: bytes) -> list[dict[str, Any]]:
    """The lines of a stream."""
    assert raw.endswith(b"\n")
    return [json.loads(line) for line in raw.split(b"\n")[:-1]]


def collected(lines: list[dict[str, Any]]) -> dict[str, Any]:
    """Put a stream together as clients do; assert that only the last line is the end."""
    assert [line["done"] for line in lines] == [*[False] * (len(lines) - 1), True]
    assert len({(line["model"], line["created_at"]) for line in lines}) == 1
    content, thinking, calls = "", "", []
    for line in lines:
        message = line.get("message")
        if message is None:
            message = {"content": line["response"], "thinking": line.get("thinking", "")}
        else:
            assert message["role"] == "assistant"
        content += message["content"]
        thinking += message.get("thinking", "")
        calls += message.get("tool_calls", ())
    return {**lines[-1], "content": content, "thinking": thinking, "calls": calls}


def object_of(raw: bytes) -> dict[str, Any]:
    return collected([json.loads(raw)])


def streamed(batches: Sequence[Sequence[Piece]], made: Encoder) -> dict[str, Any]:
    raw = made.begin() + b"".join([made.pieces(batch) for batch in batches]) + made.end()
    return collected(parsed(raw))


def anonymous(answer: dict[str, Any]) -> dict[str, Any]:
    """The answer with what is random or a time made the same for all."""
    calls = [{**call, "id": ""} for call in answer["calls"]]
    same = dict.fromkeys((*DURATIONS, "created_at", "message", "response"), 0)
    return {**answer, "calls": calls, **{key: 0 for key in same if key in answer}}


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
    stream = streamed(batches, OllamaChatEncoder(generation(reasoning=reasoning)))
    whole = object_of(OllamaChatEncoder(generation(reasoning=reasoning)).whole(pieces))
    whole["thinking"] = whole["thinking"] or ""
    assert anonymous(stream) == anonymous(whole)
    assert whole["content"] == "".join(text for kind, text in pieces if kind == "content")
    assert len(whole["calls"]) == sum(kind == "call" for kind, _ in pieces)
    thoughts = "".join(text for kind, text in pieces if kind == "reasoning")
    assert whole["thinking"] == (thoughts if reasoning else "")
    numbers = [call["function"]["index"] for call in whole["calls"]]
    assert numbers == [*range(len(numbers))]


@given(PIECES, st.booleans())
def test_a_generated_text_is_the_same_in_both_forms(pieces: list[Piece], reasoning: bool) -> None:
    texts = [piece for piece in pieces if piece[0] in ("content", "reasoning")]
    stream = streamed([texts], OllamaGenerateEncoder(generation(reasoning=reasoning)))
    whole = object_of(OllamaGenerateEncoder(generation(reasoning=reasoning)).whole(texts))
    assert anonymous(stream) == anonymous(whole)
    assert whole["content"] == "".join(text for kind, text in pieces if kind == "content")
    assert "message" not in whole


def test_the_lines_of_a_text_are_one_for_each_piece() -> None:
    made = OllamaChatEncoder(generation())
    lines = parsed(made.pieces([("content", "a"), ("content", 'b"\n'), ("reasoning", "c")]))
    assert [line["message"] for line in lines] == [
        {"role": "assistant", "content": "a"},
        {"role": "assistant", "content": 'b"\n'},
        {"role": "assistant", "content": "", "thinking": "c"},
    ]
    assert {line["model"] for line in lines} == {"llama3:latest"}
    lines = parsed(OllamaGenerateEncoder(generation()).pieces([("content", "a")]))
    assert [line["response"] for line in lines] == ["a"]


def test_a_call_is_one_line_with_an_object_of_arguments() -> None:
    made = OllamaChatEncoder(generation("tool_calls"))
    begun = parsed(made.pieces([("content", "I look."), ("call", "Read"), ("arguments", '{"a":')]))
    assert [line["message"] for line in begun] == [{"role": "assistant", "content": "I look."}]
    more = parsed(made.pieces([("arguments", "1}"), ("call", "Run"), ("arguments", "{}")]))
    assert [call["function"] for line in more for call in line["message"]["tool_calls"]] == [
        {"index": 0, "name": "Read", "arguments": {"a": 1}}
    ]
    last, end = parsed(made.end())
    (call,) = last["message"]["tool_calls"]
    assert call["function"] == {"index": 1, "name": "Run", "arguments": {}}
    assert call["id"].startswith("call_")
    assert (end["done"], end["done_reason"], end["message"]["content"]) == (True, "stop", "")


def test_a_client_that_waits_for_a_long_call_gets_lines_without_a_text() -> None:
    made = OllamaChatEncoder(generation())
    made.pieces([("call", "Write")])
    for _ in range(3):
        assert made.pieces([("arguments", "a"), ("arguments", "b")]) == made.keep_alive()


def test_a_client_that_wants_no_thoughts_gets_lines_without_a_text() -> None:
    made = OllamaGenerateEncoder(generation(reasoning=False))
    assert made.pieces([("reasoning", "Hm."), ("reasoning", "So.")]) == made.keep_alive()


@pytest.mark.parametrize("arguments", [['{"path": "a'], ["[1]"], ["1"]])
def test_a_call_that_was_cut_off_is_none(arguments: list[str]) -> None:
    """Clients run every call that they get."""
    pieces: list[Piece] = [("content", "I look."), ("call", "Read")]
    pieces += [("arguments", text) for text in arguments]
    for answer in (
        object_of(OllamaChatEncoder(generation("length")).whole(pieces)),
        streamed([pieces], OllamaChatEncoder(generation("length"))),
    ):
        assert (answer["content"], answer["calls"]) == ("I look.", [])
        assert answer["done_reason"] == "length"


@pytest.mark.parametrize(
    ("reason", "shown"), [("stop", "stop"), ("length", "length"), ("tool_calls", "stop")]
)
def test_the_reason_of_the_end(reason: FinishReason, shown: str) -> None:
    pieces: list[Piece] = [("content", "a")]
    whole = object_of(OllamaChatEncoder(generation(reason)).whole(pieces))
    assert whole["done_reason"] == shown
    stream = streamed([pieces], OllamaGenerateEncoder(generation(reason)))
    assert stream["done_reason"] == shown


def test_the_last_line_has_counts_and_durations_in_nanoseconds() -> None:
    given = generation()
    given.outcome.started -= 5
    given.outcome.first_piece = given.outcome.started + 3
    given.outcome.queued = 1
    (end,) = parsed(OllamaChatEncoder(given).end())
    assert (end["prompt_eval_count"], end["eval_count"]) == (9, 4)
    assert end["load_duration"] == 1_000_000_000
    assert end["prompt_eval_duration"] == 2_000_000_000
    passed = (time.monotonic() - given.outcome.started) * 1e9
    assert 5_000_000_000 <= end["total_duration"] <= passed
    parts = sum(end[name] for name in DURATIONS if name != "total_duration")
    assert abs(parts - end["total_duration"]) < 10


def test_an_answer_without_pieces_has_durations_too() -> None:
    given = generation(usage=None)
    given.outcome.first_piece = None
    end = json.loads(OllamaChatEncoder(given).whole([]))
    assert all(end[name] >= 1 for name in DURATIONS)
    assert (end["prompt_eval_count"], end["eval_count"]) == (7, 0)


def test_a_request_that_asks_for_nothing_has_loaded_the_model() -> None:
    outcome = Outcome()
    outcome.receive_result(AnswerResult(None, ("stop",)))
    empty = Generation(GenerationRequest(messages=(), model="a"), MODEL, outcome)
    answer = json.loads(OllamaChatEncoder(empty).whole([]))
    del answer["created_at"]
    assert answer == {
        "model": "a",
        "message": {"role": "assistant", "content": ""},
        "done": True,
        "done_reason": "load",
    }
    assert json.loads(OllamaGenerateEncoder(empty).whole([]))["response"] == ""
    request = GenerationRequest(messages=(), fills=(Fill("a", ""),))
    completion = Generation(request, MODEL, outcome)
    assert json.loads(OllamaGenerateEncoder(completion).whole([]))["done_reason"] == "stop"


def test_a_keep_alive_is_a_line_without_a_text() -> None:
    (line,) = parsed(OllamaChatEncoder(generation()).keep_alive())
    assert line["message"] == {"role": "assistant", "content": ""}
    assert line["done"] is False
    (line,) = parsed(OllamaGenerateEncoder(generation()).keep_alive())
    assert (line["response"], line["done"]) == ("", False)


def test_an_error_is_a_line_of_its_own() -> None:
    made = OllamaChatEncoder(generation())
    made.pieces([("call", "Run"), ("arguments", "{}")])
    assert parsed(made.error(UpstreamError("Broken off."))) == [{"error": "Broken off."}]
    assert parsed(made.error(InvalidRequest("No.", param="a"))) == [{"error": "a: No."}]

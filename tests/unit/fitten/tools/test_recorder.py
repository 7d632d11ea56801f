"""Which answers are kept, and what a record has of them."""

from __future__ import annotations

import json
from typing import Any

import pytest

from gateway.errors import Unavailable, UpstreamError
from gateway.fitten.tools import record as records
from gateway.fitten.tools.record import AnswerRecord, decode_record, encode_record
from gateway.fitten.tools.recorder import MAX_TEXT, AnswerRecorder, BoundedPieces
from gateway.generation import token_estimate
from gateway.generation.pieces import FinishReason, Piece
from gateway.generation.request import GenerationRequest, Message, Tool
from gateway.redaction import MASK, Redactor

SCHEMA = {
    "type": "object",
    "title": "A-TITLE",
    "description": "A-DESCRIPTION",
    "properties": {
        "description": {
            "type": "string",
            "description": "A-DESCRIPTION",
            "examples": ["AN-EXAMPLE"],
        },
        "mode": {"enum": ["fast", "slow"], "default": "A-DEFAULT"},
        "place": {"$ref": "#/$defs/place"},
        "list": {
            "type": "array",
            "items": {"anyOf": [{"type": "string", "$comment": "A-COMMENT"}]},
        },
    },
    "required": ["description"],
    "additionalProperties": False,
    "$defs": {"place": {"type": "object", "properties": {"title": {"type": "number"}}}},
    "x-note": {"text": "A-NOTE"},
}
TOOL = Tool("search", "A-DESCRIPTION", SCHEMA)
KEPT = {
    "type": "object",
    "properties": {
        "description": {"type": "string"},
        "mode": {"enum": ["fast", "slow"]},
        "place": {"$ref": "#/$defs/place"},
        "list": {"type": "array", "items": {"anyOf": [{"type": "string"}]}},
    },
    "required": ["description"],
    "additionalProperties": False,
    "$defs": {"place": {"type": "object", "properties": {"title": {"type": "number"}}}},
}


def request_of(*tools: Tool, **parameters: Any) -> GenerationRequest:
    messages = (Message("system", "A-SYSTEM-TEXT"), Message("user", "A-QUESTION"))
    return GenerationRequest(messages, tools=tools, **parameters)


def recorded(
    raw: list[Piece],
    out: list[Piece] | None = None,
    *,
    request: GenerationRequest | None = None,
    finish_reason: FinishReason | None = "stop",
    redactor: Redactor | None = None,
    **end: Any,
) -> AnswerRecord | None:
    """Return the record of an answer, of which the client got `out`."""
    submitted: list[AnswerRecorder] = []
    recorder = AnswerRecorder(
        request or request_of(TOOL),
        submitted.append,
        model="deepseek-v3",
        key="alice",
        notation="json",
        request_id="req_1",
    )
    recorder.receive(raw)
    recorder.deliver(raw if out is None else out)
    recorder.close(finish_reason=finish_reason, **{"stopped": False, "error": None, **end})
    if not submitted:
        return None
    return recorder.record("2026-01-31T12:00:00Z", redactor or Redactor())


def reasons(text: str, **parameters: Any) -> list[str]:
    """Return the reasons to keep an answer of which this text went out."""
    record = recorded([("content", text)], **parameters)
    return [] if record is None else record.reasons


CALL: list[Piece] = [("call", "search"), ("arguments", "{}")]


@pytest.mark.parametrize(
    "text",
    [
        "<tool_call>\n{broken",
        'text\n<tool_call>\n{"name": "search"',
        "  <function_calls>\n<invoke>",
        "<invoke name='search'>",
        "<call-K7Q2 search>\n{broken",
        "[tool_calls]\nnothing",
        "[TOOL_CALLS][{",
        "<function=search>",
        "<｜tool▁calls▁begin｜>",
    ],
)
def test_what_began_like_a_call_and_went_out_as_text_is_unreadable(text: str) -> None:
    assert reasons(text)[0] == "unreadable"


@pytest.mark.parametrize(
    "text",
    [
        "text\n</tool_call>",
        "<tool_result>\n42",
        "</arg-K7Q2>",
        "<result-K7Q2 search call_1 ok>",
        "</function>",
        "one\n<|im_start|>user\n",
    ],
)
def test_a_marker_at_the_start_of_a_line_has_leaked(text: str) -> None:
    assert reasons(text) == ["marker_leaked"]


@pytest.mark.parametrize(
    "text",
    [
        "Write `<tool_call>` before a call, and </tool_call> behind it.",
        "```xml\n<tool_call>\n</tool_call>\n```\n",
        "~~~\n<|im_start|>\n~~~",
        "if a <call-b and c>d:\n<toolbar>\n<toolbox/>\n",
        "plain\n<b>bold</b>",
    ],
)
def test_code_and_prose_are_no_reason(text: str) -> None:
    assert reasons(text) == []


def test_without_tools_only_role_markers_leak() -> None:
    assert reasons("<tool_call>\n</tool_call>", request=request_of()) == []
    assert reasons("a\n<|assistant|>\nb", request=request_of()) == ["marker_leaked"]


def test_a_call_that_the_limit_cut_is_no_reason() -> None:
    assert reasons("<tool_call>\n{", finish_reason="length") == []


@pytest.mark.parametrize(
    ("out", "parameters", "expected"),
    [
        ([], {}, ["empty"]),
        ([("content", " \n")], {}, ["empty"]),
        ([("reasoning", "Hm.")], {}, ["empty"]),
        ([("content", "Yes.")], {}, []),
        (CALL, {"finish_reason": "tool_calls"}, []),
        ([], {"stopped": True}, []),
        ([], {"finish_reason": "length"}, []),
        ([], {"finish_reason": None, "error": ConnectionError()}, []),
        ([("content", "Yes.")], {"loop": 3}, ["loop"]),
        ([("content", "Yes.")], {"unreadable": True}, ["unreadable"]),
        ([], {"loop": 3, "unreadable": True}, ["unreadable", "empty", "loop"]),
    ],
)
def test_other_reasons(out: list[Piece], parameters: dict[str, Any], expected: list[str]) -> None:
    record = recorded([("content", "raw")], out, **parameters)
    assert (record.reasons if record else []) == expected


@pytest.mark.parametrize(
    ("error", "name"),
    [
        (UpstreamError("m", code="upstream_truncated"), "upstream_truncated"),
        (UpstreamError("m", code="upstream_repetition"), "upstream_repetition"),
        (AssertionError("a bug"), "AssertionError"),
        (UpstreamError("m"), None),
        (Unavailable("m"), None),
        (ConnectionResetError(), None),
        (KeyboardInterrupt(), None),
    ],
)
def test_an_error_in_the_answer_is_a_reason(error: BaseException, name: str | None) -> None:
    text: list[Piece] = [("content", "raw")]
    record = recorded(text, finish_reason=None, error=error)
    assert (record and record.error) == name
    assert (record and record.reasons) == (["error"] if name else None)
    assert recorded([], finish_reason=None, error=error) is None  # there is nothing to read


def test_a_record_has_what_is_needed_to_read_the_answer_again() -> None:
    request = request_of(TOOL, max_tokens=50, stop=("A-STOP",), parallel_tool_calls=False)
    raw: list[Piece] = [
        ("reasoning", "Hm"),
        ("reasoning", "."),
        ("content", "<tool"),
        ("content", "_call>"),
    ]
    out: list[Piece] = [("reasoning", "Hm."), *CALL, ("content", "<tool_"), ("content", "call>")]
    record = recorded(raw, out, request=request)
    assert record is not None
    assert record.raw == [("reasoning", "Hm."), ("content", "<tool_call>")]
    assert record.came_out == [
        ("reasoning", 3),
        ("call", "search"),
        ("arguments", 2),
        ("content", 11),
    ]
    assert [(tool.name, tool.parameters) for tool in record.tools] == [("search", KEPT)]
    assert (record.parallel, record.max_tokens, record.stop_strings) == (False, 50, 1)
    assert (record.key, record.model, record.request_id) == ("alice", "deepseek-v3", "req_1")
    assert (record.masked, record.schemas_left_out, record.block) == (False, False, None)


def test_a_record_has_nothing_of_the_prompt() -> None:
    request = request_of(TOOL, stop=("A-STOP",))
    record = recorded([("content", "<tool_call>")], request=request)
    assert record is not None
    assert b"A-" not in encode_record(record)


def test_secrets_are_masked_in_every_text() -> None:
    redactor = Redactor(["correct horse"])
    schema = {"type": "object", "properties": {"correct horse": {"enum": ["correct horse"]}}}
    raw: list[Piece] = [
        ("reasoning", "The password is correct"),
        ("reasoning", " horse."),
        ("content", "<tool_call>\nAuthorization: Bearer abc.def-123\nsk-0123456789abcdef0123"),
    ]
    record = recorded(raw, request=request_of(Tool("find", "", schema)), redactor=redactor)
    assert record is not None
    assert record.masked
    written = encode_record(record).decode()
    assert not any(secret in written for secret in ("correct horse", "abc.def", "sk-0123"))
    assert record.raw[0] == ("reasoning", f"The password is {MASK}.")


def test_of_a_long_answer_beginning_and_end_are_kept() -> None:
    text = "<tool_call>" + "x" * 300_000 + "é" * 100_000 + "THE END"
    for size in (1, 700, len(text)):
        pieces: list[Piece] = [
            ("content", text[at : at + size]) for at in range(0, len(text), size)
        ]
        record = recorded(pieces)
        assert record is not None
        (_, first), (kind, count), (_, last) = record.raw
        assert kind == "cut"
        assert text.startswith(first)
        assert text.endswith(last)
        kept = token_estimate.size(first) + token_estimate.size(last)
        assert kept + int(count) == token_estimate.size(text)
        assert 0.9 * MAX_TEXT < kept <= MAX_TEXT
        assert len(encode_record(record)) < records.MAX_RECORD


def test_a_secret_at_the_cut_is_not_shown_in_part() -> None:
    secret = "correct horse battery staple"
    filler = "x" * (MAX_TEXT // 2 - 10)
    text = f"{filler}{secret}{'y' * MAX_TEXT}{secret}{filler}"
    record = recorded([("content", text)], [], redactor=Redactor([secret]))
    assert record is not None
    assert not any(part in encode_record(record).decode() for part in ("correct", "staple"))


def test_the_memory_of_an_endless_answer_is_bounded() -> None:
    kept = BoundedPieces(most=1000)
    for _ in range(5000):
        kept.add([("content", "0123456789")])
    first, last = kept.joined()
    assert sum(len(text) for _, text in [*first, *last]) == 1000
    assert kept.left_out == 49_000


def test_schemas_that_are_too_large_are_left_out() -> None:
    deep: dict[str, Any] = {}
    for _ in range(100):
        deep = {"type": "object", "properties": {"a": deep}}
    wide = {"enum": ["x" * 100] * 5000}
    many = {"properties": {f"p{n}": {"type": "string"} for n in range(30_000)}}
    for schema in (deep, wide, many, {"enum": [float("inf")]}):
        record = recorded(
            [("content", "<tool_call>")], request=request_of(TOOL, Tool("b", "", schema))
        )
        assert record is not None
        assert record.schemas_left_out
        assert [(tool.name, tool.parameters) for tool in record.tools] == [
            ("search", {}),
            ("b", {}),
        ]


def test_a_record_survives_its_json() -> None:
    record = recorded([("content", "<tool_call>\x1b[2J\u2028\x85 好 \ud83d \0")])
    assert record is not None
    raw = encode_record(record)
    assert raw.decode().removesuffix("\n").isprintable()
    assert json.loads(raw)["format"] == 1
    assert encode_record(decode_record(raw)) == raw
    assert decode_record(raw).raw == [("content", "<tool_call>\x1b[2J\u2028\x85 好 \ufffd \0")]


def changed(**members: Any) -> bytes:
    record = recorded([("content", "<tool_call>")])
    assert record is not None
    return json.dumps({**json.loads(encode_record(record)), **members}).encode()


@pytest.mark.parametrize(
    ("raw", "problem"),
    [
        (b"", "is not JSON"),
        (b"\xff\xfe", "is not JSON"),
        (b'{"tools": [{"parameters": ' + b'{"a":' * 100_000, "is not JSON"),
        (b"{}", "is not the record of an answer"),
        (b"[]", "is not the record of an answer"),
        (changed(format=2), "has the format 2; this version reads 1"),
        (changed(raw="x"), "is not the record of an answer"),
        (changed(raw=[["content", 3]]), "is not the record of an answer"),
        (changed(tools=[{"name": f"t{n}", "parameters": {}} for n in range(257)]), "more than 256"),
        (changed(tools=[{"name": "t", "parameters": {}}] * 2), "two tools of one name"),
    ],
)
def test_what_is_no_record_is_refused(raw: bytes, problem: str) -> None:
    with pytest.raises(records.BadRecord, match=problem):
        decode_record(raw)

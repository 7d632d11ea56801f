"""Asks the same in each dialect, and reads what each says of an error.

A new dialect is one more entry in DIALECTS, and one more name in the rows of `causes`.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from gateway import app
from gateway.apis.anthropic.messages_request import Messages
from gateway.apis.base import Dialect, Endpoint
from gateway.apis.ollama.chat import OllamaChat
from gateway.apis.openai.chat_request import ChatCompletions
from gateway.apis.openai.responses.request import Responses
from tests.faults.causes import ErrorRow
from tests.faults.upstream import Moment
from tests.integration.apis import test_responses as responses
from tests.support import frames
from tests.unit.apis.anthropic.test_messages_response import collected, parsed
from tests.unit.apis.ollama import test_response as ollama

TEXT = "Hello, "
"""What an answer begins with before it fails."""

ErrorWords = tuple[str | None, str | None]
"""The type and the code of an error; None where a dialect has none there."""


@dataclass(frozen=True)
class AskedDialect:
    """A route of a dialect, and how its answers are read.

    name: in the rows of `causes`. title: in the document.
    given: the body's members for a text, but for `stream`.
    wait: the seconds of `Retry-After` for an error that knows none, as text.
    check_stream: checks a stream that is complete.
    read_error: checks the body of an error, given the headers; returns its words.
    read_failure: checks a stream that failed, with no sign of a good end; returns its words.
    forms: in words, for the document: the body of an error, the end of a stream that failed, what
        such a stream does not have, and the end at the limit of tokens.
    has_code: whether an error has a code. failed: whether a stream's has one of its own instead.
    mistakes: a body's members for a mistake that other dialects make in another way, by its code.
    """

    name: str
    title: str
    path: str
    dialect: Dialect
    endpoint: Endpoint
    given: Callable[[str], dict[str, Any]]
    check_stream: Callable[[bytes], None]
    read_error: Callable[[bytes, Mapping[str, str]], ErrorWords]
    read_failure: Callable[[bytes], ErrorWords]
    forms: Sequence[str]
    has_code: bool = True
    failed: bool = False
    wait: str | None = None
    mistakes: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)

    def words(self, row: ErrorRow) -> ErrorWords:
        """Return the words of an error in the answer that has its status."""
        _, kind = self.shown(row)
        return kind or None, row.error.code if self.has_code else None

    def failure_words(self, row: ErrorRow) -> ErrorWords:
        """Return the words of an error in a stream that has begun."""
        return (None, row.failed) if self.failed else self.words(row)

    def check_retry(self, headers: Mapping[str, str], row: ErrorRow) -> None:
        """Check whether the SDKs are told to repeat, and when."""
        wait = headers.get("Retry-After")
        assert headers["x-should-retry"] == ("false" if row.retry == "no" else "true")
        if row.retry == "wait" and wait is not None:
            assert int(wait) >= 1
        else:
            assert wait == (None if row.retry == "no" else self.wait)
            assert row.retry != "wait" or row.code == "upstream_rate_limited", "Fitten named none"

    def shown(self, row: ErrorRow) -> tuple[int, str]:
        """Return status and type of an error; "" where the dialect has no types."""
        status, _, kind = row.shown[self.name].partition(" ")
        return int(status), kind


def _messages(text: str) -> list[dict[str, Any]]:
    return [{"role": "user", "content": text}]


def _check_chat_stream(raw: bytes) -> None:
    assert frames(raw)[-1] == "[DONE]"


def _read_openai_error(raw: bytes, headers: Mapping[str, str]) -> ErrorWords:
    (error,) = json.loads(raw).values()
    assert error.keys() == {"message", "type", "param", "code"}
    assert error["message"]
    return error["type"], error["code"]


def _read_chat_failure(raw: bytes) -> ErrorWords:
    *earlier, last = frames(raw)
    assert earlier
    assert "[DONE]" not in earlier
    assert all(frame["choices"][0]["finish_reason"] is None for frame in earlier)
    assert last.keys() == {"error"}
    return _read_openai_error(json.dumps(last).encode(), {})


def _check_messages_stream(raw: bytes) -> None:
    collected(parsed(raw))


def _read_anthropic_error(raw: bytes, headers: Mapping[str, str]) -> ErrorWords:
    answer = json.loads(raw)
    assert answer.keys() == {"type", "error", "request_id"}
    assert answer["request_id"] == headers["request-id"]
    return _anthropic_words(answer)


def _read_messages_failure(raw: bytes) -> ErrorWords:
    *earlier, last = parsed(raw)
    kinds = [event["type"] for event in earlier]
    assert kinds[:2] == ["message_start", "content_block_start"]
    assert {*kinds[2:]} == {"content_block_delta"}, "no block and no message has an end"
    assert last.keys() == {"type", "error"}
    return _anthropic_words(last)


def _anthropic_words(answer: dict[str, Any]) -> ErrorWords:
    assert answer["type"] == "error"
    assert answer["error"].keys() - {"details"} == {"type", "message"}
    assert answer["error"]["message"]
    return answer["error"]["type"], None


def _check_responses_stream(raw: bytes) -> None:
    last = responses.parsed(raw.decode())[-1]
    assert last["type"] == "response.completed"
    assert last["response"]["usage"]["total_tokens"]


def _read_responses_failure(raw: bytes) -> ErrorWords:
    *earlier, last = responses.parsed(raw.decode())
    kinds = [event["type"].removeprefix("response.") for event in earlier]
    assert kinds[:4] == ["created", "in_progress", "output_item.added", "content_part.added"]
    assert {*kinds[4:]} == {"output_text.delta"}, "no item and no response has an end"
    assert last["type"] == "response.failed"
    response = last["response"]
    assert (response["status"], response["output"]) == ("failed", [])
    assert response["error"].keys() == {"code", "message"}
    assert response["error"]["message"]
    return None, response["error"]["code"]


def _check_ollama_stream(raw: bytes) -> None:
    answer = ollama.collected(ollama.parsed(raw))
    assert (answer["done_reason"], answer["eval_count"] > 0) == ("stop", True)


def _read_ollama_error(raw: bytes, headers: Mapping[str, str]) -> ErrorWords:
    answer = json.loads(raw)
    assert answer.keys() == {"error"}
    assert isinstance(answer["error"], str)
    assert answer["error"]
    return None, None


def _read_ollama_failure(raw: bytes) -> ErrorWords:
    *earlier, last = ollama.parsed(raw)
    assert earlier
    assert not any(line["done"] or "done_reason" in line for line in earlier)
    return _read_ollama_error(json.dumps(last).encode(), {})


CHAT = AskedDialect(
    name="chat",
    title="chat completions",
    path="/v1/chat/completions",
    dialect=app.OPENAI,
    endpoint=ChatCompletions(),
    given=lambda text: {"messages": _messages(text)},
    check_stream=_check_chat_stream,
    read_error=_read_openai_error,
    read_failure=_read_chat_failure,
    forms=(
        '`{"error": {"message", "type", "param", "code"}}`',
        "a frame `data: ` with the same",
        "`finish_reason`, `[DONE]`",
        '`finish_reason: "length"`',
    ),
)
MESSAGES = AskedDialect(
    name="messages",
    title="Messages",
    path="/v1/messages",
    dialect=app.ANTHROPIC,
    endpoint=Messages(),
    given=lambda text: {"max_tokens": 32_000, "messages": _messages(text)},
    check_stream=_check_messages_stream,
    read_error=_read_anthropic_error,
    read_failure=_read_messages_failure,
    forms=(
        '`{"type": "error", "error": {"type", "message"}, "request_id"}`',
        "an event `error` with the same, but for the id",
        "`content_block_stop` of the open block, `message_delta`, `message_stop`",
        '`stop_reason: "max_tokens"`',
    ),
    has_code=False,
)
RESPONSES = AskedDialect(
    name="responses",
    title="Responses",
    path="/v1/responses",
    dialect=app.RESPONSES,
    endpoint=Responses(),
    given=lambda text: {"input": text},
    check_stream=_check_responses_stream,
    read_error=_read_openai_error,
    read_failure=_read_responses_failure,
    forms=(
        "as chat completions",
        'an event `response.failed`, whose response has `"error": {"code", "message"}`',
        "`response.output_item.done` of the open item, `response.completed`",
        "`response.incomplete` with the reason `max_output_tokens`",
    ),
    failed=True,
    wait="1",
)
OLLAMA = AskedDialect(
    name="ollama",
    title="Ollama",
    path="/api/chat",
    dialect=app.OLLAMA,
    endpoint=OllamaChat(),
    given=lambda text: {"messages": _messages(text)},
    check_stream=_check_ollama_stream,
    read_error=_read_ollama_error,
    read_failure=_read_ollama_failure,
    forms=(
        '`{"error": message}`',
        "a line with the same",
        '`"done": true`, `done_reason`',
        '`done_reason: "length"`',
    ),
    has_code=False,
    # Without messages a request loads a model, and nobody sends `tool_choice`.
    mistakes={
        "missing_required_parameter": {"tools": [{"type": "function"}]},
        "unsupported_value": {"format": "xml"},
    },
)
DIALECTS = (CHAT, MESSAGES, RESPONSES, OLLAMA)

_COMPLETIONS = replace(
    CHAT, path="/v1/completions", given=lambda text: {"prompt": text, "suffix": "\n"}
)


def dialects_at(moment: Moment) -> tuple[AskedDialect, ...]:
    """Return in which dialects a fault is asked for: all, where the answer begins or fails."""
    if moment in ("version", "completion"):
        return (_COMPLETIONS,)
    return DIALECTS if moment in ("login", "before", "after") else (CHAT,)

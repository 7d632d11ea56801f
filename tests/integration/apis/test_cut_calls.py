"""Calls that break off, and the ids of calls, in each dialect as its agents read them.

An agent runs every call that it can read, whatever the answer says of its end.
"""

from __future__ import annotations

import json
import re
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from emulator.scenarios.call_notations import CallNotation, written
from emulator.scenarios.native_notations import NATIVE_NOTATIONS
from emulator.scenarios.tool_use import MadeCall
from tests.integration.apis import test_responses as responses
from tests.integration.scripted_fitten import CUT, ScriptedFitten, running_fitten
from tests.support import Gateway, frames, running_gateway
from tests.unit.apis.anthropic.test_messages_response import parsed
from tests.unit.apis.ollama import test_response as ollama

SCHEMA: dict[str, Any] = {
    "type": "object",
    "properties": {"path": {"type": "string"}, "text": {"type": "string"}},
    "required": ["path", "text"],
}
NAME, JSON, TEXT = "<call-%V% Write>\n", '{"path": "a.py"}\n', '<arg text>\nprint("hi")\n'
REST = "</arg-%V%>\n</call-%V%>\n"
SAID = NAME + JSON + TEXT + REST
WHOLE = {"path": "a.py", "text": 'print("hi")'}
PLACES = {
    "behind the name": len(NAME),
    "in the line of JSON": len(NAME) + 5,
    "behind the line of JSON": len(NAME + JSON),
    "in a text": len(NAME + JSON) + 20,
}


@dataclass
class RunCalls:
    """What an agent gets: the calls that it runs, and how the answer ended.

    ids: of all calls that it saw, also of those that it does not run.
    """

    calls: list[tuple[str, Any]] = field(default_factory=list)
    ids: list[str] = field(default_factory=list)
    end: str = ""

    def add(self, name: str, arguments: str) -> None:
        """Run a call, if its arguments can be read. Agents take none for `{}`."""
        with suppress(ValueError):
            self.calls.append((name, json.loads(arguments or "{}")))


def read_chat(raw: bytes, stream: bool) -> RunCalls:
    got = RunCalls()
    calls: list[list[str]] = []
    for frame in frames(raw) if stream else [json.loads(raw)]:
        if frame == "[DONE]":
            continue
        if "error" in frame:
            got.end = frame["error"]["code"]
            continue
        for choice in frame["choices"]:
            for call in choice.get("delta", choice.get("message")).get("tool_calls") or ():
                if "id" in call:
                    got.ids.append(call["id"])
                    calls.append([call["function"]["name"], ""])
                calls[-1][1] += call["function"].get("arguments", "")
            got.end = choice["finish_reason"] or got.end
    for name, arguments in calls:
        got.add(name, arguments)
    return got


def read_messages(raw: bytes, stream: bool) -> RunCalls:
    got = RunCalls()
    if not stream:
        answer = json.loads(raw)
        for block in answer.get("content", ()):
            if block["type"] == "tool_use":
                got.ids.append(block["id"])
                got.add(block["name"], json.dumps(block["input"]))
        got.end = answer.get("stop_reason") or answer["error"]["type"]
        return got
    block, arguments = {"type": ""}, ""
    for event in parsed(raw):
        if event["type"] == "content_block_start":
            block, arguments = event["content_block"], ""
            got.ids += [block["id"]] if block["type"] == "tool_use" else []
        elif event["type"] == "content_block_delta":
            arguments += event["delta"].get("partial_json", "")
        elif event["type"] == "content_block_stop" and block["type"] == "tool_use":
            got.add(block["name"], arguments)
        elif event["type"] == "message_delta":
            got.end = event["delta"]["stop_reason"]
        elif event["type"] == "error":
            got.end = event["error"]["type"]
    return got


def read_responses(raw: bytes, stream: bool) -> RunCalls:
    got = RunCalls()
    if stream:
        events = responses.parsed(raw.decode())
        done = [event["item"] for event in events if event["type"] == "response.output_item.done"]
        answer = events[-1]["response"]
        assert answer["output"] == done
    else:
        answer = json.loads(raw)
        done = answer.get("output", [])
    for item in done:
        if item["type"] == "function_call":
            got.ids += [item["id"], item["call_id"]]
            got.add(item["name"], item["arguments"])
    reason = (answer.get("incomplete_details") or {}).get("reason")
    failed = (answer["error"] or {}).get("code")
    got.end = reason or failed or answer["status"]
    return got


def read_ollama(raw: bytes, stream: bool) -> RunCalls:
    got = RunCalls()
    for line in ollama.parsed(raw) if stream else [json.loads(raw)]:
        if "error" in line:
            got.end = "error"
            continue
        for call in line["message"].get("tool_calls", ()):
            got.ids.append(call["id"])
            got.calls.append((call["function"]["name"], call["function"]["arguments"]))
        got.end = line.get("done_reason", "")
    return got


@dataclass(frozen=True)
class AgentDialect:
    """How an agent of a dialect asks and reads.

    ends: how an answer ends with calls, at the limit of tokens, and when the connection is lost:
        in a stream, and whole.
    """

    path: str
    texts: str
    tool: dict[str, Any]
    limit: Callable[[int], dict[str, Any]]
    read: Callable[[bytes, bool], RunCalls]
    ends: tuple[str, str, str, str]


DIALECTS = {
    "chat": AgentDialect(
        "/v1/chat/completions",
        "messages",
        {"type": "function", "function": {"name": "Write", "parameters": SCHEMA}},
        lambda limit: {"max_tokens": limit},
        read_chat,
        ("tool_calls", "length", "upstream_truncated", "upstream_truncated"),
    ),
    "messages": AgentDialect(
        "/v1/messages",
        "messages",
        {"name": "Write", "input_schema": SCHEMA},
        lambda limit: {"max_tokens": limit},
        read_messages,
        ("tool_use", "max_tokens", "api_error", "api_error"),
    ),
    "responses": AgentDialect(
        "/v1/responses",
        "input",
        {"type": "function", "name": "Write", "parameters": SCHEMA},
        lambda limit: {"max_output_tokens": limit},
        read_responses,
        ("completed", "max_output_tokens", "server_error", "upstream_truncated"),
    ),
    "ollama": AgentDialect(
        "/api/chat",
        "messages",
        {"type": "function", "function": {"name": "Write", "parameters": SCHEMA}},
        lambda limit: {"options": {"num_predict": limit}},
        read_ollama,
        ("stop", "length", "error", "error"),
    ),
}


@pytest.fixture(params=DIALECTS)
def dialect(request: pytest.FixtureRequest) -> AgentDialect:
    return DIALECTS[request.param]


@pytest.fixture(params=[False, True], ids=["whole", "streamed"])
def stream(request: pytest.FixtureRequest) -> bool:
    return bool(request.param)


@asynccontextmanager
async def running(
    folder: Path, *answers: Sequence[Any], **sections: Any
) -> AsyncIterator[tuple[ScriptedFitten, Gateway]]:
    async with (
        running_fitten() as (fitten, url),
        running_gateway(url, folder, **sections) as gateway,
    ):
        fitten.answers += answers
        yield fitten, gateway


async def ask(gateway: Gateway, dialect: AgentDialect, stream: bool, **more: Any) -> RunCalls:
    body = {
        dialect.texts: [{"role": "user", "content": "hi"}],
        "tools": [dialect.tool],
        "stream": stream,
        **more,
    }
    async with gateway.http.post(gateway.url + dialect.path, json=body) as response:
        return dialect.read(await response.read(), stream and response.status == 200)


@pytest.mark.parametrize("place", PLACES)
async def test_a_call_that_was_cut_off_is_continued_once_and_whole_then(
    tmp_path: Path, dialect: AgentDialect, stream: bool, place: str
) -> None:
    at = PLACES[place]
    async with running(tmp_path, [SAID[:at]], [SAID[at:]]) as (fitten, gateway):
        got = await ask(gateway, dialect, stream)
    assert (got.calls, got.end) == ([("Write", WHOLE)], dialect.ends[0])
    assert len(fitten.prompts) == 2


@pytest.mark.parametrize("place", PLACES)
async def test_a_call_that_stays_cut_off_is_not_run(
    tmp_path: Path, dialect: AgentDialect, stream: bool, place: str
) -> None:
    """It is continued once; then the answer ends as at the limit of tokens."""
    said = [SAID[: PLACES[place]]]
    async with running(tmp_path, said, []) as (fitten, gateway):
        got = await ask(gateway, dialect, stream)
    assert (got.calls, got.end) == ([], dialect.ends[1])
    assert len(fitten.prompts) == 2


def cut_calls(notation: CallNotation) -> Iterator[str]:
    """Yield the beginnings of a call that is cut off behind its name, and in its arguments."""
    call = written([MadeCall("Write", WHOLE)], notation)
    behind_name = call.index("Write") + len("Write")
    visible = re.compile(r"[^\s\"'>]").search(call, behind_name)
    assert visible
    yield call[: visible.end()]
    yield call[: call.index("hi") + 1]


NOTATIONS: tuple[CallNotation, ...] = (
    *NATIVE_NOTATIONS,
    *("tool_call", "invoke", "use_tool", "listing", "json", "fenced"),
)


@pytest.mark.parametrize("notation", NOTATIONS)
async def test_a_call_in_any_notation_that_stays_cut_off_is_no_good_end(
    tmp_path: Path, notation: CallNotation
) -> None:
    """It is text then, and an agent that sees no call must not take the answer for the last."""
    dialect, wanted = DIALECTS["chat"], list(cut_calls(notation))
    async with running(tmp_path) as (fitten, gateway):
        for begun in wanted:
            for stream in (False, True):
                fitten.answers += [[begun], []]
                got = await ask(gateway, dialect, stream)
                assert (got.calls, got.end) == ([], "length"), begun
    assert len(fitten.prompts) == 4 * len(wanted)


async def test_a_call_in_a_notation_of_a_model_is_as_any_other_in_each_dialect(
    tmp_path: Path, dialect: AgentDialect, stream: bool
) -> None:
    call = written([MadeCall("Write", WHOLE)], "qwen3_coder")
    async with running(tmp_path) as (fitten, gateway):
        whole = [("Write", WHOLE)]
        # Continued, continued by nothing, and by an answer that fails.
        for rest, calls, end in (([call[60:]], whole, 0), ([], [], 1), ([CUT], [], 1)):
            fitten.answers += [[call[:60]], rest]
            got = await ask(gateway, dialect, stream)
            assert (got.calls, got.end) == (calls, dialect.ends[end])
    assert len(fitten.prompts) == 6


@pytest.mark.parametrize("text", ["", '<arg text>\nprint("hi, ', JSON + "<arg text>\nhi, "])
async def test_a_call_that_the_limit_cuts_off_is_not_run(
    tmp_path: Path, dialect: AgentDialect, stream: bool, text: str
) -> None:
    said = [NAME + text + "word " * 400]
    if not text:
        said = [NAME, "\n" * 4000]
    async with running(tmp_path, said) as (fitten, gateway):
        got = await ask(gateway, dialect, stream, **dialect.limit(40))
    assert (got.calls, got.end) == ([], dialect.ends[1])
    assert len(fitten.prompts) == 1


@pytest.mark.parametrize("place", PLACES)
async def test_a_call_within_which_the_connection_is_lost_is_not_run(
    tmp_path: Path, dialect: AgentDialect, stream: bool, place: str
) -> None:
    said = ["I write.\n" + SAID[: PLACES[place]], CUT]
    async with running(tmp_path, said) as (fitten, gateway):
        got = await ask(gateway, dialect, stream)
    assert got.calls == []
    if stream:
        assert got.end == dialect.ends[2]
    assert len(fitten.prompts) == 1


async def test_ids_of_calls_are_unique_in_a_conversation(
    tmp_path: Path, dialect: AgentDialect, stream: bool
) -> None:
    """Claude Code keeps one call of two with the same id."""
    other = SAID.replace("a.py", "b.py")
    async with running(tmp_path, [SAID, other], [SAID, other], [SAID]) as (_, gateway):
        ids = [name for _ in range(3) for name in (await ask(gateway, dialect, stream)).ids]
    assert len(ids) in (5, 10)
    assert len({*ids}) == len(ids)

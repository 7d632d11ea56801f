"""The package openai before a gateway and the emulator; run by `make sdk-typescript`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from emulator import Emulator
from tests.clients.typescript.support import (
    ASKED,
    FAILED,
    MODEL,
    PERSON,
    SAID,
    TypeScriptLibrary,
)
from tests.integration.peer import UPSTREAM_CHAT
from tests.support import Gateway


@pytest.fixture
def openai(gateway: Gateway, emulator: Emulator, tmp_path: Path) -> TypeScriptLibrary:
    """The package, with the gateway as its base URL."""
    return TypeScriptLibrary("openai", tmp_path, gateway.url, emulator.url)


def chat(text: str, **members: Any) -> dict[str, Any]:
    return {"model": MODEL, "messages": [{"role": "user", "content": text}], **members}


def response(text: str, **members: Any) -> dict[str, Any]:
    return {"model": MODEL, "input": [{"role": "user", "content": text}], **members}


ABORTS = [("chatAbort", chat), ("chatLeft", chat), ("responsesAbort", response)]


async def test_the_models_are_listed(openai: TypeScriptLibrary) -> None:
    models = (await openai.run("models", model=MODEL)).result
    assert MODEL in models["listed"]
    assert models["one"]["id"] == MODEL


async def test_a_whole_chat_and_its_usage(openai: TypeScriptLibrary) -> None:
    answer = (await openai.run("chat", **chat("[[count n=3]]"))).result
    assert answer["choices"][0]["message"]["content"] == "w0 w1 w2 "
    usage = answer["usage"]
    assert usage["completion_tokens"] == 3
    assert usage["total_tokens"] == usage["prompt_tokens"] + 3


async def test_a_streamed_chat_ends_with_its_usage(openai: TypeScriptLibrary) -> None:
    done = await openai.run("chatStream", **chat("[[count n=3]]"))
    assert "".join(done.seen) == "w0 w1 w2 "
    assert done.result["choices"] == []
    assert done.result["usage"]["completion_tokens"] == 3


async def test_the_helper_collects_a_streamed_chat(openai: TypeScriptLibrary) -> None:
    done = await openai.run("chatHelper", **chat("[[count n=3]]"))
    assert "".join(done.seen) == "w0 w1 w2 "
    (choice,) = done.result["choices"]
    assert (choice["message"]["content"], choice["finish_reason"]) == ("w0 w1 w2 ", "stop")


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("marker", ["", "[[call notation=qwen3_coder]]"])
async def test_a_loop_with_a_tool_of_a_chat(
    openai: TypeScriptLibrary, marker: str, stream: bool
) -> None:
    done = await openai.run("chatTools", **chat(f"{ASKED} {marker}", stream=stream))
    assert done.result == {"text": SAID, "roles": ["user", "assistant", "tool", "assistant"]}


@pytest.mark.parametrize(("case", "body"), [("chatParse", chat), ("responsesParse", response)])
async def test_an_answer_is_parsed_by_its_schema(
    openai: TypeScriptLibrary, case: str, body: Any
) -> None:
    assert (await openai.run(case, **body(PERSON))).result == {"name": "Ann", "age": 7}


async def test_a_completion_of_text(openai: TypeScriptLibrary) -> None:
    marker = "[[complete text=a+b]]"
    answer = (await openai.run("completion", model=MODEL, prompt=f"# {marker}\nreturn ")).result
    assert answer["choices"][0]["text"] == "a+b"


async def test_a_whole_response_and_its_usage(openai: TypeScriptLibrary) -> None:
    answer = (await openai.run("responses", **response("[[count n=3]]"))).result
    assert (answer["output_text"], answer["status"]) == ("w0 w1 w2 ", "completed")
    usage = answer["usage"]
    assert usage["total_tokens"] == usage["input_tokens"] + usage["output_tokens"]


async def test_a_streamed_response_is_collected(openai: TypeScriptLibrary) -> None:
    done = await openai.run("responsesStream", **response("[[count n=3]]"))
    deltas = [e["delta"] for e in done.seen if e["type"] == "response.output_text.delta"]
    assert "".join(deltas) == done.result["output_text"] == "w0 w1 w2 "
    assert [event["sequence_number"] for event in done.seen] == [*range(len(done.seen))]
    assert done.result["usage"]["output_tokens"] == 3


@pytest.mark.parametrize("streamed", [False, True])
async def test_a_loop_with_a_tool_of_responses(openai: TypeScriptLibrary, streamed: bool) -> None:
    done = await openai.run("responsesTools", **response(ASKED, streamed=streamed))
    types = ["message", "function_call", "function_call_output", "message"]
    assert done.result == {"text": SAID, "types": types}


async def test_input_tokens_are_counted_without_the_upstream(
    openai: TypeScriptLibrary, emulator: Emulator
) -> None:
    counted = (await openai.run("inputTokens", **response("Hello there"))).result
    assert counted["input_tokens"] > 0
    assert emulator.calls_to(UPSTREAM_CHAT) == []


@pytest.mark.parametrize(
    ("case", "body"),
    [
        ("chat", chat("[[status code=500]]")),
        ("chatStream", chat("[[error_200]]")),
        ("responses", response("[[status code=500]]")),
        ("responsesStream", response("[[error_200]]")),
    ],
)
async def test_an_error_before_the_first_piece(
    openai: TypeScriptLibrary, case: str, body: dict[str, Any]
) -> None:
    error = (await openai.run(case, **body)).failed_with("InternalServerError")
    assert (error["status"], error["code"], error["type"]) == (
        502,
        "upstream_error",
        "server_error",
    )
    assert error["message"] == f"502 {FAILED}"
    assert error["requestID"].startswith("req_")


async def test_an_error_after_the_first_piece_of_a_chat(openai: TypeScriptLibrary) -> None:
    done = await openai.run("chatStream", **chat("[[error_middle]]"))
    error = done.failed_with("APIError")
    assert (error["message"], error["code"]) == (FAILED, "upstream_error")
    assert "".join(done.seen) == "Hel"


async def test_an_error_after_the_first_piece_of_a_response(openai: TypeScriptLibrary) -> None:
    """The library raises nothing: the last event and the final response say it."""
    done = await openai.run("responsesStream", **response("[[error_middle]]"))
    assert done.seen[-1]["type"] == "response.failed"
    assert done.result["status"] == "failed"
    assert done.result["error"] == {"code": "server_error", "message": FAILED}


@pytest.mark.parametrize(
    ("case", "body"), [("chat", chat), ("chatStream", chat), ("responses", response)]
)
async def test_a_wrong_key(openai: TypeScriptLibrary, case: str, body: Any) -> None:
    done = await openai.with_key("wrong").run(case, **body("a"))
    assert done.failed_with("AuthenticationError")["code"] == "invalid_api_key"


@pytest.mark.parametrize(("case", "body"), [("chat", chat), ("responsesStream", response)])
async def test_an_unknown_model(openai: TypeScriptLibrary, case: str, body: Any) -> None:
    done = await openai.run(case, **body("a", model="unknown-9"))
    assert done.failed_with("NotFoundError")["code"] == "model_not_found"


async def test_nothing_is_stored(openai: TypeScriptLibrary) -> None:
    absent = (await openai.run("retrieve", id="resp_1")).failed_with("NotFoundError")
    assert absent["code"] == "response_not_found"
    body = response("a", previous_response_id="resp_1")
    refused = (await openai.run("responses", **body)).failed_with("BadRequestError")
    assert refused["param"] == "previous_response_id"


@pytest.mark.parametrize(("case", "body"), ABORTS)
async def test_an_abort_reaches_the_upstream(
    openai: TypeScriptLibrary, case: str, body: Any
) -> None:
    assert (await openai.run(case, **body("[[endless]]"))).result is True

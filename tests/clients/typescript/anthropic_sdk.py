"""The package @anthropic-ai/sdk before a gateway and the emulator; run by `make sdk-typescript`."""

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
def anthropic(gateway: Gateway, emulator: Emulator, tmp_path: Path) -> TypeScriptLibrary:
    """The package, with the gateway as its base URL."""
    return TypeScriptLibrary("anthropic", tmp_path, gateway.url, emulator.url)


def message(text: str, **members: Any) -> dict[str, Any]:
    messages = [{"role": "user", "content": text}]
    return {"model": MODEL, "max_tokens": 1000, "messages": messages, **members}


async def test_the_models_are_listed(anthropic: TypeScriptLibrary) -> None:
    models = (await anthropic.run("models", model=MODEL)).result
    assert MODEL in models["listed"]
    assert (models["one"]["id"], models["one"]["type"]) == (MODEL, "model")


async def test_a_whole_message_and_its_usage(anthropic: TypeScriptLibrary) -> None:
    answer = (await anthropic.run("messages", **message("[[count n=3]]"))).result
    assert answer["content"] == [{"type": "text", "text": "w0 w1 w2 "}]
    assert answer["stop_reason"] == "end_turn"
    assert answer["usage"]["input_tokens"] > 0
    assert answer["usage"]["output_tokens"] == 3
    assert answer["request_id"].startswith("req_")


async def test_a_streamed_message_is_collected(anthropic: TypeScriptLibrary) -> None:
    done = await anthropic.run("messagesStream", **message("[[count n=3]]"))
    assert "".join(done.seen) == done.result["content"][0]["text"] == "w0 w1 w2 "
    assert done.result["stop_reason"] == "end_turn"
    assert done.result["usage"]["input_tokens"] > 0
    assert done.result["usage"]["output_tokens"] == 3


@pytest.mark.parametrize("case", ["messages", "messagesStream"])
async def test_thoughts_are_a_block(anthropic: TypeScriptLibrary, case: str) -> None:
    thinking = {"type": "enabled", "budget_tokens": 1024}
    answer = (await anthropic.run(case, **message("[[reasoning]]", thinking=thinking))).result
    assert [block["type"] for block in answer["content"]] == ["thinking", "text"]
    assert answer["content"][0]["signature"]


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("thread", [True, False])
@pytest.mark.parametrize("marker", ["", "[[call notation=qwen3_coder]]"])
async def test_a_runner_of_tools_gets_to_its_answer(
    anthropic: TypeScriptLibrary, emulator: Emulator, stream: bool, thread: bool, marker: str
) -> None:
    """With `thread` the SDK lets a server keep the conversation, if it can."""
    given = message(f"{ASKED} {marker}", stream=stream) | ({} if thread else {"thread": False})
    answer = (await anthropic.run("messagesTools", **given)).result
    assert answer["content"] == [{"type": "text", "text": SAID}]
    assert answer["roles"] == ["user", "assistant", "user", "assistant"]
    assert len(emulator.calls_to(UPSTREAM_CHAT)) == 2


async def test_an_answer_is_parsed_by_its_schema(anthropic: TypeScriptLibrary) -> None:
    done = await anthropic.run("messagesParse", **message(PERSON))
    assert done.result == {"name": "Ann", "age": 7}


async def test_tokens_are_counted_without_the_upstream(
    anthropic: TypeScriptLibrary, emulator: Emulator
) -> None:
    messages = [{"role": "user", "content": "Hello there"}]
    counted = (await anthropic.run("countTokens", model=MODEL, messages=messages)).result
    assert counted["input_tokens"] > 0
    assert emulator.calls_to(UPSTREAM_CHAT) == []


@pytest.mark.parametrize("case", ["messages", "messagesStream"])
@pytest.mark.parametrize("marker", ["[[status code=500]]", "[[error_200]]"])
async def test_an_error_before_the_first_piece(
    anthropic: TypeScriptLibrary, case: str, marker: str
) -> None:
    error = (await anthropic.run(case, **message(marker))).failed_with("InternalServerError")
    assert (error["status"], error["type"]) == (502, "api_error")
    assert error["body"]["error"]["message"] == FAILED
    assert error["requestID"].startswith("req_")


async def test_an_error_after_the_first_piece(anthropic: TypeScriptLibrary) -> None:
    done = await anthropic.run("messagesStream", **message("[[error_middle]]"))
    error = done.failed_with("APIError")
    assert error["body"]["error"] == {"type": "api_error", "message": FAILED}
    assert done.seen == ["Hel"]


@pytest.mark.parametrize("case", ["messages", "messagesStream"])
async def test_a_wrong_key(anthropic: TypeScriptLibrary, case: str) -> None:
    done = await anthropic.with_key("wrong").run(case, **message("a"))
    assert done.failed_with("AuthenticationError")["type"] == "authentication_error"


async def test_an_unknown_model(anthropic: TypeScriptLibrary) -> None:
    done = await anthropic.run("messages", **message("a", model="unknown-9"))
    assert done.failed_with("NotFoundError")["type"] == "not_found_error"


async def test_a_thread_of_its_own_is_refused(anthropic: TypeScriptLibrary) -> None:
    error = (await anthropic.run("thread", **message("a"))).failed_with(
        "ThreadUnsupportedRequestError"
    )
    assert error["status"] == 400


async def test_an_abort_reaches_the_upstream(anthropic: TypeScriptLibrary) -> None:
    done = await anthropic.run("messagesAbort", **message("[[endless]]"))
    assert done.result == {"error": "APIUserAbortError", "closed": True}

"""The AI SDK with each of its providers for a gateway; run by `make sdk-typescript`."""

from __future__ import annotations

from pathlib import Path

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

providers = pytest.mark.parametrize("provider", ["compatible", "chat", "responses", "messages"])


@pytest.fixture
def ai(gateway: Gateway, emulator: Emulator, tmp_path: Path) -> TypeScriptLibrary:
    """The package, with the gateway as its base URL."""
    return TypeScriptLibrary("ai", tmp_path, gateway.url, emulator.url)


@providers
@pytest.mark.parametrize("case", ["whole", "stream"])
async def test_a_text_and_its_usage(ai: TypeScriptLibrary, case: str, provider: str) -> None:
    done = await ai.run(case, provider=provider, model=MODEL, prompt="[[count n=3]]")
    assert (done.result["text"], done.result["finishReason"]) == ("w0 w1 w2 ", "stop")
    assert "".join(done.seen) == ("w0 w1 w2 " if case == "stream" else "")
    usage = done.result["usage"]
    assert usage["outputTokens"] == 3
    assert usage["totalTokens"] == usage["inputTokens"] + 3


@providers
@pytest.mark.parametrize("marker", ["", "[[call notation=qwen3_coder]]"])
@pytest.mark.parametrize("case", ["wholeTools", "streamTools"])
async def test_a_loop_with_a_tool(
    ai: TypeScriptLibrary, emulator: Emulator, case: str, provider: str, marker: str
) -> None:
    done = await ai.run(case, provider=provider, model=MODEL, prompt=f"{ASKED} {marker}")
    assert done.result["text"] == SAID
    assert done.result["calls"] == [{"city": "Paris", "days": 3}]
    assert len(emulator.calls_to(UPSTREAM_CHAT)) == 2


@providers
async def test_an_answer_has_the_wanted_shape(ai: TypeScriptLibrary, provider: str) -> None:
    done = await ai.run("object", provider=provider, model=MODEL, prompt=PERSON)
    assert done.result == {"name": "Ann", "age": 7}


@providers
@pytest.mark.parametrize("case", ["whole", "stream"])
async def test_an_error_before_the_first_piece(
    ai: TypeScriptLibrary, case: str, provider: str
) -> None:
    done = await ai.run(case, provider=provider, model=MODEL, prompt="[[error_200]]")
    error = done.failed_with("APICallError")
    assert (error["statusCode"], error["message"]) == (502, FAILED)
    assert error["isRetryable"] is True


@providers
async def test_an_error_after_the_first_piece(ai: TypeScriptLibrary, provider: str) -> None:
    done = await ai.run("stream", provider=provider, model=MODEL, prompt="[[error_middle]]")
    assert done.failed_with("StreamProviderError")["message"] == FAILED
    assert done.seen == ["Hel"]


@providers
async def test_a_wrong_key(ai: TypeScriptLibrary, provider: str) -> None:
    done = await ai.with_key("wrong").run("whole", provider=provider, model=MODEL, prompt="a")
    error = done.failed_with("APICallError")
    assert (error["statusCode"], error["isRetryable"]) == (401, False)


@providers
async def test_an_unknown_model(ai: TypeScriptLibrary, provider: str) -> None:
    done = await ai.run("stream", provider=provider, model="unknown-9", prompt="a")
    error = done.failed_with("APICallError")
    assert (error["statusCode"], error["isRetryable"]) == (404, False)
    assert "unknown-9" in error["message"]


@providers
async def test_an_abort_reaches_the_upstream(ai: TypeScriptLibrary, provider: str) -> None:
    done = await ai.run("abort", provider=provider, model=MODEL, prompt="[[endless]]")
    assert done.result["closed"] is True
    assert done.result["types"][-2:] == ["text-delta", "abort"]

"""The npm package ollama before a gateway and the emulator; run by `make sdk-typescript`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from emulator import Emulator
from tests.clients.typescript.support import ASKED, FAILED, MODEL, SAID, TypeScriptLibrary
from tests.integration.peer import UPSTREAM_CHAT
from tests.support import Gateway


@pytest.fixture
def ollama(gateway: Gateway, emulator: Emulator, tmp_path: Path) -> TypeScriptLibrary:
    """The package, with the gateway as its host."""
    return TypeScriptLibrary("ollama", tmp_path, gateway.url, emulator.url)


def chat(text: str, **members: Any) -> dict[str, Any]:
    return {"model": MODEL, "messages": [{"role": "user", "content": text}], **members}


async def test_the_models_are_listed_and_shown(ollama: TypeScriptLibrary) -> None:
    models = (await ollama.run("models", model=MODEL)).result
    assert f"{MODEL}:latest" in models["listed"]
    assert models["shown"]["model_info"]["fitten.context_length"] > 0


async def test_a_whole_answer_has_its_counts(ollama: TypeScriptLibrary) -> None:
    answer = (await ollama.run("chat", **chat("[[count n=3]]"))).result
    assert answer["message"]["content"] == "w0 w1 w2 "
    assert (answer["done"], answer["done_reason"], answer["eval_count"]) == (True, "stop", 3)


async def test_a_streamed_answer_is_collected(ollama: TypeScriptLibrary) -> None:
    done = await ollama.run("chatStream", **chat("[[count n=3]]"))
    assert "".join(done.seen) == "w0 w1 w2 "
    assert (done.result["done"], done.result["done_reason"]) == (True, "stop")


async def test_a_completion_at_the_cursor(ollama: TypeScriptLibrary) -> None:
    given = {"model": MODEL, "prompt": "def add(a, b):\n", "suffix": "\n\nprint(add(1, 2))\n"}
    answer = (await ollama.run("generate", **given)).result
    assert answer["done"] is True
    assert answer["response"]


async def test_a_turn_with_a_tool_gets_to_its_answer(
    ollama: TypeScriptLibrary, emulator: Emulator
) -> None:
    answer = (await ollama.run("chatTools", **chat(ASKED))).result
    assert answer == {"text": SAID, "turns": 4}
    assert len(emulator.calls_to(UPSTREAM_CHAT)) == 2


async def test_an_error_before_the_first_piece(ollama: TypeScriptLibrary) -> None:
    error = (await ollama.run("chat", **chat("[[status code=500]]"))).failed_with("ResponseError")
    assert error["message"] == FAILED


async def test_an_error_after_the_first_piece(ollama: TypeScriptLibrary) -> None:
    done = await ollama.run("chatStream", **chat("[[error_middle]]"))
    assert done.failed_with("Error")["message"] == FAILED
    assert "".join(done.seen) == "Hel"


async def test_a_wrong_key(ollama: TypeScriptLibrary) -> None:
    done = await ollama.with_key("wrong").run("chat", **chat("a"))
    assert "Incorrect API key" in done.failed_with("ResponseError")["message"]


async def test_an_unknown_model(ollama: TypeScriptLibrary) -> None:
    done = await ollama.run("chat", **chat("a", model="unknown-9"))
    assert "unknown-9" in done.failed_with("ResponseError")["message"]


async def test_an_abort_reaches_the_upstream(ollama: TypeScriptLibrary) -> None:
    done = await ollama.run("chatAbort", **chat("[[endless]]"))
    assert done.result == {"error": "AbortError", "closed": True}

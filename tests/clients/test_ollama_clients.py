"""Requests of clients that speak Ollama's API, and their answers as these programs read them."""

from __future__ import annotations

import json
from typing import Any

import pytest

from emulator import Emulator
from tests.clients import emulated, sending
from tests.integration.peer import upstream_call
from tests.support import Gateway

# What Zed's parser requires of each line, and in which type.
ZED_LINE = {"model": str, "created_at": str, "message": dict, "done": bool}


def lines(answer: sending.ClientAnswer) -> list[dict[str, Any]]:
    assert (answer.status, answer.media_type) == (200, "application/x-ndjson"), answer.body
    found = [json.loads(line) for line in answer.body.decode().split("\n") if line.strip()]
    assert not any("error" in line for line in found)
    return found


@pytest.mark.parametrize("name", ["twinny_ollama", "continue_ollama_gap"])
async def test_a_completion_is_the_text_of_all_lines(gateway: Gateway, name: str) -> None:
    found = lines(await sending.send(gateway, name, emulated.COMPLETION))
    assert "".join(line["response"] for line in found) == emulated.COMPLETED


async def test_a_warm_up_of_twinny_costs_nothing(gateway: Gateway, emulator: Emulator) -> None:
    answer = await sending.send(gateway, "twinny_ollama_warm_up")
    found = json.loads(answer.body)
    assert (answer.status, found["response"], found["done_reason"]) == (200, "", "load")
    assert not emulator.calls_to("/codeapi/chat_auth")


async def test_continue_gets_the_calls_of_an_answer_that_is_whole(gateway: Gateway) -> None:
    answer = await sending.send(gateway, "continue_ollama_agent", emulated.TOOL)
    message = json.loads(answer.body)["message"]
    assert message["role"] == "assistant"
    (call,) = message["tool_calls"]
    assert call["function"]["name"] == "get_weather"
    assert call["function"]["arguments"] == {"city": "Paris", "days": 3}


async def test_continue_finds_out_that_a_model_completes_at_the_cursor(gateway: Gateway) -> None:
    body = {"name": sending.MODEL}
    async with gateway.http.post(f"{gateway.url}/api/show", json=body) as response:
        shown = await response.json()
    assert ".Suffix" in shown["template"]
    assert not shown["parameters"]  # else each of its lines must be a name and a value


async def test_zed_reads_every_line_and_the_counts(gateway: Gateway, emulator: Emulator) -> None:
    found = lines(await sending.send(gateway, "zed_ollama_agent", emulated.CHAT))
    for line in found:
        assert {name: type(line[name]) for name in ZED_LINE} == ZED_LINE
        assert line["message"]["role"] == "assistant"
        assert isinstance(line["message"]["content"], str)
    assert "".join(line["message"]["content"] for line in found) == emulated.SAID
    assert found[-1]["prompt_eval_count"] > 0
    assert found[-1]["eval_count"] > 0
    prompt = (await upstream_call(emulator)).body["inputs"]
    assert " list call_1 ok>\nmain.py\n" in prompt


async def test_zed_reads_the_list_of_models(gateway: Gateway) -> None:
    async with gateway.http.get(f"{gateway.url}/api/tags") as response:
        models = (await response.json())["models"]
    for model in models:
        for name in ("name", "modified_at", "digest"):
            assert isinstance(model[name], str)
        assert model["size"] >= 0
        for name in ("format", "family", "parameter_size", "quantization_level"):
            assert isinstance(model["details"][name], str)

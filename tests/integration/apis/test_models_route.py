"""GET /v1/models and /v1/models/{id} (wire rule D5)."""

from __future__ import annotations

from typing import Any
from urllib.parse import quote

import pytest

from emulator import Emulator
from tests.conftest import StartGateway
from tests.support import Gateway
from tests.waiting import NEVER, eventually

UPSTREAM_MODELS = "/codeapi/chat/models"


async def listed(gateway: Gateway) -> dict[str, Any]:
    async with gateway.http.get(f"{gateway.url}/v1/models") as response:
        assert response.status == 200
        assert response.content_type == "application/json"
        answer: dict[str, Any] = await response.json()
        return answer


async def ids(gateway: Gateway) -> list[str]:
    return [model["id"] for model in (await listed(gateway))["data"]]


async def read_from_upstream(emulator: Emulator) -> None:
    (call, *_) = await eventually(lambda: emulator.calls_to(UPSTREAM_MODELS))
    await call.done.wait()


async def test_models_are_listed_in_the_shape_of_d5(gateway: Gateway) -> None:
    answer = await listed(gateway)
    assert answer["object"] == "list"
    assert answer["data"]
    for model in answer["data"]:
        assert isinstance(model["id"], str)
        assert model["object"] == "model"
        assert isinstance(model["created"], int)
        assert isinstance(model["owned_by"], str)


async def test_the_default_comes_first_and_ids_are_unique(gateway: Gateway) -> None:
    names = await ids(gateway)
    assert names == ["fitten-code", "Default", "DeepSeek V3", "DeepSeek R1", "agent/Default"]


@pytest.mark.parametrize(
    "name", ["fitten-code", "DeepSeek V3", "S2", "agent/Default", "deepseek v3"]
)
@pytest.mark.parametrize("safe", ["/", ""])
async def test_a_model_is_found_by_its_names(gateway: Gateway, name: str, safe: str) -> None:
    async with gateway.http.get(f"{gateway.url}/v1/models/{quote(name, safe=safe)}") as response:
        assert response.status == 200
        model = await response.json()
    assert model in (await listed(gateway))["data"]


@pytest.mark.parametrize("name", ["qwen-9", "a/b/c", "%F0%9F%91%8B", "x" * 5000, "%00", "..%2Fx"])
async def test_an_unknown_model_is_a_404(gateway: Gateway, name: str) -> None:
    async with gateway.http.get(f"{gateway.url}/v1/models/{name}") as response:
        error = (await response.json())["error"]
        assert response.status == 404
        assert response.headers["x-should-retry"] == "false"
    assert (error["type"], error["code"]) == ("invalid_request_error", "model_not_found")
    assert error["param"] == "model"
    assert len(error["message"]) < 400


async def test_every_listed_id_can_be_used(gateway: Gateway) -> None:
    for name in await ids(gateway):
        status, answer = await gateway.whole("[[say]]", model=name)
        assert (status, answer["model"]) == (200, name)


async def test_the_list_is_answered_from_memory(
    start_gateway: StartGateway, emulator: Emulator
) -> None:
    emulator.account("demo_user").scenarios.add("models_slow")
    emulator.change_slow(NEVER)
    gateway = await start_gateway()
    for _ in range(20):
        assert await ids(gateway)
    assert len(emulator.calls_to(UPSTREAM_MODELS)) <= 1


async def test_the_list_is_filled_from_the_upstream(
    start_gateway: StartGateway, emulator: Emulator
) -> None:
    emulator._state.models = {
        "chat": [{"selection_name": "S8", "display_name": "New One", "is_default": True}],
    }
    gateway = await start_gateway()
    await read_from_upstream(emulator)
    await eventually(lambda: True)
    assert await ids(gateway) == ["fitten-code", "New One"]
    assert (await gateway.whole("[[say]]", model="New One"))[0] == 200
    assert (await gateway.whole("[[say]]", model="DeepSeek V3"))[0] == 404


async def test_the_list_is_read_again_now_and_then(
    start_gateway: StartGateway, emulator: Emulator
) -> None:
    await start_gateway(fitten={"models_refresh": 0.05})
    await eventually(lambda: len(emulator.calls_to(UPSTREAM_MODELS)) >= 3)


@pytest.mark.parametrize("scenario", ["models_404", "models_html"])
async def test_there_is_a_fall_back_when_the_upstream_gives_no_list(
    start_gateway: StartGateway, emulator: Emulator, scenario: str
) -> None:
    emulator.account("demo_user").scenarios.add(scenario)
    gateway = await start_gateway()
    await read_from_upstream(emulator)
    assert await ids(gateway) == [
        "fitten-code",
        "Default",
        "DeepSeek V3",
        "DeepSeek R1",
        "agent/Default",
    ]


async def test_odd_items_are_left_out(start_gateway: StartGateway, emulator: Emulator) -> None:
    emulator.account("demo_user").scenarios.add("models_odd")
    gateway = await start_gateway()
    await read_from_upstream(emulator)
    names = await ids(gateway)
    assert names[0] == "fitten-code"
    assert "S9" in names
    assert "no selection name" not in names


async def test_equal_names_get_different_ids(
    start_gateway: StartGateway, emulator: Emulator
) -> None:
    emulator.account("demo_user").scenarios.add("models_duplicates")
    gateway = await start_gateway()
    await read_from_upstream(emulator)
    names = await ids(gateway)
    assert len(names) == len({name.casefold() for name in names})
    for name in names:
        assert (await gateway.whole("[[say]]", model=name))[0] == 200


@pytest.mark.parametrize("path", ["/v1/models", "/v1/models/fitten-code"])
async def test_models_are_shown_only_with_a_key(gateway: Gateway, path: str) -> None:
    async with gateway.http.get(gateway.url + path, headers={"Authorization": ""}) as response:
        assert response.status == 401


@pytest.mark.parametrize(
    ("name", "model", "logged"),
    [
        ("claude-sonnet-5", "fitten-code", "claude-sonnet-5"),
        ("deepseek-v3", "DeepSeek V3", "deepseek-v3"),
        ("DeepSeek V3", "DeepSeek V3", "DeepSeek V3"),
        ("gpt-a private text", "fitten-code", "..."),
        (None, "fitten-code", None),
    ],
)
async def test_the_answer_has_the_name_that_was_asked_for_and_the_log_has_both(
    gateway: Gateway, log_events: list[Any], name: str | None, model: str, logged: str | None
) -> None:
    status, answer = await gateway.whole("[[say]]", model=name)
    assert (status, answer["model"]) == (200, name or "fitten-code")
    (line,) = [event for event in log_events if event["event"] == "request"]
    assert (line["model"], line["requested_model"]) == (model, logged)


async def test_each_model_has_the_size_of_its_context_under_the_names_that_programs_read(
    gateway: Gateway,
) -> None:
    names = ("context_length", "context_window", "max_input_tokens", "max_model_len")
    for model in (await listed(gateway))["data"]:
        assert {model[name] for name in names} == {70_656}
    async with gateway.http.get(f"{gateway.url}/v1/models/deepseek-v3") as response:
        assert (await response.json())["context_length"] == 70_656

"""A body is served in the dialect that it is written in, whatever the route's own one is."""

from __future__ import annotations

import json
from typing import Any

import pytest

from emulator import Emulator
from tests.integration.peer import upstream_call
from tests.support import Gateway

CHAT, RESPONSES, MESSAGES = "/v1/chat/completions", "/v1/responses", "/v1/messages"
ROUTES = (CHAT, RESPONSES, MESSAGES)
VERSION = {"anthropic-version": "2023-06-01"}
TOOL = {"name": "clock", "input_schema": {"type": "object", "properties": {}}}
Body = dict[str, Any]


def said(text: str) -> Body:
    return {"messages": [{"role": "user", "content": f"[[say text={text}]]"}]}


def responses_body(text: str) -> Body:
    return {"input": f"[[say text={text}]]"}


# Bodies with a sign, the headers that belong to it, and the route whose form the answer has.
SIGNED: dict[str, tuple[Body, dict[str, str], str]] = {
    "input": (responses_body("Yes."), {}, RESPONSES),
    "input and the header of Messages": (responses_body("Yes."), VERSION, RESPONSES),
    "the header of Messages": (said("Yes."), VERSION, MESSAGES),
    "system beside the messages": (said("Yes.") | {"system": "Be short."}, {}, MESSAGES),
    "a tool with input_schema": (said("Yes.") | {"tools": [TOOL]}, {}, MESSAGES),
}


def form_of(answer: Body) -> str:
    """The route whose answers look like this one."""
    if answer.get("object") == "chat.completion":
        assert answer["choices"][0]["message"]["content"] == "Yes."
        return CHAT
    if answer.get("object") == "response":
        assert answer["output"][0]["content"][0]["text"] == "Yes."
        return RESPONSES
    assert answer["type"] == "message"
    assert answer["content"][0]["text"] == "Yes."
    return MESSAGES


@pytest.mark.parametrize("route", ROUTES)
@pytest.mark.parametrize("sign", SIGNED)
async def test_the_signs_of_a_body_decide_on_every_route(
    gateway: Gateway, route: str, sign: str
) -> None:
    body, headers, form = SIGNED[sign]
    async with gateway.http.post(gateway.url + route, json=body, headers=headers) as response:
        assert response.status == 200, await response.text()
        assert form_of(await response.json()) == form


@pytest.mark.parametrize("route", [CHAT, MESSAGES])
async def test_without_a_sign_the_route_decides(gateway: Gateway, route: str) -> None:
    async with gateway.http.post(gateway.url + route, json=said("Yes.")) as response:
        assert form_of(await response.json()) == route


FIRST_FRAMES = {
    RESPONSES: b"event: response.created\n",
    MESSAGES: b"event: message_start\n",
}
LAST_FRAMES = {RESPONSES: b"response.completed", MESSAGES: b'"type":"message_stop"'}


@pytest.mark.parametrize("route", ROUTES)
@pytest.mark.parametrize("sign", SIGNED)
async def test_a_stream_has_the_form_of_the_body(gateway: Gateway, route: str, sign: str) -> None:
    body, headers, form = SIGNED[sign]
    body = body | {"stream": True}
    async with gateway.http.post(gateway.url + route, json=body, headers=headers) as response:
        assert response.status == 200, await response.text()
        frames = (await response.read()).strip().split(b"\n\n")
    assert frames[0].startswith(FIRST_FRAMES[form])
    assert LAST_FRAMES[form] in frames[-1]


def error_form(answer: Body) -> str:
    return MESSAGES if answer.get("type") == "error" else CHAT


@pytest.mark.parametrize("route", ROUTES)
@pytest.mark.parametrize("sign", SIGNED)
@pytest.mark.parametrize(
    "more",
    [{"model": "unknown-9"}, {"max_tokens": "x", "max_output_tokens": "x"}],
    ids=["unknown model", "wrong type"],
)
async def test_an_error_has_the_form_of_the_body(
    gateway: Gateway, route: str, sign: str, more: Body
) -> None:
    body, headers, form = SIGNED[sign]
    async with gateway.http.post(
        gateway.url + route, json=body | more, headers=headers
    ) as response:
        assert response.status in (400, 404)
        assert error_form(await response.json()) == (MESSAGES if form == MESSAGES else CHAT)
        assert ("request-id" in response.headers) == (form == MESSAGES)
        assert ("openai-version" in response.headers) == (form != MESSAGES)


async def test_an_error_in_mid_stream_has_the_form_of_the_body(gateway: Gateway) -> None:
    body: Body = {"input": "[[error_middle]]", "stream": True}
    async with gateway.http.post(gateway.url + CHAT, json=body) as response:
        assert b"event: response.failed" in await response.read()
    messages = [{"role": "user", "content": "[[error_middle]]"}]
    body = {"messages": messages, "system": "Be short.", "stream": True}
    async with gateway.http.post(gateway.url + CHAT, json=body) as response:
        assert b"event: error\n" in await response.read()


async def test_what_the_body_says_reaches_the_model(gateway: Gateway, emulator: Emulator) -> None:
    body = {"instructions": "Speak like Ada.", "input": [{"role": "user", "content": "Hello!"}]}
    async with gateway.http.post(gateway.url + CHAT, json=body) as response:
        assert response.status == 200
    assert "Speak like Ada." in (await upstream_call(emulator)).body["inputs"]


async def test_a_body_after_a_repair_has_its_signs_too(gateway: Gateway) -> None:
    body = json.dumps({"input": "\ud83d [[say text=Yes.]]"}).encode()
    headers = {"Content-Type": "application/json"}
    async with gateway.http.post(gateway.url + CHAT, data=body, headers=headers) as response:
        assert response.headers["x-fitten-replaced-characters"] == "1"
        assert form_of(await response.json()) == RESPONSES


@pytest.mark.parametrize(
    ("route", "body", "param", "hint"),
    [
        (CHAT, {"prompt": "hi"}, "messages", "A body with 'prompt' is for /v1/completions."),
        (MESSAGES, {"prompt": "hi"}, "messages", "A body with 'prompt' is for /v1/completions."),
        (RESPONSES, said("x"), "input", "A body with 'messages' is for /v1/chat/completions."),
        ("/v1/completions", said("x"), "prompt", "'messages' is for /v1/chat/completions."),
        ("/v1/completions", {"input": "x"}, "prompt", "'input' is for /v1/responses."),
    ],
)
async def test_the_400_of_the_routes_own_dialect_names_the_right_route(
    gateway: Gateway, route: str, body: Body, param: str, hint: str
) -> None:
    async with gateway.http.post(gateway.url + route, json=body) as response:
        assert response.status == 400
        message = (await response.json())["error"]["message"]
    assert message.startswith(f"Missing required parameter: '{param}'. ")
    assert message.endswith(hint)


async def test_a_body_with_input_and_messages_belongs_to_the_route(gateway: Gateway) -> None:
    both = said("Yes.") | responses_body("Yes.")
    for route in (CHAT, RESPONSES):
        async with gateway.http.post(gateway.url + route, json=both) as response:
            assert form_of(await response.json()) == route


@pytest.mark.parametrize("path", ["/v1/models", "/models/", "/v1/v1/models"])
async def test_codex_gets_its_catalog_by_the_parameter_client_version(
    gateway: Gateway, path: str
) -> None:
    async with gateway.http.get(f"{gateway.url}/v1/models") as response:
        usual = (await response.json())["data"]
    async with gateway.http.get(f"{gateway.url}{path}?client_version=0.171.0") as response:
        catalog = await response.json()
    assert catalog.keys() == {"models"}
    assert [entry["slug"] for entry in catalog["models"]] == [model["id"] for model in usual]
    first = catalog["models"][0]
    assert (first["slug"], first["priority"], first["visibility"]) == ("fitten-code", 0, "list")
    assert first["context_window"] == usual[0]["context_length"]
    assert first["base_instructions"].startswith("You are Codex")

"""Every error of the table, as each dialect renders it, and as a running gateway answers it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import pytest

from gateway.errors import ContextLengthExceeded
from gateway.generation.model import Model
from gateway.generation.outcome import Outcome
from gateway.generation.request import Generation, GenerationRequest
from gateway.http.error_response import render_error
from tests.conftest import StartGateway
from tests.faults.causes import ROWS, ErrorRow, row_of
from tests.faults.dialects import DIALECTS, AskedDialect
from tests.support import KEY, Gateway

MODEL = Model("fitten-code", "Fitten Code", None, "chat")
REQUEST_ID = "req_1"


@pytest.mark.parametrize("dialect", DIALECTS, ids=lambda dialect: dialect.name)
@pytest.mark.parametrize("row", ROWS, ids=lambda row: f"{row.code}-{row.retry}")
def test_an_error_is_rendered_as_documented(row: ErrorRow, dialect: AskedDialect) -> None:
    if dialect.name not in row.shown:
        return
    rendered = render_error(row.error, dialect.dialect, REQUEST_ID)
    headers = {**rendered.headers, "request-id": REQUEST_ID}
    assert rendered.status == dialect.shown(row)[0]
    assert dialect.read_error(rendered.body, headers) == dialect.words(row)
    # The sentence of a full context is the dialect's own; see integration/apis/test_context.py.
    said = "" if isinstance(row.error, ContextLengthExceeded) else row.error.message
    assert said in rendered.body.decode()
    dialect.check_retry(headers, row)
    if not row.failed:
        return
    generation = Generation(GenerationRequest(messages=(), stream=True), MODEL, Outcome())
    encoder = dialect.endpoint.encoder(generation)
    raw = encoder.begin() + encoder.pieces([("content", "a")]) + encoder.error(row.error)
    assert dialect.read_failure(raw) == dialect.failure_words(row)
    assert said in raw.decode()


Asked = tuple[str, Mapping[str, str], bytes]
"""Method, headers and body of a request."""


def mistaken(dialect: AskedDialect, **more: Any) -> dict[str, Asked]:
    """Return a request for each error that a client can cause by itself, by the error's code."""
    right = {"model": "fitten-code", **dialect.given("[[say]]"), **more}
    texts = next(name for name in ("messages", "input") if name in right)
    as_json = {"Content-Type": "application/json", "Authorization": f"Bearer {KEY}"}

    def body(**members: Any) -> Asked:
        return "POST", as_json, json.dumps(right | members).encode()

    requests = {
        "invalid_api_key": ("POST", {**as_json, "Authorization": "Bearer wrong"}, b"{}"),
        "invalid_json": ("POST", as_json, b"{"),
        "missing_required_parameter": ("POST", as_json, b'{"model": "fitten-code"}'),
        "invalid_type": body(**{texts: 5}),
        "unsupported_value": body(tool_choice={"type": "nothing like it"}),
        "model_not_found": body(model="nothing-like-it"),
        "context_length_exceeded": body(**dialect.given("x" * 400_000)),
        "request_too_large": body(**dialect.given("x" * 1_000_000)),
        "unsupported_media_type": ("POST", {**as_json, "Content-Type": "text/plain"}, b"{}"),
        "method_not_allowed": ("PUT", as_json, b"{}"),
    }
    return requests | {code: body(**members) for code, members in dialect.mistakes.items()}


@pytest.fixture
async def limited(start_gateway: StartGateway) -> Gateway:
    """A gateway that takes bodies of less than a megabyte, and two chats."""
    keys = {"api_key": {"keys": [{"name": "tester", "key": KEY}]}}
    limit = {"rate_limit": {"requests_per_minute": 2}}
    return await start_gateway(
        server={"max_body_bytes": 900_000}, middlewares=["request_id", keys, limit]
    )


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "streamed"])
@pytest.mark.parametrize("dialect", DIALECTS, ids=lambda dialect: dialect.name)
async def test_a_mistake_of_a_client_is_answered_as_documented(
    limited: Gateway, dialect: AskedDialect, stream: bool
) -> None:
    async def check(code: str, asked: Asked) -> None:
        method, headers, data = asked
        url = limited.url + dialect.path
        async with limited.http.request(method, url, headers=headers, data=data) as response:
            raw = await response.read()
            row = row_of(code, retryable=code == "rate_limit_exceeded")
            assert response.status == dialect.shown(row)[0], raw
            assert dialect.read_error(raw, response.headers) == dialect.words(row)
            dialect.check_retry(response.headers, row)

    requests = mistaken(dialect, stream=stream)
    for code, asked in requests.items():
        await check(code, asked)
    # What cannot be parsed is not admitted, so it uses nothing up.
    _, headers, _ = requests["invalid_json"]
    body = {"model": "fitten-code", **dialect.given("[[say]]"), "stream": stream}
    url = limited.url + dialect.path
    async with limited.http.post(url, headers=headers, json=body) as response:
        assert response.status == 200, await response.read()
        await response.read()
    await check("rate_limit_exceeded", requests["invalid_json"])

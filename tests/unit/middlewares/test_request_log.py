"""One log line for each request, at its end, without prompts, keys or headers."""

from __future__ import annotations

import asyncio
from typing import Any

import aiohttp
import pytest
import structlog
from aiohttp import web

from gateway import (
    GENERATION,
    KEY_NAME,
    OUTCOME,
    GatewayError,
    InvalidRequest,
    Principal,
    RateLimited,
    set_principal,
)
from gateway.errors import Unavailable, UpstreamError, UpstreamTimeout, overloaded
from gateway.fitten.model_catalog import ModelCatalog
from gateway.generation.model import Model
from gateway.generation.outcome import AnswerResult, Usage
from gateway.generation.request import Generation, GenerationRequest, Message
from gateway.http.in_flight import draining_error
from gateway.middleware import Handler
from gateway.options import Secret
from middlewares.api_key import Key, api_key
from middlewares.request_log import request_log
from tests.unit.middlewares.support import App, ok, running
from tests.waiting import LONGEST_WAIT, NEVER

MODEL = Model("fitten-code", "Fitten Code", None, "chat")


async def logged(
    handler: Handler = ok,
    *,
    path: str = "/here",
    method: str = "POST",
    level: str = "info",
    headers: dict[str, str] | None = None,
) -> dict[str, Any]:
    """The one line that a request left, at this level."""
    with structlog.testing.capture_logs() as lines:
        async with running(request_log(), handler=handler) as app:
            await app.call({"User-Agent": "curl/8"} | (headers or {}), path=path, method=method)
    (line,) = (line for line in lines if line["event"] == "request")
    assert line["log_level"] == level
    return dict(line)


def generating(error: GatewayError | None = None, *, answered: bool = True) -> Handler:
    """Return a handler of a generation. error: shown in a stream that had begun."""

    async def handler(request: web.Request) -> web.StreamResponse:
        asked = GenerationRequest((Message("user", "my prompt"),), stream=True)
        outcome = request[OUTCOME]
        request[GENERATION] = Generation(asked, MODEL, outcome)
        outcome.try_account("one")
        if answered:
            outcome.receive_first_piece()
            outcome.receive_result(AnswerResult(Usage(9, 2, estimated=True), ("stop",)))
        outcome.send(123)
        if error is not None:
            outcome.fail(error, status=200)
        return web.Response(text="ok")

    return handler


async def test_a_plain_request_leaves_one_line() -> None:
    line = await logged()
    assert line.pop("duration_ms") >= 0
    assert line == {
        "event": "request",
        "log_level": "info",
        "method": "POST",
        "route": "/here",
        "key": None,
        "address": "127.0.0.1",
        "user_agent": "curl/8",
        "status": 200,
        "end": "complete",
        "cause": None,
        "bytes": 2,
    }


async def test_the_line_of_a_generation_has_model_tokens_times_and_bytes() -> None:
    line = await logged(generating())
    assert line.pop("duration_ms") >= line.pop("first_piece_ms") >= 0
    assert line == {
        "event": "request",
        "log_level": "info",
        "method": "POST",
        "route": "/here",
        "key": None,
        "address": "127.0.0.1",
        "user_agent": "curl/8",
        "status": 200,
        "end": "complete",
        "cause": None,
        "model": "fitten-code",
        "requested_model": None,
        "account": "one",
        "queued_ms": 0.0,
        "stream": True,
        "finish_reason": "stop",
        "repaired": None,
        "prompt_tokens": 9,
        "completion_tokens": 2,
        "tokens_estimated": True,
        "bytes": 123,
    }


async def test_the_line_has_the_name_of_the_principal_and_not_its_id() -> None:
    async def handler(request: web.Request) -> web.StreamResponse:
        set_principal(request, Principal(id="a1", name="alice"))
        return web.Response()

    assert (await logged(handler))["key"] == "alice"


async def test_the_line_has_a_name_that_was_set_alone() -> None:
    async def handler(request: web.Request) -> web.StreamResponse:
        set_principal(request, Principal(id="a1", name="alice"))
        request[KEY_NAME] = "carol"
        return web.Response()

    assert (await logged(handler))["key"] == "carol"


async def test_a_generation_without_a_result_has_no_numbers() -> None:
    line = await logged(generating(answered=False))
    assert line["prompt_tokens"] is line["completion_tokens"] is line["first_piece_ms"] is None


async def test_a_stream_that_failed_in_the_middle_is_logged_by_its_end() -> None:
    line = await logged(
        generating(UpstreamError("broke off", code="upstream_truncated")), level="warning"
    )
    assert (line["status"], line["end"], line["cause"]) == (200, *["upstream_truncated"] * 2)


@pytest.mark.parametrize(
    ("error", "status", "end", "cause", "level"),
    [
        (RateLimited("no"), 429, "rate_limit_exceeded", "rate_limit_exceeded", "info"),
        (InvalidRequest("no", code="invalid_json"), 400, "invalid_json", "invalid_json", "info"),
        (InvalidRequest("no"), 400, "error", "invalid_request", "info"),
        (InvalidRequest("no", code="our_own"), 400, "our_own", "invalid_request", "info"),
        (RateLimited("no", code="our_own"), 429, "our_own", "rate_limit_exceeded", "info"),
        (ValueError("no"), 500, "internal_error", "internal_error", "error"),
        (UpstreamError("no"), 502, "upstream_error", "upstream_error", "warning"),
        (UpstreamTimeout("no"), 504, "upstream_timeout", "upstream_timeout", "warning"),
        (Unavailable("no"), 503, "no_account_available", "no_account_available", "warning"),
        (overloaded(), 503, "server_is_overloaded", "server_is_overloaded", "warning"),
        (draining_error(), 503, "draining", "draining", "info"),
        (
            RateLimited("no", code="upstream_rate_limited"),
            *(429, "upstream_rate_limited", "upstream_rate_limited", "warning"),
        ),
    ],
)
async def test_an_error_is_logged_with_status_code_cause_and_level(
    error: Exception, status: int, end: str, cause: str, level: str
) -> None:
    async def handler(_: web.Request) -> web.StreamResponse:
        raise error

    line = await logged(handler, level=level)
    assert (line["status"], line["end"], line["cause"]) == (status, end, cause)


async def test_the_line_of_a_failure_has_the_message_the_field_and_what_failed_below() -> None:
    error = UpstreamError("Fitten cannot be reached.", param="messages[0]")
    error.upstream_status, error.detail = 503, "Connection refused"

    async def handler(_: web.Request) -> web.StreamResponse:
        raise error

    line = await logged(handler, level="warning")
    assert {name: line[name] for name in ("message", "param", "upstream_status", "detail")} == {
        "message": "Fitten cannot be reached.",
        "param": "messages[0]",
        "upstream_status": 503,
        "detail": "Connection refused",
    }


async def test_the_line_of_a_model_that_does_not_exist_names_it() -> None:
    async def handler(_: web.Request) -> web.StreamResponse:
        return web.Response(text=ModelCatalog().resolve("gpt-9").id)

    line = await logged(handler)
    assert (line["end"], line["param"]) == ("model_not_found", "model")
    assert "'gpt-9'" in line["message"]


@pytest.mark.parametrize(
    ("path", "method", "status", "cause"),
    [
        ("/my-secret-path", "POST", 404, "not_found"),
        ("/here", "DELETE", 405, "method_not_allowed"),
    ],
)
async def test_what_has_no_route_is_logged_without_its_path(
    path: str, method: str, status: int, cause: str
) -> None:
    line = await logged(path=path, method=method)
    assert (line["status"], line["cause"]) == (status, cause)
    assert "my-secret-path" not in repr(line)


async def test_a_client_that_leaves_is_a_499() -> None:
    begun, left = asyncio.Event(), asyncio.Event()

    async def outermost(request: web.Request, inner: Handler) -> web.StreamResponse:
        try:
            return await inner(request)
        finally:
            left.set()

    async def handler(_: web.Request) -> web.StreamResponse:
        begun.set()
        await asyncio.sleep(NEVER)
        return web.Response()

    async def leave(app: App) -> None:
        async with aiohttp.ClientSession() as http:
            call = asyncio.create_task(http.post(f"{app.url}/here"))
            await begun.wait()
            call.cancel()
            await asyncio.gather(call, return_exceptions=True)

    with structlog.testing.capture_logs() as lines:
        async with running(outermost, request_log(), handler=handler) as app:
            await leave(app)
            async with asyncio.timeout(LONGEST_WAIT):
                await left.wait()
    (line,) = lines
    assert (line["status"], line["end"]) == (499, "client_closed_request")


async def test_the_line_is_written_when_the_stream_is_over() -> None:
    order = []

    async def handler(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse()
        await response.prepare(request)
        for _ in range(3):
            await response.write(b"data")
            await asyncio.sleep(0.01)
        order.append("end of stream")
        return response

    line = await logged(handler)
    assert order == ["end of stream"]
    assert line["duration_ms"] >= 29


async def test_neither_prompt_nor_key_nor_header_is_in_the_line() -> None:
    chain = api_key(keys=[Key("alice", Secret("team-key-1234"))])
    with structlog.testing.capture_logs() as lines:
        async with running(request_log(), chain, handler=generating()) as app:
            await app.call(
                {"Authorization": "Bearer team-key-1234", "x-hidden": "hidden", "User-Agent": "me"}
            )
            await app.call({"Authorization": "Bearer wrong-key-5678"})
    first, second = lines
    assert first["key"] == "alice"
    assert (second["key"], second["status"]) == (None, 401)
    for word in ("my prompt", "team-key", "wrong-key", "5678", "hidden", "Bearer"):
        assert word not in repr(lines)

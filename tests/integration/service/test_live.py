"""An admin sees open requests and ends one of them; the client learns why."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest

from emulator import Emulator
from gateway.admission.live import LiveRequest, LiveRequests
from gateway.app import SHARED_STATE, UPSTREAM
from tests.conftest import StartGateway
from tests.integration.peer import UPSTREAM_CHAT
from tests.support import Gateway
from tests.waiting import LONGEST_WAIT, eventually

STREAMS: dict[str, dict[str, Any]] = {
    "/v1/chat/completions": {"messages": [{"role": "user", "content": "[[endless]]"}]},
    "/v1/messages": {"messages": [{"role": "user", "content": "[[endless]]"}], "max_tokens": 9000},
    "/v1/responses": {"input": "[[endless]]"},
    "/api/chat": {"messages": [{"role": "user", "content": "[[endless]]"}]},
}


def live_of(gateway: Gateway) -> LiveRequests:
    return gateway.entrypoint.app[SHARED_STATE].live


async def one(gateway: Gateway, *, answering: bool = True) -> LiveRequest:
    """Return the only open request, once it answers."""

    def found() -> LiveRequest | None:
        requests = live_of(gateway).snapshot()
        assert len(requests) < 2
        return next((r for r in requests if r.answering is answering), None)

    request: LiveRequest = await eventually(found)
    return request


async def nothing_is_left(gateway: Gateway) -> None:
    """Wait until no slot is held and no request is open."""
    upstream = gateway.entrypoint.app[UPSTREAM]
    pool: Any = upstream._pool
    await eventually(lambda: not pool.summary().streams and not gateway.entrypoint.in_flight.active)
    live = live_of(gateway)
    assert not live.requests
    assert not live.ended


async def test_an_open_stream_is_listed_with_whose_it_is(
    start_gateway: StartGateway, log_events: list[Any]
) -> None:
    gateway = await start_gateway()
    async with gateway.post_chat("[[endless]]", stream=True) as response:
        await response.content.readany()
        request = await one(gateway)
        assert (request.key, request.team, request.route) == ("tester", "", "chat")
        assert request.stream
        assert request.account == "demo_user"
        assert request.model == "fitten-code"
        assert request.request_id == response.headers["x-request-id"]
        later = await eventually(
            lambda: next((r for r in live_of(gateway).snapshot() if r.bytes > request.bytes), None)
        )
        assert later.id == request.id
        assert live_of(gateway).end(request.id, "local:root")
        assert b"ended_by_admin" in await response.read()
    await nothing_is_left(gateway)
    (line,) = (event for event in log_events if event["event"] == "request_ended_by_admin")
    assert (line["by"], line["row"], line["key"]) == ("local:root", request.id, "tester")


@pytest.mark.parametrize("path", STREAMS)
async def test_a_stream_that_is_ended_says_so_and_frees_its_slot(
    start_gateway: StartGateway, emulator: Emulator, path: str
) -> None:
    gateway = await start_gateway()
    url, body = f"{gateway.url}{path}", {**STREAMS[path], "stream": True}
    async with gateway.http.post(url, json=body) as response:
        assert response.status == 200
        request = await one(gateway)
        assert live_of(gateway).end(request.id, "boss")
        raw = await asyncio.wait_for(response.read(), LONGEST_WAIT)
    assert b"An administrator of this gateway ended this request." in raw
    assert b"[DONE]" not in raw
    assert b"message_stop" not in raw
    await nothing_is_left(gateway)
    async with gateway.post_chat("[[say]]") as response:
        assert response.status == 200, "the connection and the account serve on"


@pytest.mark.parametrize("stream", [False, True])
async def test_a_request_that_waits_is_ended_with_an_error_that_is_not_repeated(
    start_gateway: StartGateway, stream: bool
) -> None:
    """Nothing was sent so far, so the answer has a status, which SDKs do not retry."""
    gateway = await start_gateway(stream={"grace": 3600.0})
    asked = asyncio.create_task(_whole(gateway, stream=stream))
    request = await one(gateway, answering=False)
    assert not request.bytes
    assert live_of(gateway).end(request.id, "boss")
    assert live_of(gateway).end(request.id, "boss"), "twice changes nothing"
    status, headers, body = await asked
    assert status == 503
    assert headers["x-should-retry"] == "false"
    assert "Retry-After" not in headers
    assert body["error"]["code"] == "ended_by_admin"
    await nothing_is_left(gateway)


async def _whole(gateway: Gateway, *, stream: bool) -> tuple[int, Any, Any]:
    async with gateway.post_chat("[[slow first=3600]]", stream=stream) as response:
        return response.status, response.headers, json.loads(await response.read())


async def test_a_request_that_has_ended_cannot_be_ended(
    start_gateway: StartGateway, emulator: Emulator
) -> None:
    gateway = await start_gateway()
    live = live_of(gateway)
    async with gateway.post_chat("[[endless]]", stream=True) as response:
        await response.content.readany()
        request = await one(gateway)
    await nothing_is_left(gateway)
    assert not live.end(request.id, "boss")
    assert not live.end("", "boss")
    assert len(emulator.calls_to(UPSTREAM_CHAT)) == 1

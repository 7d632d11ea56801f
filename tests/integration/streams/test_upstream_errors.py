"""Failures of the upstream before the first piece: an error status with the gateway's text."""

from __future__ import annotations

import socket
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest

from emulator import Emulator
from tests.conftest import StartGateway
from tests.integration.peer import UPSTREAM_CHAT
from tests.support import Gateway, running_gateway
from tests.waiting import NEVER

# Words of the emulator's errors, pages, tokens and ids; none may reach a client.
UPSTREAM_WORDS = ("made up", "nginx", "<html", "detail", "eyj", "u_demo_user", "overloaded", "127.")

BROKEN = "upstream_error"
INVALID = "upstream_invalid_response"
SLOW = "upstream_timeout"


async def failed(gateway: Gateway, text: str, *, stream: bool) -> tuple[Any, Any]:
    """The answer and its error, checked for what every error has."""
    async with gateway.post_chat(text, stream=stream) as response:
        raw = (await response.text()).lower() + str(response.headers).lower()
        error = (await response.json())["error"]
        assert set(error) == {"message", "type", "param", "code"}
        assert response.content_type == "application/json"
        assert response.headers["x-request-id"]
        assert not [word for word in UPSTREAM_WORDS if word in raw]
        assert error["param"] is None
        return response, error


@pytest.mark.parametrize(
    ("marker", "status", "code", "retry"),
    [
        ("status code=400", 502, BROKEN, "false"),
        ("status code=403", 502, BROKEN, "false"),
        ("status code=404", 502, BROKEN, "false"),
        ("status code=413", 502, BROKEN, "false"),
        ("status code=422", 502, BROKEN, "false"),
        ("status code=500", 502, BROKEN, "true"),
        ("status code=502", 502, BROKEN, "true"),
        ("status code=503", 502, BROKEN, "true"),
        ("status code=504", 504, SLOW, "true"),
        ("status code=500 body=json", 502, BROKEN, "true"),
        ("status code=502 body=empty", 502, BROKEN, "true"),
        ("status code=400 body=html", 502, BROKEN, "false"),
        ("redirect code=301", 502, BROKEN, "false"),
        ("redirect code=302", 502, BROKEN, "false"),
        ("redirect code=307", 502, BROKEN, "false"),
        ("html_200", 502, INVALID, "true"),
        ("bare_first", 502, INVALID, "true"),
        ("empty", 502, INVALID, "true"),
        ("heartbeats_only", 502, INVALID, "true"),
        ("error_200", 502, BROKEN, "true"),
        ("detail_200", 502, BROKEN, "true"),
        ("reset_before_headers", 502, BROKEN, "true"),
    ],
)
async def test_an_upstream_failure_before_the_first_piece_is_an_error_status(
    gateway: Gateway, marker: str, status: int, code: str, retry: str
) -> None:
    for stream in (True, False):
        response, error = await failed(gateway, f"[[{marker}]]", stream=stream)
        assert (response.status, error["type"], error["code"]) == (status, "server_error", code)
        assert response.headers["x-should-retry"] == retry


async def test_a_session_that_is_always_refused_is_reported(gateway: Gateway) -> None:
    for stream in (True, False):  # the second may meet the pause after the first
        response, error = await failed(gateway, "[[status code=401]]", stream=stream)
        assert response.status in (502, 503)
        assert error["type"] == "server_error"
        assert response.headers["x-should-retry"] == "false"


@pytest.mark.parametrize("stream", [True, False], ids=["stream", "whole"])
async def test_an_upstream_rate_limit_is_passed_on_with_its_wait(
    gateway: Gateway, stream: bool
) -> None:
    text = "[[status code=429 retry_after=7]]"
    response, error = await failed(gateway, text, stream=stream)
    assert response.status == 429
    assert (error["type"], error["code"]) == ("requests", "upstream_rate_limited")
    assert response.headers["Retry-After"] == "7"
    assert response.headers["retry-after-ms"] == "7000"
    assert response.headers["x-should-retry"] == "true"


@pytest.mark.parametrize("wait", ["3600", "61", "99999999999"])
async def test_a_wait_beyond_a_minute_is_not_left_to_the_sdks(gateway: Gateway, wait: str) -> None:
    response, _ = await failed(gateway, f"[[status code=429 retry_after={wait}]]", stream=False)
    assert response.status == 429
    assert response.headers["x-should-retry"] == "false"
    assert "Retry-After" not in response.headers


@pytest.mark.parametrize("wait", ["", "soon", "-1", "Wed,%2021%20Oct%202065%2007:28:00%20GMT"])
async def test_a_rate_limit_without_a_usable_wait_names_none(gateway: Gateway, wait: str) -> None:
    response, _ = await failed(gateway, f"[[status code=429 retry_after={wait}]]", stream=True)
    assert response.status == 429
    assert "Retry-After" not in response.headers


async def test_a_lost_connection_is_tried_once_more(gateway: Gateway, emulator: Emulator) -> None:
    assert (await gateway.whole("[[reset_before_headers times=1]]"))[0] == 200
    assert len(emulator.calls_to(UPSTREAM_CHAT)) == 2


async def test_a_lost_connection_is_not_tried_for_ever(
    gateway: Gateway, emulator: Emulator
) -> None:
    await failed(gateway, "[[reset_before_headers]]", stream=True)
    assert len(emulator.calls_to(UPSTREAM_CHAT)) <= 2


@pytest.mark.parametrize("marker", ["status code=500", "status code=503", "html_200", "empty"])
async def test_a_failed_chat_is_not_repeated(
    gateway: Gateway, emulator: Emulator, marker: str
) -> None:
    await failed(gateway, f"[[{marker}]]", stream=False)
    assert len(emulator.calls_to(UPSTREAM_CHAT)) == 1


async def test_a_redirect_is_not_followed(gateway: Gateway, emulator: Emulator) -> None:
    target = quote(f"{emulator.url}/elsewhere", safe="")
    await failed(gateway, f"[[redirect to={target}]]", stream=False)
    assert not emulator.calls_to("/elsewhere")


@pytest.mark.parametrize("stream", [True, False], ids=["stream", "whole"])
async def test_an_unreachable_upstream_is_reported(tmp_path: Path, stream: bool) -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{unused.getsockname()[1]}"
        # Without a grace the error has a status, however long a slow machine takes.
        stream_settings, pool = {"grace": NEVER}, {"queue_wait": 0.2}
        async with running_gateway(
            url, tmp_path, stream=stream_settings, fitten={"pool": pool}
        ) as gateway:
            for _ in range(2):  # the second meets the pause after the first
                response, error = await failed(gateway, "Hi", stream=stream)
                assert response.status in (502, 503)
                assert error["type"] == "server_error"
                assert response.headers["x-should-retry"] == "true"


async def test_an_upstream_that_breaks_after_the_login_is_reported(
    start_gateway: StartGateway, emulator: Emulator
) -> None:
    gateway = await start_gateway()
    assert (await gateway.whole("[[say]]"))[0] == 200
    await emulator.stop()
    response, error = await failed(gateway, "Hi", stream=True)
    assert (response.status, error["code"]) == (502, BROKEN)


async def test_a_failure_concerns_one_request_only(gateway: Gateway) -> None:
    for marker in ("status code=500", "html_200", "empty", "reset_before_headers"):
        await failed(gateway, f"[[{marker}]]", stream=True)
        assert (await gateway.whole("[[say]]"))[0] == 200

"""The log says why a request failed, also where it has warnings only."""

from __future__ import annotations

import json
from typing import Any

import pytest

from gateway.config.settings import LogSettings
from tests.conftest import StartGateway
from tests.integration.conftest import WrittenLog
from tests.support import USUAL_MIDDLEWARES


@pytest.mark.parametrize("stream", [False, True])
async def test_a_502_leaves_a_warning_with_its_cause(
    start_gateway: StartGateway, written_log: WrittenLog, stream: bool
) -> None:
    read = written_log(LogSettings(level="warning", format="json"))
    gateway = await start_gateway(middlewares=USUAL_MIDDLEWARES)
    async with gateway.post_chat("[[say]]", stream=stream) as response:
        assert response.status == 200
    async with gateway.post_chat("[[status code=500]]", stream=stream) as response:
        assert response.status == 502
        name = response.headers["x-request-id"]
    lines = [json.loads(line) for line in read().splitlines()]
    (line,) = (line for line in lines if line["event"] == "request")
    expected = {
        "level": "warning",
        "request_id": name,
        "status": 502,
        "end": "upstream_error",
        "cause": "upstream_error",
        "upstream_status": 500,
        "message": "Fitten reports an error of its own; please try again.",
        "address": "127.0.0.1",
    }
    assert {field: line.get(field) for field in expected} == expected


async def test_a_connection_that_breaks_says_what_broke(
    start_gateway: StartGateway, log_events: list[Any]
) -> None:
    gateway = await start_gateway(middlewares=USUAL_MIDDLEWARES)
    async with gateway.post_chat("[[reset]]") as response:
        assert response.status == 502
    (line,) = [event for event in log_events if event["event"] == "request"]
    assert (line["log_level"], line["cause"]) == ("warning", "upstream_truncated")
    assert line["detail"] in ("Connection reset by peer", "incomplete body")


async def test_a_request_that_no_account_could_serve_says_why_the_login_failed(
    start_gateway: StartGateway, log_events: list[Any]
) -> None:
    gateway = await start_gateway(
        middlewares=USUAL_MIDDLEWARES,
        fitten={"base_url": "http://127.0.0.1:9", "models_url": "http://127.0.0.1:9"},
    )
    async with gateway.post_chat("[[say]]") as response:
        assert response.status in (502, 503)
        assert "refused" not in await response.text()
    (line,) = [event for event in log_events if event["event"] == "request"]
    assert (line["log_level"], line["detail"]) == ("warning", "Connection refused")


async def test_a_model_that_does_not_exist_is_named(
    start_gateway: StartGateway, log_events: list[Any]
) -> None:
    gateway = await start_gateway(middlewares=USUAL_MIDDLEWARES)
    async with gateway.post_chat("[[say]]", model="qwen-9") as response:
        assert response.status == 404
    (line,) = [event for event in log_events if event["event"] == "request"]
    assert (line["log_level"], line["end"], line["param"]) == ("info", "model_not_found", "model")
    assert "'qwen-9'" in line["message"]

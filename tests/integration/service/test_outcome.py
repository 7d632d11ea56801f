"""What a middleware reads of a request's outcome, for every way in which a request can end."""

from __future__ import annotations

import importlib
import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from gateway.generation.outcome import Outcome
from tests.conftest import StartGateway
from tests.integration.peer import eventually
from tests.support import KEY, Gateway

PLUGIN = '''
from gateway import OUTCOME

SEEN = []


def watch():
    """Note the outcome as it is when the rest of the chain has returned or raised."""

    async def middleware(request, handler):
        try:
            return await handler(request)
        finally:
            outcome = request[OUTCOME]
            SEEN.append((outcome.ended, outcome.status, outcome.cause, outcome))

    return middleware
'''


@pytest.fixture
def seen(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[list[Any]]:
    (tmp_path / "outcome_watcher.py").write_text(PLUGIN)
    monkeypatch.syspath_prepend(str(tmp_path))
    yield importlib.import_module("outcome_watcher").SEEN
    del sys.modules["outcome_watcher"]


@pytest.fixture
async def gateway(start_gateway: StartGateway, seen: list[Any]) -> Gateway:
    return await start_gateway(
        middlewares=[
            "outcome_watcher:watch",
            {"cors": {"allow_origins": ["https://chat.example.org"]}},
            {"api_key": {"keys": [{"name": "tester", "key": KEY}]}},
        ],
    )


PREFLIGHT = {
    "Origin": "https://chat.example.org",
    "Access-Control-Request-Method": "POST",
}


@pytest.mark.parametrize(
    ("method", "path", "body", "headers", "expected"),
    [
        ("GET", "/v1/models", None, {}, ("complete", 200, None)),
        ("GET", "/v1/models/none", None, {}, ("failed", 404, "model_not_found")),
        ("GET", "/v1/nothing", None, {}, ("failed", 404, "not_found")),
        ("DELETE", "/v1/models", None, {}, ("failed", 405, "method_not_allowed")),
        ("POST", "/v1/chat/completions", "{", {}, ("failed", 400, "invalid_json")),
        ("POST", "/v1/chat/completions", "{}", {}, ("failed", 400, "missing_required_parameter")),
        (
            "POST",
            "/v1/chat/completions",
            "{}",
            {"Authorization": "Bearer wrong"},
            ("failed", 401, "invalid_api_key"),
        ),
        ("OPTIONS", "/v1/models", None, PREFLIGHT, ("complete", 204, None)),
    ],
)
async def test_a_request_without_a_generation_has_an_outcome(
    gateway: Gateway,
    seen: list[Any],
    method: str,
    path: str,
    body: str | None,
    headers: dict[str, str],
    expected: tuple[str, int, str | None],
) -> None:
    sent = {"Content-Type": "application/json"} if body else {}
    async with gateway.http.request(
        method, gateway.url + path, data=body, headers=sent | headers
    ) as response:
        await response.read()
        assert response.status == expected[1]
    ((*found, outcome),) = seen
    assert tuple(found) == expected
    assert (outcome.message is None) == (expected[0] == "complete")


async def chat(gateway: Gateway, text: str, *, stream: bool = False, **fields: Any) -> bytes:
    async with gateway.post_chat(text, stream=stream, **fields) as response:
        body: bytes = await response.read()
        return body


async def test_a_whole_answer_and_a_stream_have_all_figures(
    gateway: Gateway, seen: list[Any]
) -> None:
    for stream in (False, True):
        body = await chat(gateway, "[[say text=one piece=1]]", stream=stream)
        await eventually(lambda: bool(seen))
        ended, status, cause, outcome = seen.pop()
        assert (ended, status, cause) == ("complete", 200, None)
        assert outcome.bytes_sent == len(body)
        assert (outcome.tries, outcome.upstream_status, outcome.param) == (1, 200, None)
        assert outcome.prompt_tokens > 0
        assert outcome.usage.completion_tokens > 0
        assert outcome.finish_reasons == ("stop",)
        assert outcome.started <= outcome.first_piece <= outcome.finished


async def test_the_stop_string_that_matched_is_recorded(gateway: Gateway, seen: list[Any]) -> None:
    await chat(gateway, "[[say text=one-two-three]]", stop=["three", "-two"])
    outcome = seen.pop()[-1]
    assert (outcome.stop_sequence, outcome.finish_reasons) == ("-two", ("stop",))


@pytest.mark.parametrize("stream", [False, True])
async def test_a_refusal_of_the_upstream_has_its_status_and_the_tries(
    gateway: Gateway, seen: list[Any], stream: bool
) -> None:
    await chat(gateway, "[[status code=500]]", stream=stream)
    ended, status, cause, outcome = seen.pop()
    assert (ended, status, cause) == ("failed", 502, "upstream_error")
    assert (outcome.upstream_status, outcome.tries, outcome.first_piece) == (500, 1, None)
    assert outcome.prompt_tokens > 0, "the estimate exists before the first piece"
    assert outcome.usage is None


async def test_an_error_within_a_stream_is_a_failure_with_status_200(
    gateway: Gateway, seen: list[Any]
) -> None:
    body = await chat(gateway, "[[truncate after=3]]", stream=True)
    await eventually(lambda: bool(seen))
    ended, status, cause, outcome = seen.pop()
    assert json.loads(body.split(b"data: ")[-1])["error"]["code"] == cause
    assert (ended, status) == ("failed", 200)
    assert outcome.usage.estimated
    assert outcome.finish_reasons == ()
    assert outcome.bytes_sent == len(body)


async def test_a_client_that_leaves_is_recorded_with_what_it_got(
    gateway: Gateway, seen: list[Any]
) -> None:
    async with gateway.post_chat("[[endless]]", stream=True) as response:
        await response.content.readuntil(b"w0 ")
        response.close()
    await eventually(lambda: bool(seen))
    ended, status, cause, outcome = seen.pop()
    assert (ended, status, cause) == ("client_left", 499, "client_closed_request")
    assert outcome.bytes_sent > 0
    assert outcome.usage.completion_tokens > 0
    assert isinstance(outcome, Outcome)

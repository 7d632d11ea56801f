"""The URLs under which clients look for the routes (wire rules, end of section C)."""

from __future__ import annotations

import pytest

from tests.front_door.peer import chat_body
from tests.support import Gateway

HEADERS = {"Content-Type": "application/json"}
PREFIXES = pytest.mark.parametrize("prefix", ["/v1", "", "/v1/v1"])
SUFFIXES = pytest.mark.parametrize("suffix", ["", "/", "?api-version=2024-10-21&beta=true"])


@PREFIXES
@SUFFIXES
async def test_a_chat_is_answered_under_every_spelling_of_the_base_url(
    gateway: Gateway, prefix: str, suffix: str
) -> None:
    url = f"{gateway.url}{prefix}/chat/completions{suffix}"
    async with gateway.http.post(url, data=chat_body("[[say]]"), headers=HEADERS) as response:
        assert response.status == 200


@PREFIXES
@SUFFIXES
async def test_models_are_listed_under_every_spelling_of_the_base_url(
    gateway: Gateway, prefix: str, suffix: str
) -> None:
    async with gateway.http.get(f"{gateway.url}{prefix}/models{suffix}") as response:
        assert response.status == 200


@pytest.mark.parametrize("path", ["/v1/models", "/v1/models/fitten-code", "/health", "/ready"])
async def test_what_can_be_got_has_a_head(gateway: Gateway, path: str) -> None:
    async with gateway.http.head(gateway.url + path) as response:
        assert response.status in (200, 503)
        assert await response.read() == b""


@pytest.mark.parametrize("path", ["/v1/chat/completions", "/v1/models"])
async def test_options_are_told_without_an_origin(gateway: Gateway, path: str) -> None:
    async with gateway.http.options(gateway.url + path) as response:
        assert response.status in (200, 204, 405)
        assert response.headers["Allow"]

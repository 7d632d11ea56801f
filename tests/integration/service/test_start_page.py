"""`/` says what this is, to everybody."""

from __future__ import annotations

from typing import Any

import pytest

from tests.integration.conftest import Connect
from tests.support import Gateway

BROWSER = "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8"


@pytest.mark.parametrize("path", ["/", "//", "/?utm=1"])
@pytest.mark.parametrize(
    ("accept", "kind"), [(BROWSER, "text/html"), ("*/*", "text/plain"), ("", "text/plain")]
)
async def test_the_start_page_says_what_this_is_without_a_key(
    gateway: Gateway, path: str, accept: str, kind: str
) -> None:
    headers = {"Accept": accept, "Authorization": ""}
    async with gateway.http.get(gateway.url + path, headers=headers) as response:
        text = await response.text()
        assert (response.status, response.content_type) == (200, kind)
    assert "fitten-gateway" in text
    assert "OpenAI-compatible gateway" in text
    assert "/ready" in text
    assert ("<a href=" in text) == (kind == "text/html")


@pytest.mark.parametrize("accept", [BROWSER, "*/*"])
async def test_head_has_the_headers_and_no_body(
    connect: Connect, gateway: Gateway, accept: str
) -> None:
    peer = await connect(gateway.url)
    await peer.send(
        b"HEAD / HTTP/1.1\r\nHost: gateway\r\nConnection: close\r\nAccept: %b\r\n\r\n"
        % accept.encode()
    )
    head, _, body = (await peer.rest()).partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 200 ")
    assert body == b""


async def test_the_start_page_leaves_no_line_and_counts_for_no_limit(
    gateway: Gateway, log_events: list[Any]
) -> None:
    for method in ("GET", "HEAD"):
        async with gateway.http.request(method, f"{gateway.url}/") as response:
            assert "x-ratelimit-limit-requests" not in response.headers
    assert [event for event in log_events if event["event"] == "request"] == []


async def test_other_methods_are_refused_and_named(gateway: Gateway) -> None:
    async with gateway.http.post(f"{gateway.url}/") as response:
        assert response.status == 405
        assert response.headers["Allow"] == "GET, HEAD, OPTIONS"

"""Images at a URL: fetched only from safe addresses, in bounded time and size."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
from aiohttp import web

from gateway.config.settings import ImageSettings
from gateway.errors import InvalidRequest
from gateway.generation.request import Image, Message, RemoteImage
from gateway.images.fetch import AddressFilter, ImageFetcher, is_public
from tests.images import png
from tests.waiting import LONGEST_WAIT, NEVER

REFUSED = [
    "127.0.0.1",
    "127.1.2.3",
    "0.0.0.0",
    "10.0.0.1",
    "10.255.255.255",
    "172.16.0.1",
    "172.31.255.255",
    "192.168.1.1",
    "169.254.169.254",
    "100.64.0.1",
    "100.127.255.255",
    "192.0.0.1",
    "192.0.2.1",
    "198.18.0.1",
    "198.51.100.1",
    "203.0.113.1",
    "192.88.99.1",
    "224.0.0.1",
    "239.255.255.255",
    "240.0.0.1",
    "255.255.255.255",
    "::",
    "::1",
    "::127.0.0.1",
    "::ffff:127.0.0.1",
    "::ffff:10.0.0.1",
    "::ffff:169.254.169.254",
    "fe80::1",
    "fe80::1%eth0",
    "fc00::1",
    "fd00::1",
    "ff02::1",
    "ff0e::1",
    "64:ff9b::7f00:1",
    "64:ff9b::a00:1",
    "64:ff9b:1::a00:1",
    "2002:7f00:1::",
    "2002:a00:1::1",
    "2001:db8::1",
    "2001:0:4136:e378:8000:63bf:3fff:fdd2",
    "100::1",
    "fec0::1",
    "nonsense",
]


@pytest.mark.parametrize("address", REFUSED)
def test_an_internal_address_is_refused_in_every_spelling(address: str) -> None:
    assert not is_public(address)


@pytest.mark.parametrize(
    "address",
    ["1.1.1.1", "93.184.216.34", "2606:4700::1111", "::ffff:1.1.1.1", "64:ff9b::101:101"],
)
def test_a_public_address_is_allowed(address: str) -> None:
    assert is_public(address)


class Site:
    """A web server on loopback; counts the connections that reach it."""

    def __init__(self) -> None:
        self.requests: list[web.Request] = []
        self.port = 0

    async def _answer(self, request: web.Request) -> web.StreamResponse:
        self.requests.append(request)
        match request.path.strip("/").split("/"):
            case ["ok"]:
                return web.Response(body=png(), content_type="text/html")
            case ["page"]:
                return web.Response(text="<html>", content_type="image/png")
            case ["missing"]:
                return web.Response(status=404, body=png())
            case ["gzip"]:
                return web.Response(body=png(), headers={"Content-Encoding": "gzip"})
            case ["slow"]:
                await asyncio.sleep(NEVER)
            case ["hop", count]:
                left = int(count) - 1
                raise web.HTTPFound(f"/hop/{left}" if left else "/ok")
            case ["to", *where]:
                raise web.HTTPFound("/".join(where))
            case ["endless"]:
                response = web.StreamResponse()
                await response.prepare(request)
                for _ in range(10_000):
                    await response.write(bytes(10_000))
                return response
        return web.Response(status=404)

    @asynccontextmanager
    async def running(self) -> AsyncIterator[str]:
        app = web.Application()
        app.router.add_route("*", "/{path:.*}", self._answer)
        runner = web.AppRunner(
            app, access_log=None, shutdown_timeout=0.05, handler_cancellation=True
        )
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        self.port = runner.addresses[0][1]
        try:
            yield f"http://127.0.0.1:{self.port}"
        finally:
            await runner.cleanup()


@pytest.fixture
async def site() -> AsyncIterator[Site]:
    site = Site()
    async with site.running():
        yield site


def anywhere(_: str) -> bool:
    return True


SETTINGS = {"remote": True, "remote_http": True, "timeout": LONGEST_WAIT, "max_bytes": 100_000}


async def fetch(url: str, allowed: AddressFilter = anywhere, **settings: Any) -> Image:
    images = ImageFetcher(ImageSettings(**(SETTINGS | settings)), allowed=allowed)
    async with images.open():
        (message,) = await images.fetched(
            [Message("user", "look", images=(RemoteImage(url, "messages[0].content[0]"),))]
        )
    (image,) = message.images
    assert isinstance(image, Image)
    return image


async def test_an_image_is_fetched_and_recognised_by_its_bytes(site: Site) -> None:
    image = await fetch(f"http://127.0.0.1:{site.port}/ok")
    assert image.mime == "image/png"
    sent = site.requests[0].headers
    assert "Authorization" not in sent
    assert "Cookie" not in sent


async def test_three_redirects_are_followed_and_a_fourth_is_not(site: Site) -> None:
    await fetch(f"http://127.0.0.1:{site.port}/hop/3")
    with pytest.raises(InvalidRequest, match="too often"):
        await fetch(f"http://127.0.0.1:{site.port}/hop/4")


@pytest.mark.parametrize("path", ["page", "missing", "gzip", "nothing"])
async def test_a_body_that_is_no_image_is_refused(site: Site, path: str) -> None:
    with pytest.raises(InvalidRequest) as caught:
        await fetch(f"http://127.0.0.1:{site.port}/{path}")
    assert caught.value.code == "invalid_image_url"
    assert caught.value.param == "messages[0].content[0]"


async def test_a_slow_fetch_ends_at_its_time_limit(site: Site) -> None:
    with pytest.raises(InvalidRequest, match="in time"):
        await fetch(f"http://127.0.0.1:{site.port}/slow", timeout=0.3)


async def test_an_endless_body_is_cut_at_the_limit(site: Site) -> None:
    with pytest.raises(InvalidRequest) as caught:
        await fetch(f"http://127.0.0.1:{site.port}/endless")
    assert caught.value.code == "image_too_large"


INSIDE = [
    "http://127.0.0.1:{port}/ok",
    "http://localhost:{port}/ok",
    "http://[::1]:{port}/ok",
    "http://[::ffff:127.0.0.1]:{port}/ok",
    "http://0.0.0.0:{port}/ok",
    "http://0:{port}/ok",
    "http://127.1:{port}/ok",
    "http://2130706433:{port}/ok",
    "http://0x7f000001:{port}/ok",
    "http://017700000001:{port}/ok",
    "http://①②⑦.0.0.1:{port}/ok",
    "http://127。0。0。1:{port}/ok",
    "http://localhost.:{port}/ok",
    "http://127.0.0.1.:{port}/ok",
    "http://[::]:{port}/ok",
]


@pytest.mark.parametrize("url", INSIDE)
async def test_no_spelling_of_loopback_is_connected_to(site: Site, url: str) -> None:
    with pytest.raises(InvalidRequest):
        await fetch(url.format(port=site.port), allowed=is_public)
    assert not site.requests


async def test_a_redirect_to_an_internal_address_is_not_followed(site: Site) -> None:
    """The first address is allowed, the one that it leads to is not."""
    seen: list[str] = []

    def once(address: str) -> bool:
        seen.append(address)
        return len(seen) == 1

    with pytest.raises(InvalidRequest):
        await fetch(f"http://127.0.0.1:{site.port}/to/http://127.0.0.1:{site.port}/ok", once)
    assert len(seen) == 2
    assert len(site.requests) == 1


@pytest.mark.parametrize(
    "url",
    [
        "http://user:word@127.0.0.1:1/ok",
        "https://",
        "http:///ok",
        "http://127.0.0.1:99999/",
        "http://exa mple/",
    ],
)
async def test_an_odd_address_is_refused(url: str) -> None:
    with pytest.raises(InvalidRequest):
        await fetch(url)


async def test_http_without_tls_is_refused_unless_it_is_allowed(site: Site) -> None:
    with pytest.raises(InvalidRequest, match="https"):
        await fetch(f"http://127.0.0.1:{site.port}/ok", remote_http=False)
    assert not site.requests


async def test_nothing_is_fetched_unless_the_operator_wants_it(site: Site) -> None:
    with pytest.raises(InvalidRequest, match="data URL"):
        await fetch(f"http://127.0.0.1:{site.port}/ok", remote=False)
    assert not site.requests

"""Every route has a dialect, and an error on its way is shown in it."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, MutableMapping, Sequence
from typing import Any

import aiohttp
import pytest
from aiohttp import web

from gateway.errors import GatewayError, InvalidRequest
from gateway.generation.model import Model
from gateway.http.chain import aiohttp_chain
from gateway.http.error_handler import ErrorHandler
from gateway.http.in_flight import InFlightRequests
from gateway.http.routing import DialectRoutes, Route


class NamedDialect:
    """A dialect whose every answer has its name."""

    def __init__(self, name: str) -> None:
        self._name = name

    def status(self, error: GatewayError) -> int:
        return error.status

    def retry_after(self, error: GatewayError) -> float | None:
        return error.retry_after

    def error_body(self, error: GatewayError, request_id: str | None = None) -> bytes:
        return f"{self._name}: {error.status}".encode()

    def add_headers(self, headers: MutableMapping[str, str], seconds: float) -> None:
        headers["x-dialect"] = self._name

    def owns(self, body: Mapping[str, Any], headers: Mapping[str, str]) -> bool:
        return True

    def models_body(self, models: Sequence[Model]) -> bytes:
        return self._name.encode()

    def model_body(self, model: Model) -> bytes:
        return self._name.encode()


async def refuse(_: web.Request) -> web.StreamResponse:
    raise InvalidRequest("Refused.")


async def crash(_: web.Request) -> web.StreamResponse:
    raise RuntimeError("a bug")


@pytest.fixture
async def url() -> AsyncIterator[str]:
    app = web.Application()
    routes = DialectRoutes(app, default=NamedDialect("usual"))
    handler = ErrorHandler(routes.dialect_of, InFlightRequests(), frozenset())
    app.middlewares.extend(aiohttp_chain(handler, []))
    app.on_response_prepare.append(handler.on_response_prepare)
    routes.add(NamedDialect("one"), [Route("POST", "/chat", refuse)])
    routes.add(
        NamedDialect("two"),
        [Route("POST", "/messages", crash), Route("GET", "/things/{id:.+}", refuse)],
    )
    runner = web.AppRunner(app)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    yield f"http://127.0.0.1:{runner.addresses[0][1]}"
    await runner.cleanup()


@pytest.mark.parametrize(
    ("method", "path", "dialect", "status"),
    [
        ("POST", "/v1/chat", "one", 400),
        ("POST", "/chat/", "one", 400),
        ("POST", "/v1/messages", "two", 500),
        ("GET", "/v1/things/a/b", "two", 400),
        ("DELETE", "/v1/messages", "two", 405),
        ("DELETE", "/v1/things/a", "two", 405),
        ("POST", "/nothing", "usual", 404),
    ],
)
async def test_an_error_is_shown_in_the_dialect_of_its_route(
    url: str, method: str, path: str, dialect: str, status: int
) -> None:
    async with (
        aiohttp.ClientSession() as http,
        http.request(method, url + path) as response,
    ):
        assert response.status == status
        assert await response.text() == f"{dialect}: {status}"
        assert response.headers["x-dialect"] == dialect

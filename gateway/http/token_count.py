"""Counts the tokens of a prompt for clients that ask before they send it."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from aiohttp import web

from gateway.apis.base import Endpoint
from gateway.generation.upstream import Upstream
from gateway.http.body_repair import parse_repaired
from gateway.http.request_body import RequestBodyReader


class CountHandler:
    """Answers with the tokens of a prompt; the upstream is not asked.

    endpoint: parses the body, as for a request that is to be answered.
    encode: returns the body of the answer, of the number.
    """

    def __init__(
        self,
        endpoint: Endpoint,
        upstream: Upstream,
        bodies: RequestBodyReader,
        encode: Callable[[int], bytes],
    ) -> None:
        self._endpoint = endpoint
        self._upstream = upstream
        self._bodies = bodies
        self._encode = encode

    async def answer(self, request: web.Request) -> web.StreamResponse:
        """Answer one request. Raises GatewayError."""
        parse = partial(parse_repaired, request, self._endpoint.parse)
        parsed = await self._bodies.parse(request, parse)
        body = self._encode(self._upstream.estimate_prompt(parsed))
        return web.Response(body=body, content_type="application/json")

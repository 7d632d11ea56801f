"""Allows pages of named origins to call the gateway from a browser (CORS)."""

from __future__ import annotations

from aiohttp import web

from gateway import RESPONSE_HEADERS, Handler

_EXPOSED = (
    "x-request-id, retry-after, retry-after-ms, x-should-retry, x-fitten-ignored-params, "
    "x-fitten-response-format, x-fitten-tool-arguments, x-fitten-replaced-characters, "
    "x-ratelimit-limit-requests, x-ratelimit-remaining-requests, x-ratelimit-reset-requests"
)


class cors:
    """Answers preflight requests, and adds CORS headers to answers and errors.

    allow_origins: such as `https://chat.example.org`; `*` allows all, `[]` none.
        `Access-Control-Allow-Credentials` is never sent: keys are in headers, not cookies.
    max_age: seconds for which a browser may keep the answer to a preflight request.
    """

    def __init__(self, *, allow_origins: list[str], max_age: int = 600) -> None:
        self._origins = frozenset(origin.rstrip("/") for origin in allow_origins)
        self._max_age = str(max_age)

    async def __call__(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        origin = request.headers.get("Origin")
        headers = request[RESPONSE_HEADERS]
        if self._origins:
            headers["Vary"] = "Origin"
        if not self._origins or origin is None:
            return await handler(request)
        if "*" not in self._origins and origin not in self._origins:
            return await handler(request)
        headers["Access-Control-Allow-Origin"] = "*" if "*" in self._origins else origin
        if request.method == "OPTIONS" and "Access-Control-Request-Method" in request.headers:
            headers["Access-Control-Allow-Methods"] = "GET, HEAD, POST, OPTIONS"
            headers["Access-Control-Allow-Headers"] = request.headers.get(
                "Access-Control-Request-Headers", "authorization, content-type"
            )
            headers["Access-Control-Max-Age"] = self._max_age
            return web.Response(status=204)
        headers["Access-Control-Expose-Headers"] = _EXPOSED
        return await handler(request)

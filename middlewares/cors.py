"""Allows pages of named origins to call the gateway from a browser (CORS)."""

from __future__ import annotations

import re
from typing import Annotated
from urllib.parse import urlsplit

from aiohttp import web

from gateway import RESPONSE_HEADERS, Between, Handler

_EXPOSED = (
    "x-request-id, retry-after, retry-after-ms, x-should-retry, x-fitten-ignored-params, "
    "x-fitten-response-format, x-fitten-tool-arguments, x-fitten-replaced-characters, "
    "x-ratelimit-limit-requests, x-ratelimit-remaining-requests, x-ratelimit-reset-requests, "
    "request-id, anthropic-ratelimit-requests-limit, anthropic-ratelimit-requests-remaining, "
    "anthropic-ratelimit-requests-reset"
)


_DEFAULT_PORTS = {"http": 80, "https": 443}
_SCHEME = re.compile(r"[a-z][a-z0-9+.-]*")
_HOST = re.compile(r"[a-z0-9._-]+|\[[0-9a-f:.]+\]")
_LIKE = "is not an origin that browsers send, such as https://chat.example.org"


class _Origin:
    """Requires an origin as browsers write it (RFC 6454, 6.2), or `*`, or `null`.

    Origins are compared as texts, so any other form would never match.
    """

    def fault(self, value: str) -> str | None:
        if value in ("*", "null"):
            return None
        if value != value.strip():
            return f"{_LIKE}: remove the blanks around it"
        if "*" in value:
            return f"{_LIKE}: only '*' alone allows several origins"
        scheme, separator, place = value.partition("://")
        if not separator:
            return f"{_LIKE}: begin it with https:// or http://"
        if not value.isascii():
            return f"{_LIKE}: write the domain in its ASCII form, which begins with xn--"
        if value != value.lower():
            return f"{_LIKE}: write it in small letters"
        if "/" in place.removesuffix("/") or "?" in place or "#" in place or "@" in place:
            return f"{_LIKE}: it has no path, query, name or password"
        try:
            port = urlsplit(value).port
        except ValueError:
            return f"{_LIKE}: the port is a number from 1 to 65535"
        if port is not None and port == _DEFAULT_PORTS.get(scheme):
            return f"{_LIKE}: remove :{port}, since browsers leave out the usual port"
        host = re.sub(r":[0-9]+$", "", place.removesuffix("/"))
        return None if _SCHEME.fullmatch(scheme) and _HOST.fullmatch(host) else _LIKE


class cors:
    """Answers preflight requests, and adds CORS headers to answers and errors.

    A preflight request that asks for access to a private network gets it too: browsers ask when
    a page of the internet calls a gateway on `localhost` or in the local network.

    allow_origins: such as `https://chat.example.org`; `*` allows all, `[]` none.
        `Access-Control-Allow-Credentials` is never sent: keys are in headers, not cookies.
    max_age: seconds for which a browser may keep the answer to a preflight request.
    """

    def __init__(
        self,
        *,
        allow_origins: list[Annotated[str, _Origin()]],
        max_age: Annotated[int, Between(0, 604_800, "seconds", 600)] = 600,
    ) -> None:
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
            if request.headers.get("Access-Control-Request-Private-Network") == "true":
                headers["Access-Control-Allow-Private-Network"] = "true"
            return web.Response(status=204)
        headers["Access-Control-Expose-Headers"] = _EXPOSED
        return await handler(request)

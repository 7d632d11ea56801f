"""Adds routes under every spelling of a URL that clients use, and knows the dialect of each."""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, Literal
from urllib.parse import unquote

from aiohttp import web

from gateway.aiohttp_internals import with_url
from gateway.apis.base import Dialect
from gateway.http.absent_routes import Family, absent_family
from gateway.middleware import PATH_KEY, Handler

# Clients append a path to their base URL. Some base URLs lack /v1, some clients add it again.
API_BASES = ("/v1", "", "/v1/v1")
PATH_KEYS = "/k"
"""Is the base of routes that take a key in the path, `/k/<key>/...`; see `without_path_key`."""

_SLASHES = re.compile("/{2,}")

BODY_DIALECT = web.RequestKey[Dialect]("body_dialect")
"""Is the dialect of a request's body, where it is not that of the route."""


@dataclass(frozen=True, slots=True)
class Route:
    """Describes a path below the base URL and its handler."""

    method: Literal["GET", "POST", "DELETE"]
    path: str
    handler: Handler


class DialectRoutes:
    """Adds the routes of all dialects to an application and tells the dialect of a request.

    default: the dialect of requests that reach no route.
    absent: the dialects that have no route here; their errors are rendered all the same.
    """

    def __init__(
        self,
        app: web.Application,
        default: Dialect,
        absent: Mapping[Family, Dialect] = MappingProxyType({}),
    ) -> None:
        self._app = app
        self._default = default
        self._absent = absent
        self._dialects: dict[web.AbstractResource, Dialect] = {}
        self._by_header: dict[web.AbstractResource, Mapping[str, Dialect]] = {}
        self._by_query: dict[web.AbstractResource, Mapping[str, Dialect]] = {}

    def add(
        self,
        dialect: Dialect,
        routes: Iterable[Route],
        *,
        bases: Iterable[str] = API_BASES,
        by_header: Mapping[str, Dialect] = MappingProxyType({}),
        by_query: Mapping[str, Dialect] = MappingProxyType({}),
    ) -> None:
        """Add the routes of a dialect under each base, with and without a slash at the end.

        by_header, by_query: the dialects of requests that have the header, or the parameter in
            the address, of that name.
        HEAD is answered as GET would be. Where there is only POST, HEAD is answered with an
        empty 200. OPTIONS is answered with the allowed methods.
        """
        methods: dict[str, dict[str, Handler]] = {}
        for route in routes:
            methods.setdefault(route.path, {})[route.method] = route.handler
        for base, (path, handlers) in itertools.product(bases, methods.items()):
            by_method = {"HEAD": handlers.get("GET", _empty), **handlers}
            by_method["OPTIONS"] = _options(", ".join(sorted((*by_method, "OPTIONS"))))
            for end in ("/", ""):  # the longer first: a placeholder would match the slash too
                resource = self._app.router.add_resource(f"{base}{path}{end}")
                self._dialects[resource] = dialect
                if by_header or by_query:
                    self._by_header[resource] = by_header
                    self._by_query[resource] = by_query
                for method, handler in by_method.items():
                    resource.add_route(method, handler)

    def dialect_of(self, request: web.Request) -> Dialect:
        """Return the dialect of a body, else of the route that was reached, or the default."""
        if BODY_DIALECT in request:
            return request[BODY_DIALECT]
        resource = request.match_info.route.resource
        if resource is not None:
            if resource in self._by_header:
                return self._dialect(resource, request)
            return self._dialects[resource]
        # The method is not allowed, or there is no such path: aiohttp names no resource then.
        for resource in self._dialects:
            if _matches(resource, request.path):
                return self._dialect(resource, request)
        family = absent_family(request.path)
        return self._default if family is None else self._absent.get(family, self._default)

    def _dialect(self, resource: web.AbstractResource, request: web.Request) -> Dialect:
        for name, dialect in self._by_header.get(resource, {}).items():
            if name in request.headers:
                return dialect
        for name, dialect in self._by_query.get(resource, {}).items():
            if name in request.query:
                return dialect
        return self._dialects[resource]


def fixed(body: bytes) -> Handler:
    """Return a handler that answers every request with the same JSON."""

    async def handler(_: web.Request) -> web.StreamResponse:
        return web.Response(body=body, content_type="application/json")

    return handler


def with_single_slashes(message: Any) -> Any:
    """Return the message of a request with one slash in place of several in its path.

    Clients append a path to a base URL that ends with a slash.
    """
    path = _SLASHES.sub("/", message.url.raw_path)
    return with_url(message, message.url.with_path(path, encoded=True, keep_query=True))


def without_path_key(message: Any) -> tuple[Any, str | None]:
    """Return the message of a request without the key in its path, and the key.

    `/k/<key>/api/tags` becomes `/k/api/tags`, so no route, log line or error sees the key.
    """
    parts = message.url.raw_path.split("/")[1:]
    found = None
    while len(parts) > 1 and unquote(parts[0]) == PATH_KEYS[1:] and parts[1]:
        found, parts = unquote(parts[1]), parts[2:]
    if found is None:
        return message, None
    path = "/".join((PATH_KEYS, *(parts or [""])))
    return with_url(message, message.url.with_path(path, encoded=True, keep_query=True)), found


def set_path_key(request: web.BaseRequest, key: str) -> None:
    """Set the key that stood in the path, for middlewares that check keys."""
    request[PATH_KEY] = key


def _matches(resource: web.AbstractResource, path: str) -> bool:
    info = resource.get_info()
    if pattern := info.get("pattern"):
        return pattern.fullmatch(path) is not None
    return info.get("path") == path


async def _empty(_: web.Request) -> web.StreamResponse:
    return web.Response(content_type="application/json")


def _options(allow: str) -> Handler:
    async def options(_: web.Request) -> web.StreamResponse:
        return web.Response(status=204, headers={"Allow": allow})

    return options

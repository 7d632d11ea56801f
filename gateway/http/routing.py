"""Adds routes under every spelling of a URL that clients use."""

from __future__ import annotations

import itertools
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

from aiohttp import web

from gateway.middleware import Handler

# Clients append a path to their base URL. Some base URLs lack /v1, some clients add it again.
API_BASES = ("/v1", "", "/v1/v1")


@dataclass(frozen=True, slots=True)
class Route:
    """Describes a path below the base URL and its handler."""

    method: Literal["GET", "POST"]
    path: str
    handler: Handler


def add_routes(
    app: web.Application,
    routes: Iterable[Route],
    *,
    bases: Iterable[str] = API_BASES,
) -> None:
    """Add the routes under each base, with and without a slash at the end.

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
            resource = app.router.add_resource(f"{base}{path}{end}")
            for method, handler in by_method.items():
                resource.add_route(method, handler)


async def _empty(_: web.Request) -> web.StreamResponse:
    return web.Response(content_type="application/json")


def _options(allow: str) -> Handler:
    async def options(_: web.Request) -> web.StreamResponse:
        return web.Response(status=204, headers={"Allow": allow})

    return options

"""Which handler answers where: every spelling of a URL that clients come up with."""

from __future__ import annotations

import itertools
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

from aiohttp import web

from gateway.middleware import Handler

# Clients append to the base URL they were given; some were given too little, some too much.
API_BASES = ("/v1", "", "/v1/v1")


@dataclass(frozen=True, slots=True)
class Route:
    """A path below the base URL, and who answers it; a placeholder takes slashes too."""

    method: Literal["GET", "POST"]
    path: str
    handler: Handler


def add_routes(
    app: web.Application,
    routes: Iterable[Route],
    *,
    bases: Iterable[str] = API_BASES,
) -> None:
    """Answer the routes under each base, with and without a slash at the end.

    HEAD is answered as GET would be; where there is only POST, it says no more than that
    the URL is right. OPTIONS tells the methods.
    """
    methods: dict[str, dict[str, Handler]] = {}
    for route in routes:
        methods.setdefault(route.path, {})[route.method] = route.handler
    for base, (path, handlers) in itertools.product(bases, methods.items()):
        every = {"HEAD": handlers.get("GET", _found), **handlers}
        every["OPTIONS"] = _options(", ".join(sorted((*every, "OPTIONS"))))
        for end in ("/", ""):  # the longer first: a placeholder would take the slash
            resource = app.router.add_resource(f"{base}{path}{end}")
            for method, handler in every.items():
                resource.add_route(method, handler)


async def _found(_: web.Request) -> web.StreamResponse:
    return web.Response(content_type="application/json")


def _options(allow: str) -> Handler:
    async def options(_: web.Request) -> web.StreamResponse:
        return web.Response(status=204, headers={"Allow": allow})

    return options

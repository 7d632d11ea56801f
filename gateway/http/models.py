"""Serves the routes of the models."""

from __future__ import annotations

from collections.abc import Callable

from aiohttp import web

from gateway.apis.base import Dialect
from gateway.generation.upstream import Upstream


class ModelRoutes:
    """Serves the list of models and single ones from memory.

    dialect_of: returns the dialect of a request.
    """

    def __init__(self, upstream: Upstream, dialect_of: Callable[[web.Request], Dialect]) -> None:
        self._upstream = upstream
        self._dialect_of = dialect_of

    async def list(self, request: web.Request) -> web.StreamResponse:
        """Answer with all models."""
        body = self._dialect_of(request).models_body(self._upstream.models())
        return web.Response(body=body, content_type="application/json")

    async def one(self, request: web.Request) -> web.StreamResponse:
        """Answer with the model that the URL names. Raises NotFound."""
        model = self._upstream.described(self._upstream.resolve(request.match_info["id"]))
        body = self._dialect_of(request).model_body(model)
        return web.Response(body=body, content_type="application/json")

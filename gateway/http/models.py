"""Serves the routes of the models."""

from __future__ import annotations

from aiohttp import web

from gateway.apis.base import Dialect
from gateway.generation.upstream import Upstream


class ModelRoutes:
    """Serves the list of models and single ones from memory, in one dialect."""

    def __init__(self, upstream: Upstream, dialect: Dialect) -> None:
        self._upstream = upstream
        self._dialect = dialect

    async def list(self, _: web.Request) -> web.StreamResponse:
        """Answer with all models."""
        body = self._dialect.models_body(self._upstream.models())
        return web.Response(body=body, content_type="application/json")

    async def one(self, request: web.Request) -> web.StreamResponse:
        """Answer with the model that the URL names. Raises NotFound."""
        model = self._upstream.described(self._upstream.resolve(request.match_info["id"]))
        body = self._dialect.model_body(model)
        return web.Response(body=body, content_type="application/json")

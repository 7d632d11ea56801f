"""Serves the routes of the models."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from aiohttp import web

from gateway.generation.model import Model
from gateway.generation.upstream import Upstream


class ModelRoutes:
    """Serves GET /v1/models and /v1/models/{id} from memory.

    list_body, model_body: render several models, or one, in a dialect.
    """

    def __init__(
        self,
        upstream: Upstream,
        list_body: Callable[[Sequence[Model]], bytes],
        model_body: Callable[[Model], bytes],
    ) -> None:
        self._upstream = upstream
        self._list_body = list_body
        self._model_body = model_body

    async def list(self, _: web.Request) -> web.StreamResponse:
        """Answer with all models."""
        body = self._list_body(self._upstream.models())
        return web.Response(body=body, content_type="application/json")

    async def one(self, request: web.Request) -> web.StreamResponse:
        """Answer with the model that the URL names. Raises NotFound."""
        body = self._model_body(self._upstream.resolve(request.match_info["id"]))
        return web.Response(body=body, content_type="application/json")

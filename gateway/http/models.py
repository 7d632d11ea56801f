"""The routes of the models."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from aiohttp import web

from gateway.generation.model import Model
from gateway.generation.upstream import Upstream


class ModelRoutes:
    """GET /v1/models and /v1/models/{id}, from memory.

    list_body, model_body: a dialect's body for several models, and for one.
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
        body = self._list_body(self._upstream.models())
        return web.Response(body=body, content_type="application/json")

    async def one(self, request: web.Request) -> web.StreamResponse:
        body = self._model_body(self._upstream.resolve(request.match_info["id"]))
        return web.Response(body=body, content_type="application/json")

"""Serves the routes of the models."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from aiohttp import web

from gateway.admission.permissions import allowed_models, check_model
from gateway.apis.base import Dialect
from gateway.generation.model import Model
from gateway.generation.upstream import Upstream
from gateway.http.request_body import RequestBodyReader
from gateway.middleware import Handler, principal_of


class ModelRoutes:
    """Serves the list of models and single ones from memory.

    dialect_of: returns the dialect of a request. bodies: reads those that name a model.
    """

    def __init__(
        self,
        upstream: Upstream,
        dialect_of: Callable[[web.Request], Dialect],
        bodies: RequestBodyReader,
    ) -> None:
        self._upstream = upstream
        self._dialect_of = dialect_of
        self._bodies = bodies

    async def list(self, request: web.Request) -> web.StreamResponse:
        """Answer with all models that the sender may use."""
        body = self._dialect_of(request).models_body(self._allowed(request))
        return web.Response(body=body, content_type="application/json")

    async def one(self, request: web.Request) -> web.StreamResponse:
        """Answer with the model that the URL names. Raises NotFound and ModelNotAllowed."""
        return self._described(request, request.match_info["id"])

    def named_in_body(self, name_of: Callable[[bytes], str]) -> Handler:
        """Return a handler that answers with the model that the body names.

        name_of: returns the name that a body has. The handler raises NotFound, ModelNotAllowed,
        and what `name_of` raises.
        """

        async def handler(request: web.Request) -> web.StreamResponse:
            return self._described(request, await self._bodies.parse(request, name_of))

        return handler

    def listed(self, encode: Callable[[Sequence[Model]], bytes]) -> Handler:
        """Return a handler that answers with all models that `list` has, in another form.

        encode: returns it.
        """

        async def handler(request: web.Request) -> web.StreamResponse:
            body = encode(self._allowed(request))
            return web.Response(body=body, content_type="application/json")

        return handler

    def _allowed(self, request: web.Request) -> Sequence[Model]:
        return allowed_models(principal_of(request), self._upstream.models())

    def _described(self, request: web.Request, name: str) -> web.StreamResponse:
        model = self._upstream.resolve(name)
        check_model(principal_of(request), model)
        model = self._upstream.described(model)
        body = self._dialect_of(request).model_body(model)
        return web.Response(body=body, content_type="application/json")

"""The composition root: who wraps whom, on one screen."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable

from aiohttp import web

from gateway.apis import openai
from gateway.apis.chat_completions import ChatCompletions
from gateway.apis.completions import Completions
from gateway.apis.dialect import Api
from gateway.apis.fim_completions import FimCompletions
from gateway.apis.infill import Infill
from gateway.bodies import Bodies
from gateway.boundary import Boundary
from gateway.config import Config
from gateway.fitten.client import FittenClient
from gateway.fitten.session import Session
from gateway.fitten.tokenfile import TokenFile
from gateway.fitten.upstream import FittenUpstream
from gateway.handler import GenerationHandler
from gateway.images import ImageLimits
from gateway.lifecycle import Lifecycle
from gateway.middleware import Handler, Middleware, as_step
from gateway.remote_images import RemoteImages
from gateway.routes import Route, add_routes

LIFECYCLE = web.AppKey("lifecycle", Lifecycle)


def build_app(
    config: Config, *, on_secret: Callable[[str], None] = lambda _: None
) -> web.Application:
    """The whole gateway as an application, not yet started.

    on_secret: told every secret that is learnt while running, so that logs can mask it.
    """
    settings = config.fitten
    account = settings.accounts[0]
    client = FittenClient(settings)
    file = TokenFile(config.state_file, f"{settings.base_url} {account.username}")
    session = Session(client, account, file, on_secret=on_secret)
    upstream = FittenUpstream(client, session, settings)

    images = RemoteImages(config.images)
    image_limits = ImageLimits(config.images.max_bytes, config.images.max_pixels)

    async def upstream_lifespan(_: web.Application) -> AsyncIterator[None]:
        async with client.open(), images.open():
            await session.start()
            ready = asyncio.create_task(upstream.keep_ready())
            yield
            ready.cancel()
            await asyncio.gather(ready, return_exceptions=True)
            await session.close()

    lifecycle = Lifecycle()
    probes = Probes(upstream, lifecycle)
    models = ModelRoutes(upstream)

    bodies = Bodies(config.server)

    def answering(api: Api) -> Handler:
        handler = GenerationHandler(api, upstream, images, lifecycle, bodies, config.stream)
        return handler.answer

    boundary = Boundary(openai.error_body, lifecycle, frozenset({probes.health, probes.ready}))
    steps = [step.build() for step in config.middlewares]
    chain: list[Middleware] = [boundary, *steps]

    app = web.Application(
        middlewares=[as_step(step) for step in chain],
        client_max_size=config.server.max_body_bytes,
    )
    app[LIFECYCLE] = lifecycle
    app.on_response_prepare.append(boundary.on_response_prepare)
    app.cleanup_ctx.append(upstream_lifespan)
    app.cleanup_ctx.extend(step.lifespan for step in steps if hasattr(step, "lifespan"))
    add_routes(
        app,
        [Route("GET", "/health", probes.health), Route("GET", "/ready", probes.ready)],
        bases=("",),
    )
    add_routes(
        app,
        [
            Route("GET", "/models", models.list),
            Route("GET", "/models/{id:.+}", models.one),
            Route("POST", "/chat/completions", answering(ChatCompletions(image_limits))),
            Route("POST", "/completions", answering(Completions())),
            Route("POST", "/fim/completions", answering(FimCompletions())),
            Route("POST", "/infill", answering(Infill())),
        ],
    )
    # DeepSeek's place for completions with a suffix.
    add_routes(
        app,
        [Route("POST", "/completions", answering(Completions()))],
        bases=("/beta", "/v1/beta"),
    )
    return app


class Probes:
    """What a supervisor asks; answered without a key."""

    def __init__(self, upstream: FittenUpstream, lifecycle: Lifecycle) -> None:
        self._upstream = upstream
        self._lifecycle = lifecycle

    async def health(self, _: web.Request) -> web.StreamResponse:
        """200 as long as the process answers."""
        return web.json_response({"status": "ok"})

    async def ready(self, _: web.Request) -> web.StreamResponse:
        """200 when a request could be served now, else 503 with the reason."""
        fault = "shutting down" if self._lifecycle.draining else self._upstream.fault
        if fault is None:
            return web.json_response({"status": "ready"})
        return web.json_response({"status": "not ready", "reason": fault}, status=503)


class ModelRoutes:
    """GET /v1/models and /v1/models/{id}, from memory."""

    def __init__(self, upstream: FittenUpstream) -> None:
        self._upstream = upstream

    async def list(self, _: web.Request) -> web.StreamResponse:
        body = openai.model_list_body(self._upstream.models())
        return web.Response(body=body, content_type="application/json")

    async def one(self, request: web.Request) -> web.StreamResponse:
        body = openai.model_body(self._upstream.resolve(request.match_info["id"]))
        return web.Response(body=body, content_type="application/json")

"""The composition root: who wraps whom, on one screen."""

from __future__ import annotations

from collections import Counter
from collections.abc import AsyncIterator, Callable

from aiohttp import web

from gateway.apis.base import Endpoint
from gateway.apis.llamacpp_infill import LlamaCppInfill
from gateway.apis.mistral_fim import MistralFim
from gateway.apis.openai import model_list
from gateway.apis.openai.chat_request import ChatCompletions
from gateway.apis.openai.completions import TextCompletions
from gateway.apis.openai.errors import error_body
from gateway.config.settings import Config, ConfigError
from gateway.errors import GatewayError
from gateway.fitten.account_registry import AccountRegistry, LocalAccountRegistry
from gateway.fitten.client import FittenClient
from gateway.fitten.upstream import FittenUpstream
from gateway.http.error_handler import ErrorHandler
from gateway.http.handler import GenerationHandler
from gateway.http.in_flight import InFlightRequests
from gateway.http.models import ModelRoutes
from gateway.http.probes import Probes
from gateway.http.request_body import RequestBodyReader
from gateway.http.routing import Route, add_routes
from gateway.images.fetch import ImageFetcher
from gateway.images.sniff import ImageLimits
from gateway.middleware import WINDOWS, Handler, Middleware, as_aiohttp_middleware
from gateway.shared_state import SharedState

CONFIG = web.AppKey("config", Config)
UPSTREAM = web.AppKey("upstream", FittenUpstream)
ACCOUNTS = web.AppKey[AccountRegistry]("accounts")
SHARED_STATE = web.AppKey[SharedState]("shared")
_MIDDLEWARES = web.AppKey("steps", dict[str, Middleware])


def build_app(
    config: Config,
    in_flight: InFlightRequests,
    shared: SharedState,
    *,
    on_secret: Callable[[str], None] = lambda _: None,
) -> web.Application:
    """The whole gateway as an application, not yet started.

    in_flight, shared: the process's own, which outlive the application when settings are
        reloaded.
    on_secret: told every secret that is learnt while running, so that logs can mask it.
    Raises ConfigError when a step cannot be built.
    """
    client = FittenClient(config.fitten)
    accounts = shared.accounts(config, client, on_secret)
    upstream = FittenUpstream(client, accounts, config.fitten)

    images = ImageFetcher(config.images)
    image_limits = ImageLimits(config.images.max_bytes, config.images.max_pixels)

    async def upstream_lifespan(_: web.Application) -> AsyncIterator[None]:
        async with client.open(), images.open(), accounts.maintained(upstream.offer):
            yield

    probes = Probes(upstream, in_flight)
    models = ModelRoutes(upstream, model_list.model_list_body, model_list.model_body)

    bodies = RequestBodyReader(config.server)

    def answering(endpoint: Endpoint) -> Handler:
        handler = GenerationHandler(endpoint, upstream, images, in_flight, bodies, config.stream)
        return handler.answer

    error_handler = ErrorHandler(error_body, in_flight, frozenset({probes.health, probes.ready}))
    labelled = build_middlewares(config)
    steps = list(labelled.values())
    chain: list[Middleware] = [error_handler, *steps]

    app = web.Application(
        middlewares=[as_aiohttp_middleware(step) for step in chain],
        client_max_size=config.server.max_body_bytes,
    )
    app[CONFIG] = config
    app[UPSTREAM] = upstream
    app[ACCOUNTS] = accounts
    app[SHARED_STATE] = shared
    app[WINDOWS] = shared.windows
    app[_MIDDLEWARES] = labelled
    app.on_response_prepare.append(error_handler.on_response_prepare)
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
            Route("POST", "/completions", answering(TextCompletions())),
            Route("POST", "/fim/completions", answering(MistralFim())),
            Route("POST", "/infill", answering(LlamaCppInfill())),
        ],
    )
    # DeepSeek's place for completions with a suffix.
    add_routes(
        app,
        [Route("POST", "/completions", answering(TextCompletions()))],
        bases=("/beta", "/v1/beta"),
    )
    return app


def render_error(error: GatewayError) -> bytes:
    """Render the body of an error for a caller whose request has no route."""
    return error_body(error)


def build_middlewares(config: Config) -> dict[str, Middleware]:
    """The chain by label: a step's name, with a number from the second of that name on.

    Raises ConfigError when a step cannot be built.
    """
    steps: dict[str, Middleware] = {}
    seen: Counter[str] = Counter()
    for index, step in enumerate(config.middlewares):
        seen[step.name] += 1
        label = step.name if seen[step.name] == 1 else f"{step.name} {seen[step.name]}"
        steps[label] = built = _built(config, index)
        if hasattr(built, "label"):
            built.label = label
    return steps


def _built(config: Config, index: int) -> Middleware:
    step = config.middlewares[index]
    try:
        return step.build()
    except Exception as error:  # it is somebody else's code
        said = f"cannot be built: {type(error).__name__}: {error}"
        raise ConfigError([f"middlewares[{index}].{step.name}: {config.masked(said)}"]) from error


def copy_tokens(former: web.Application, app: web.Application) -> None:
    """At a reload, before the start: know the tokens of accounts that stay."""
    accounts, known = app[ACCOUNTS], former[ACCOUNTS]
    if isinstance(accounts, LocalAccountRegistry) and isinstance(known, LocalAccountRegistry):
        accounts.learn(known)


def hand_over(former: web.Application, app: web.Application) -> None:
    """At a reload: the upstream, the accounts, and steps of the same name and make, learn what
    the former ones know."""
    app[UPSTREAM].take_over(former[UPSTREAM])
    accounts, known = app[ACCOUNTS], former[ACCOUNTS]
    if isinstance(accounts, LocalAccountRegistry) and isinstance(known, LocalAccountRegistry):
        accounts.take_over(known)
    for name, step in app[_MIDDLEWARES].items():
        previous = former[_MIDDLEWARES].get(name)
        if type(step) is type(previous) and hasattr(step, "inherit"):
            step.inherit(previous)

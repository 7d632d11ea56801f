"""The composition root: who wraps whom, on one screen."""

from __future__ import annotations

from collections import Counter
from collections.abc import AsyncIterator, Callable

from aiohttp import web

from gateway.apis.base import Api
from gateway.apis.llamacpp_infill import Infill
from gateway.apis.mistral_fim import FimCompletions
from gateway.apis.openai import model_list
from gateway.apis.openai.chat_request import ChatCompletions
from gateway.apis.openai.completions import Completions
from gateway.apis.openai.errors import error_body
from gateway.config.settings import Config, ConfigError
from gateway.errors import GatewayError
from gateway.fitten.account_registry import Accounts, Keeper
from gateway.fitten.client import FittenClient
from gateway.fitten.upstream import FittenUpstream
from gateway.http.error_handler import Boundary
from gateway.http.handler import GenerationHandler
from gateway.http.in_flight import Lifecycle
from gateway.http.models import ModelRoutes
from gateway.http.probes import Probes
from gateway.http.request_body import Bodies
from gateway.http.routing import Route, add_routes
from gateway.images.fetch import RemoteImages
from gateway.images.sniff import ImageLimits
from gateway.middleware import WINDOWS, Handler, Middleware, as_step
from gateway.shared_state import Shared

CONFIG = web.AppKey("config", Config)
UPSTREAM = web.AppKey("upstream", FittenUpstream)
ACCOUNTS = web.AppKey[Accounts]("accounts")
SHARED = web.AppKey[Shared]("shared")
_STEPS = web.AppKey("steps", dict[str, Middleware])


def build_app(
    config: Config,
    lifecycle: Lifecycle,
    shared: Shared,
    *,
    on_secret: Callable[[str], None] = lambda _: None,
) -> web.Application:
    """The whole gateway as an application, not yet started.

    lifecycle, shared: the process's own, which outlive the application when settings are
        reloaded.
    on_secret: told every secret that is learnt while running, so that logs can mask it.
    Raises ConfigError when a step cannot be built.
    """
    client = FittenClient(config.fitten)
    accounts = shared.accounts(config, client, on_secret)
    upstream = FittenUpstream(client, accounts, config.fitten)

    images = RemoteImages(config.images)
    image_limits = ImageLimits(config.images.max_bytes, config.images.max_pixels)

    async def upstream_lifespan(_: web.Application) -> AsyncIterator[None]:
        async with client.open(), images.open(), accounts.kept(upstream.offer):
            yield

    probes = Probes(upstream, lifecycle)
    models = ModelRoutes(upstream, model_list.model_list_body, model_list.model_body)

    bodies = Bodies(config.server)

    def answering(api: Api) -> Handler:
        handler = GenerationHandler(api, upstream, images, lifecycle, bodies, config.stream)
        return handler.answer

    boundary = Boundary(error_body, lifecycle, frozenset({probes.health, probes.ready}))
    labelled = build_steps(config)
    steps = list(labelled.values())
    chain: list[Middleware] = [boundary, *steps]

    app = web.Application(
        middlewares=[as_step(step) for step in chain],
        client_max_size=config.server.max_body_bytes,
    )
    app[CONFIG] = config
    app[UPSTREAM] = upstream
    app[ACCOUNTS] = accounts
    app[SHARED] = shared
    app[WINDOWS] = shared.windows
    app[_STEPS] = labelled
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


def render_error(error: GatewayError) -> bytes:
    """Render the body of an error for a caller whose request has no route."""
    return error_body(error)


def build_steps(config: Config) -> dict[str, Middleware]:
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


def learn(former: web.Application, app: web.Application) -> None:
    """At a reload, before the start: know the tokens of accounts that stay."""
    accounts, known = app[ACCOUNTS], former[ACCOUNTS]
    if isinstance(accounts, Keeper) and isinstance(known, Keeper):
        accounts.learn(known)


def hand_over(former: web.Application, app: web.Application) -> None:
    """At a reload: the upstream, the accounts, and steps of the same name and make, learn what
    the former ones know."""
    app[UPSTREAM].take_over(former[UPSTREAM])
    accounts, known = app[ACCOUNTS], former[ACCOUNTS]
    if isinstance(accounts, Keeper) and isinstance(known, Keeper):
        accounts.take_over(known)
    for name, step in app[_STEPS].items():
        previous = former[_STEPS].get(name)
        if type(step) is type(previous) and hasattr(step, "inherit"):
            step.inherit(previous)

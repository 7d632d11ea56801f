"""Builds the application: its middlewares, routes and upstream."""

from __future__ import annotations

from collections import Counter
from collections.abc import AsyncIterator, Callable

from aiohttp import web

from gateway.admission.admission import AdmissionControl, InferenceRoute
from gateway.admission.usage import UsageRoute
from gateway.apis.anthropic.dialect import AnthropicDialect
from gateway.apis.anthropic.messages_request import Messages
from gateway.apis.anthropic.messages_response import message_token_count
from gateway.apis.base import ConversationEndpoint, Endpoint
from gateway.apis.json_body import parse_object
from gateway.apis.llamacpp_infill import LlamaCppInfill
from gateway.apis.mistral_fim import MistralFim
from gateway.apis.ollama.chat import OllamaChat
from gateway.apis.ollama.dialect import (
    OllamaDialect,
    model_in_body,
    running_models,
    version_body,
)
from gateway.apis.ollama.generate import OllamaGenerate
from gateway.apis.openai.chat_request import ChatCompletions
from gateway.apis.openai.completions import TextCompletions
from gateway.apis.openai.dialect import OpenAIDialect
from gateway.apis.openai.responses.catalog import CodexCatalog
from gateway.apis.openai.responses.dialect import ResponsesDialect
from gateway.apis.openai.responses.request import Responses
from gateway.apis.openai.responses.response import response_token_count
from gateway.config.settings import Config, ConfigError
from gateway.errors import GatewayError
from gateway.fitten.account_registry import AccountRegistry, LocalAccountRegistry
from gateway.fitten.client import FittenClient
from gateway.fitten.upstream import FittenUpstream
from gateway.http.absent_routes import no_response, refusing
from gateway.http.chain import aiohttp_chain
from gateway.http.error_handler import ErrorHandler
from gateway.http.error_response import ErrorResponse, render_error
from gateway.http.handler import GenerationHandler, ReadBody, ReadBySigns, read_own
from gateway.http.in_flight import InFlightRequests
from gateway.http.models import ModelRoutes
from gateway.http.probes import Probes
from gateway.http.request_body import RequestBodyReader
from gateway.http.routing import API_BASES, PATH_KEYS, DialectRoutes, Route, fixed
from gateway.http.start_page import start_page
from gateway.http.token_count import CountHandler
from gateway.images.fetch import ImageFetcher
from gateway.images.sniff import ImageLimits
from gateway.middleware import (
    KEY_CHECKS,
    KEY_DIRECTORY,
    TRUSTED_PROXIES,
    WINDOWS,
    Handler,
    Middleware,
)
from gateway.redaction import Redactor
from gateway.shared_state import SharedState
from gateway.trusted_proxies import TrustedProxies

_CHAT = InferenceRoute("chat", "chat")
_CHAT_OR_FILL = InferenceRoute("chat", "chat", fills=True)
_COMPLETION = InferenceRoute("completion", "completion")
_FIM = InferenceRoute("completion", "fim")
_INFILL = InferenceRoute("completion", "infill")

OPENAI = OpenAIDialect()
RESPONSES = ResponsesDialect()
ANTHROPIC = AnthropicDialect()
CATALOG = CodexCatalog()
OLLAMA = OllamaDialect()

_OLLAMA_FILES = ("pull", "push", "create", "copy")

CONFIG = web.AppKey("config", Config)
UPSTREAM = web.AppKey("upstream", FittenUpstream)
ACCOUNTS = web.AppKey[AccountRegistry]("accounts")
SHARED_STATE = web.AppKey[SharedState]("shared")
_MIDDLEWARES = web.AppKey("middlewares", dict[str, Middleware])


def build_app(
    config: Config,
    in_flight: InFlightRequests,
    shared: SharedState,
    *,
    on_secret: Callable[[str], None] = lambda _: None,
) -> web.Application:
    """Build the whole gateway as an application, not yet started.

    in_flight, shared: belong to the process. They outlive the application at a reload.
    on_secret: called with every secret that is learnt while running, so that logs mask it.
    Raises ConfigError when a middleware cannot be built.
    """
    redactor = Redactor(config.secrets())

    def learn(secret: str) -> None:
        redactor.add(secret)
        on_secret(secret)

    client = FittenClient(config.fitten)
    accounts = shared.accounts(config, client, learn)
    upstream = FittenUpstream(
        client, accounts, config.fitten, config.tools, redactor, config.models
    )

    images = ImageFetcher(config.images)
    image_limits = ImageLimits(config.images.max_bytes, config.images.max_pixels)

    async def upstream_lifespan(_: web.Application) -> AsyncIterator[None]:
        maintained = accounts.maintained(upstream.offer)
        async with client.open(), images.open(), upstream.recording(), maintained:
            yield

    def degraded() -> list[str]:
        return ["ledger"] if shared.ledger.degraded else []

    probes = Probes(upstream, in_flight, degraded)
    bodies = RequestBodyReader(config.server)

    admission = AdmissionControl(
        config,
        shared.meter,
        shared.ledger,
        shared.expectation,
        upstream.estimate_prompt,
        shared.keys,
        shared.live,
    )

    def handler_of(read: ReadBody, route: InferenceRoute = _CHAT) -> Handler:
        handler = GenerationHandler(
            read, upstream, images, in_flight, bodies, config.stream, admission
        ).answer
        admission.routes[handler] = route
        return handler

    def counter_of(endpoint: Endpoint, encode: Callable[[int], bytes]) -> Handler:
        return CountHandler(endpoint, upstream, bodies, encode).answer

    by_label = build_middlewares(config)
    middlewares = list(by_label.values())
    app = web.Application(client_max_size=config.server.max_body_bytes)
    routes = DialectRoutes(app, default=OPENAI, absent={"anthropic": ANTHROPIC, "ollama": OLLAMA})
    without_chain = frozenset({probes.health, probes.ready, start_page})
    error_handler = ErrorHandler(routes.dialect_of, in_flight, without_chain, admission.record)
    app.middlewares.extend(aiohttp_chain(error_handler, middlewares, admission))
    app[CONFIG] = config
    app[UPSTREAM] = upstream
    app[ACCOUNTS] = accounts
    app[SHARED_STATE] = shared
    app[WINDOWS] = shared.windows
    app[KEY_DIRECTORY] = shared.keys
    app[TRUSTED_PROXIES] = TrustedProxies(config.server.trusted_proxies)
    app[KEY_CHECKS] = [m.is_key for m in middlewares if hasattr(m, "is_key")]
    app[_MIDDLEWARES] = by_label
    app.on_response_prepare.append(error_handler.on_response_prepare)
    app.cleanup_ctx.append(upstream_lifespan)
    app.cleanup_ctx.extend(m.lifespan for m in middlewares if hasattr(m, "lifespan"))
    models = ModelRoutes(upstream, routes.dialect_of, bodies)
    usage = UsageRoute(config, admission, shared.meter, shared.ledger.file)
    routes.add(OPENAI, [Route("GET", "/usage", usage.answer)])
    _add_routes(routes, probes, models, image_limits, handler_of, counter_of)
    _add_ollama_routes(routes, models, image_limits, handler_of)
    return app


def _add_routes(
    routes: DialectRoutes,
    probes: Probes,
    models: ModelRoutes,
    image_limits: ImageLimits,
    handler_of: Callable[..., Handler],
    counter_of: Callable[[Endpoint, Callable[[int], bytes]], Handler],
) -> None:
    """Add every route of the gateway."""
    chat, messages, responses = (
        ChatCompletions(image_limits),
        Messages(image_limits),
        Responses(image_limits),
    )
    signed = ((RESPONSES, responses), (ANTHROPIC, messages))

    def conversation(endpoint: ConversationEndpoint) -> Handler:
        return handler_of(ReadBySigns(endpoint, parse_object, signed))

    routes.add(
        OPENAI,
        [Route("GET", "/health", probes.health), Route("GET", "/ready", probes.ready)],
        bases=("",),
    )
    routes.add(OPENAI, [Route("GET", "", start_page)], bases=("",))
    routes.add(
        OPENAI,
        [
            Route("POST", "/chat/completions", conversation(chat)),
            Route("POST", "/completions", handler_of(read_own(TextCompletions()), _COMPLETION)),
            Route("POST", "/fim/completions", handler_of(read_own(MistralFim()), _FIM)),
            Route("POST", "/infill", handler_of(read_own(LlamaCppInfill()), _INFILL)),
        ],
    )
    routes.add(
        RESPONSES,
        [
            Route("POST", "/responses", conversation(responses)),
            Route(
                "POST",
                "/responses/input_tokens",
                counter_of(responses, response_token_count),
            ),
            Route("GET", "/responses/{id}", no_response),
            Route("DELETE", "/responses/{id}", no_response),
        ],
    )
    routes.add(
        ANTHROPIC,
        [
            Route("POST", "/messages", conversation(messages)),
            Route(
                "POST",
                "/messages/count_tokens",
                counter_of(messages, message_token_count),
            ),
        ],
    )
    # These dialects have the same URL for models. Only clients of Anthropic's send the header, and
    # only Codex the parameter.
    routes.add(
        OPENAI,
        [Route("GET", "/models", models.list), Route("GET", "/models/{id:.+}", models.one)],
        by_header={"anthropic-version": ANTHROPIC},
        by_query={"client_version": CATALOG},
    )
    # DeepSeek's URL for completions with a suffix.
    routes.add(
        OPENAI,
        [Route("POST", "/completions", handler_of(read_own(TextCompletions()), _COMPLETION))],
        bases=("/beta", "/v1/beta"),
    )


def _add_ollama_routes(
    routes: DialectRoutes,
    models: ModelRoutes,
    image_limits: ImageLimits,
    handler_of: Callable[..., Handler],
) -> None:
    """Add the routes of Ollama's dialect, those that cannot be served included."""
    no_files = refusing("This gateway keeps no models, so none can be added, copied or removed.")
    no_vectors = refusing("This gateway has no embeddings.")
    routes.add(
        OLLAMA,
        [
            Route("POST", "/api/chat", handler_of(read_own(OllamaChat(image_limits)))),
            Route(
                "POST",
                "/api/generate",
                handler_of(read_own(OllamaGenerate(image_limits)), _CHAT_OR_FILL),
            ),
            Route("GET", "/api/tags", models.list),
            Route("POST", "/api/show", models.named_in_body(model_in_body)),
            Route("GET", "/api/ps", models.listed(running_models)),
            Route("GET", "/api/version", fixed(version_body())),
            *[Route("POST", f"/api/{name}", no_files) for name in _OLLAMA_FILES],
            Route("DELETE", "/api/delete", no_files),
            Route("GET", "/api/blobs/{digest}", no_files),
            Route("POST", "/api/blobs/{digest}", no_files),
            Route("POST", "/api/embed", no_vectors),
            Route("POST", "/api/embeddings", no_vectors),
        ],
        bases=(*API_BASES, PATH_KEYS),
    )
    # Clients ask for the base URL to see whether something listens there.
    routes.add(OLLAMA, [Route("GET", "", start_page)], bases=(PATH_KEYS,))


def render_without_route(error: GatewayError) -> ErrorResponse:
    """Render an error for a request that reaches no route."""
    return render_error(error, OPENAI)


def build_middlewares(config: Config) -> dict[str, Middleware]:
    """Build the chain, each middleware under its label, in the order of the configuration.

    The label is the middleware's name; the second of that name is `name 2`, and so on.
    Raises ConfigError when a middleware cannot be built.
    """
    chain: dict[str, Middleware] = {}
    seen: Counter[str] = Counter()
    for index, entry in enumerate(config.middlewares):
        seen[entry.name] += 1
        label = entry.name if seen[entry.name] == 1 else f"{entry.name} {seen[entry.name]}"
        chain[label] = built = _build_middleware(config, index)
        if hasattr(built, "label"):
            built.label = label
    return chain


def _build_middleware(config: Config, index: int) -> Middleware:
    entry = config.middlewares[index]
    try:
        return entry.build()
    except Exception as error:  # a middleware's own code may raise anything
        redactor = Redactor(config.secrets())
        text = f"cannot be built: {type(error).__name__}: {error}"
        raise ConfigError([f"middlewares[{index}].{entry.name}: {redactor(text)}"]) from error


def copy_sessions(former: web.Application, app: web.Application) -> None:
    """Copy the tokens of accounts that stay, at a reload, before the new application starts."""
    accounts, previous = app[ACCOUNTS], former[ACCOUNTS]
    if isinstance(accounts, LocalAccountRegistry) and isinstance(previous, LocalAccountRegistry):
        accounts.copy_sessions(previous)


def hand_over(former: web.Application, app: web.Application) -> None:
    """Pass on what the former application knows, at a reload.

    The upstream and the accounts take it over. So does a middleware with a method `inherit`,
    when a former one had the same label and class.
    """
    app[SHARED_STATE].configure(app[CONFIG])
    app[UPSTREAM].take_over(former[UPSTREAM])
    accounts, previous = app[ACCOUNTS], former[ACCOUNTS]
    if isinstance(accounts, LocalAccountRegistry) and isinstance(previous, LocalAccountRegistry):
        accounts.take_over(previous)
    for label, middleware in app[_MIDDLEWARES].items():
        other = former[_MIDDLEWARES].get(label)
        if type(middleware) is type(other) and hasattr(middleware, "inherit"):
            middleware.inherit(other)

"""The middleware contract and its loader.

A middleware is a factory with keyword-only, annotated options that returns an ordinary
aiohttp middleware, `async (request, handler) -> StreamResponse`; a class with an async
`__call__` is such a factory. Building it does nothing else. What must start and stop is
an optional `lifespan(app)` on the built object, used as an aiohttp cleanup context.
"""

from __future__ import annotations

import importlib
import re
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from importlib.metadata import entry_points
from typing import Any, Protocol

from aiohttp import web
from multidict import CIMultiDict

from gateway.generation.outcome import Generation
from gateway.options import UNSET, Mistakes, masked_name, read_arguments
from gateway.store.rate_windows import RateWindows

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]
Middleware = Callable[[web.Request, Handler], Awaitable[web.StreamResponse]]

ENTRY_POINTS = "gateway.middlewares"
_FACTORY = re.compile(r"[\w./]{0,200}:\w{0,60}")

# What a middleware may read from a request, and leave there for others.
GENERATION = web.RequestKey("generation", Generation)
"""The request's generation; absent until the handler has understood the request."""
REQUEST_ID = web.RequestKey("request_id", str)
KEY_NAME = web.RequestKey("key_name", str)
"""The name of the API key in use; absent where no key was asked for."""
RESPONSE_HEADERS = web.RequestKey("response_headers", CIMultiDict[str])
"""Headers for whatever answer the request gets: whole, stream or error."""

WINDOWS = web.AppKey[RateWindows]("windows")
"""Counts of requests that are one for the whole gateway: they outlive a reload, and with
several workers all of them count together."""


class HasLifespan(Protocol):
    """A middleware that starts and stops something."""

    def lifespan(self, app: web.Application) -> AsyncIterator[None]: ...


@dataclass(frozen=True, slots=True)
class MiddlewareEntry:
    """One entry of the chain, checked but not built."""

    name: str
    factory: Callable[..., Middleware]
    options: dict[str, Any]

    def build(self) -> Middleware:
        return self.factory(**self.options)


def read_middlewares(data: Any, path: str, mistakes: Mistakes) -> tuple[MiddlewareEntry, ...]:
    """The steps that a list of names, or of names with options, stands for."""
    if data is UNSET:
        return ()
    if not isinstance(data, list):
        mistakes[path] = "expected a list of middlewares"
        return ()
    steps = []
    for index, item in enumerate(data):
        here = f"{path}[{index}]"
        if isinstance(item, str):
            name, options = item, None
        elif isinstance(item, dict) and len(item) == 1:
            name, options = next(iter(item.items()))
        elif item is UNSET:
            continue
        else:
            mistakes[here] = "expected a name, or one name with its options"
            continue
        place = f"{here}.{name if _FACTORY.fullmatch(name) else masked_name(name)}"
        try:
            factory = _find(name)
            if factory is None:
                mistakes[place] = (
                    f"no such middleware: neither middlewares/{masked_name(name)}.py nor an entry "
                    f"point of the group {ENTRY_POINTS} nor package.module:factory"
                )
                continue
            arguments = read_arguments(factory, options, place, mistakes)
        except Exception as error:  # it is somebody else's code that is imported here
            mistakes[place] = f"cannot be loaded: {type(error).__name__}: {error}"
            continue
        steps.append(MiddlewareEntry(name, factory, arguments))
    return tuple(steps)


def _find(name: str) -> Callable[..., Middleware] | None:
    """`middlewares/<name>.py`, then the entry points, then `package.module:factory`."""
    found: Any = None
    if ":" in name:
        module_name, _, attribute = name.partition(":")
        found = getattr(importlib.import_module(module_name), attribute)
    elif name.isidentifier() and name[0] != "_" and (module := _bundled_module(name)) is not None:
        found = getattr(module, name)
    else:
        for entry in entry_points(group=ENTRY_POINTS, name=name):
            found = entry.load()
    if found is not None and not callable(found):
        raise TypeError(f"{name} is not a factory")
    factory: Callable[..., Middleware] | None = found
    return factory


def _bundled_module(name: str) -> Any:
    full = f"middlewares.{name}"
    try:
        return importlib.import_module(full)
    except ModuleNotFoundError as error:
        if error.name in (full, "middlewares"):
            return None
        raise


def as_aiohttp_middleware(middleware: Middleware) -> Any:
    """The middleware in the form that aiohttp insists on, so that authors need no decorator."""

    @web.middleware
    async def step(request: web.Request, handler: Handler) -> web.StreamResponse:
        return await middleware(request, handler)

    return step

"""Defines what a middleware is, and loads the middlewares that a configuration names.

A middleware is a factory with keyword-only, annotated options. It returns an ordinary
aiohttp middleware, `async (request, handler) -> StreamResponse`; a class with an async
`__call__` is such a factory. The factory does nothing else: no files, tasks or network.
What must start and stop belongs into an optional `lifespan(app)` of the built object, which
is used as an aiohttp cleanup context.

A factory with the attribute `authenticates = True` declares that its middlewares let no
request pass whose sender they do not know, whatever the options are. OPTIONS may pass.
"""

from __future__ import annotations

import importlib
import pickle
import pkgutil
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from aiohttp import web
from multidict import CIMultiDict

from gateway.generation.outcome import Outcome
from gateway.generation.request import Generation
from gateway.keys.directory import KeyDirectory
from gateway.options import UNSET, Mistakes, did_you_mean, read_arguments
from gateway.principal import Principal
from gateway.redaction import masked_name, shown_factory
from gateway.store.rate_windows import RateWindows
from gateway.trusted_proxies import TrustedProxies

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]
Middleware = Callable[[web.Request, Handler], Awaitable[web.StreamResponse]]

ENTRY_POINTS = "gateway.middlewares"

# A middleware may read these values of a request and set them for other middlewares.
OUTCOME = web.RequestKey("outcome", Outcome)
"""What becomes of the request. It has ended when `await handler(request)` returns or raises."""
GENERATION = web.RequestKey("generation", Generation)
"""The request's generation; absent until the handler has parsed the request."""
REQUEST_ID = web.RequestKey("request_id", str)
PRINCIPAL = web.RequestKey("principal", Principal)
"""Who sent the request; absent where nobody was authenticated. Set it with `set_principal`
and read it with `principal_of`."""
KEY_NAME = web.RequestKey("key_name", str)
"""The principal's name; absent where nobody was authenticated."""
PATH_KEY = web.RequestKey("path_key", str)
"""The key that stood in the path, `/k/<key>/...`; nobody has checked it. Absent without one."""
RESPONSE_HEADERS = web.RequestKey("response_headers", CIMultiDict[str])
"""Headers for every kind of answer to the request: whole, stream or error."""
LIMIT_DEFAULTS = web.RequestKey[Mapping[str, int]]("limit_defaults")
"""Limits for callers that have none of the same name, by the names of `Principal.limits`."""

WINDOWS = web.AppKey[RateWindows]("windows")
"""Counts of requests for the whole gateway: they outlive a reload, and all workers share
them."""

KEY_DIRECTORY = web.AppKey("key_directory", KeyDirectory)
"""The keys that are made at run time; `identify` says whose key a text is."""

KEY_CHECKS = web.AppKey[Sequence[Callable[[str], bool]]]("key_checks")
"""The methods `is_key` of the middlewares that have one: whether a text is a key."""

TRUSTED_PROXIES = web.AppKey("trusted_proxies", TrustedProxies)
"""The proxies whose X-Forwarded-For counts; see `client_address`."""

# The principal with which PRINCIPAL and KEY_NAME last agreed.
_AGREED = web.RequestKey("agreed_principal", Principal)


def set_principal(request: web.Request, principal: Principal) -> None:
    """Set who sent a request. PRINCIPAL and KEY_NAME both tell it from now on."""
    request[PRINCIPAL] = request[_AGREED] = principal
    request[KEY_NAME] = principal.name


def principal_of(request: web.Request) -> Principal | None:
    """Return who sent a request; None when nobody was authenticated.

    A middleware may also set or delete one of PRINCIPAL and KEY_NAME itself. Then that
    middleware decides, and the other value follows here. A name alone becomes a principal
    with this id and name. PRINCIPAL decides when both have changed.
    """
    agreed: Principal | None = request.get(_AGREED)
    principal: Principal | None = request.get(PRINCIPAL)
    name: str | None = request.get(KEY_NAME)
    if principal is agreed:
        if name == (None if agreed is None else agreed.name):
            return agreed
        principal = None if name is None else Principal(id=name, name=name)
    if principal is not None:
        set_principal(request, principal)
        return principal
    for key in (PRINCIPAL, KEY_NAME, _AGREED):
        request.pop(key, None)
    return None


def client_address(request: web.Request) -> str:
    """Return the address of the client, also behind the proxies of `server.trusted_proxies`.

    Returns "" for a client without an address, as on a UNIX socket.
    """
    forwarded = request.headers.getall("X-Forwarded-For", ())
    return request.app[TRUSTED_PROXIES].client_of(request.remote, forwarded)


def caller_of(request: web.Request) -> str:
    """Return what limits count by: the key, or the address where no key was asked for."""
    principal = principal_of(request)
    return f"address {client_address(request)}" if principal is None else f"key {principal.id}"


class HasLifespan(Protocol):
    """Describes a middleware that starts and stops something."""

    def lifespan(self, app: web.Application) -> AsyncIterator[None]: ...


@dataclass(frozen=True, slots=True)
class MiddlewareEntry:
    """Holds one entry of the chain, checked but not built.

    name: as in the configuration. options: keyword arguments of the factory. folder: the
    operator's own folder of middlewares, in which another process has to look too.
    """

    name: str
    factory: Callable[..., Middleware]
    options: dict[str, Any]
    folder: Path | None = None

    def __reduce__(self) -> tuple[Any, ...]:
        content = pickle.dumps((self.name, self.factory, self.options))
        return _unpickled, (self.folder, content)

    @property
    def authenticates(self) -> bool:
        """Return whether the factory declares that no request passes without a principal.

        Only True itself declares it: a method of that name is something else.
        """
        return getattr(self.factory, "authenticates", None) is True

    def build(self) -> Middleware:
        return self.factory(**self.options)


def _unpickled(folder: Path | None, content: bytes) -> MiddlewareEntry:
    search_also(folder)
    name, factory, options = pickle.loads(content)
    return MiddlewareEntry(name, factory, options, folder)


def search_also(folder: Path | None) -> None:
    """Look for middlewares in a folder too, after those that the gateway has itself."""
    if folder is None or not folder.is_dir():
        return
    places = importlib.import_module("middlewares").__path__
    if str(folder) not in places:
        places.append(str(folder))
        importlib.invalidate_caches()


def read_middlewares(
    data: Any, path: str, mistakes: Mistakes, *, folder: Path | None = None
) -> tuple[MiddlewareEntry, ...]:
    """Read the list of middlewares, each a name or one name with its options.

    data: from the configuration; path: its place there. Wrong entries are noted in
    `mistakes` and left out.
    folder: the operator's own middlewares, in files like those of the folder `middlewares`.
    """
    if data is UNSET:
        return ()
    if not isinstance(data, list):
        mistakes[path] = "expected a list of middlewares; begin each with '- '"
        return ()
    search_also(folder)
    entries = []
    for index, item in enumerate(data):
        here = f"{path}[{index}]"
        if isinstance(item, str):
            name, options = item, None
        elif isinstance(item, dict) and len(item) == 1:
            name, options = next(iter(item.items()))
        elif item is UNSET:
            continue
        else:
            mistakes[here] = _item_fault(item)
            continue
        place = f"{here}.{shown_factory(name)}"
        try:
            factory = _find(name)
            if factory is None:
                known = _known_names()
                mistakes[place] = (
                    f"no such middleware;{did_you_mean(name, known)} known: {', '.join(known)}. "
                    f"Others are middlewares/{masked_name(name)}.py beside the configuration, an "
                    f"entry point of the group {ENTRY_POINTS}, or package.module:factory"
                )
                continue
            arguments = read_arguments(factory, options, place, mistakes)
        except Exception as error:  # a middleware's own code may raise anything
            mistakes[place] = f"cannot be loaded: {type(error).__name__}: {error}"
            continue
        entries.append(MiddlewareEntry(name, factory, arguments, folder))
    return tuple(entries)


def _item_fault(item: Any) -> str:
    """Return what is wrong with an item that is neither a name nor one name with options."""
    if isinstance(item, dict) and len(item) > 1:
        name, *others = item
        if item[name] is None:
            options = ", ".join(masked_name(other) for other in others)
            return f"indent {options} two more spaces, to be options of {masked_name(name)}"
    return "expected a name, or one name with its options"


def _known_names() -> list[str]:
    """Return the names of all middlewares that are files."""
    places = importlib.import_module("middlewares").__path__
    return sorted({module.name for module in pkgutil.iter_modules(places)})


def _find(name: str) -> Callable[..., Middleware] | None:
    """Look in `middlewares/<name>.py`, then in the entry points; import a name with a colon."""
    found: Any = None
    if ":" in name:
        module_name, _, attribute = name.partition(":")
        found = getattr(importlib.import_module(module_name), attribute)
    elif name.isidentifier() and name[0] != "_" and (module := _bundled_module(name)) is not None:
        found = getattr(module, name)
    else:
        # Imported late: it loads eighteen modules, which the bundled middlewares do not need.
        from importlib.metadata import entry_points

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

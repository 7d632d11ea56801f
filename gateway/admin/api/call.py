"""Defines what a handler of the admin API gets, and what the table of routes says of it."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import msgspec
from aiohttp import web

from gateway.admin.api.errors import NoStore
from gateway.keys.records import Role

if TYPE_CHECKING:
    from gateway.admin.api.authentication import AdminAuthentication
    from gateway.admin.api.resources.events import EventStreams
    from gateway.admin.api.store_work import StoreWork
    from gateway.admin.node import Node

Method = Literal["GET", "POST", "PATCH", "DELETE"]

Answer = msgspec.Struct | web.StreamResponse | None


@dataclass(frozen=True, slots=True)
class AdminCaller:
    """Describes who sent a request to the admin API.

    name: what the audit shows: `local:root`, or the name of the admin key.
    address: of the client, as the trusted proxies tell it; empty on the UNIX socket.
    key_id: the id of a key of the store; None for others.
    session: the digest of the browser's session, if it is one.
    key_mark: tells a key of config.yaml from another one that has its name later; "" for others.
    """

    name: str
    role: Role
    address: str
    key_id: str | None = None
    session: bytes | None = None
    key_mark: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class AdminCall:
    """Holds one request to the admin API, checked against the table of routes.

    http: the request itself, for handlers that stream their answer.
    authentication: knows the admin keys, for the route that begins a session.
    query, body: of the types that the route has; an empty `NoParameters` where it has none.
    path: the values of the placeholders in the path.
    version: of `If-Match`, or None. idempotency_key: of the header, or None. Routes say
        whether they have them.
    request_id: the id that the answer has and the audit keeps.
    work: runs changes of keys and reads the store; None without a store.
    events: counts the event streams. recheck: identifies the caller again, while one lasts.
    """

    http: web.Request
    node: Node
    caller: AdminCaller
    authentication: AdminAuthentication
    request_id: str
    query: Any
    body: Any
    path: Mapping[str, str]
    events: EventStreams
    recheck: Callable[[], Awaitable[AdminCaller]]
    version: int | None = None
    idempotency_key: str | None = None
    work: StoreWork | None = None

    @property
    def store(self) -> StoreWork:
        """Return what runs changes of keys. Raises NoStore (409) without a store."""
        if self.work is None:
            raise NoStore
        return self.work


class NoParameters(msgspec.Struct, forbid_unknown_fields=True):
    """Describes a query or a body that must be empty."""


AdminHandler = Callable[[AdminCall], Awaitable[Answer]]


@dataclass(frozen=True, slots=True, kw_only=True)
class AdminRoute:
    """Describes one route of the admin API; the OpenAPI document is made of these.

    path: below `/admin/api/v1`, with placeholders such as `{key}`.
    role: the least role that may use it: `metrics` < `viewer` < `admin`. None for everybody.
    summary: one line for the document.
    query, body: types whose members are allowed; other members are mistakes (400).
    answer: the type of the answer's body; None for no JSON.
    media_type: of an answer that is no JSON, or may be something else.
    status: of a good answer. errors: further statuses that a caller can get.
    versioned: whether `If-Match` is read. idempotent: whether `Idempotency-Key` is read.
    repeat_status: of the answer to a repeat that tells so by `already_issued`; None for `status`.
    """

    method: Method
    path: str
    handler: AdminHandler
    role: Role | None
    summary: str
    query: type[msgspec.Struct] = NoParameters
    body: type[msgspec.Struct] | None = None
    answer: type[msgspec.Struct] | None = None
    media_type: str | None = None
    status: int = 200
    errors: tuple[int, ...] = ()
    versioned: bool = False
    idempotent: bool = False
    repeat_status: int | None = None

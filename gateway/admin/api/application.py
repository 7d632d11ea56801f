"""Builds the application of the admin API: who is asked for what, in which order.

A request passes the error handler, then the check of who sent it, then the one of the role. Its
parameters and body are checked before the handler sees them.
"""

from __future__ import annotations

import secrets
from collections.abc import MutableMapping
from typing import TYPE_CHECKING, Any, Final

import msgspec
import structlog
from aiohttp import web

from gateway.admin.api.authentication import AdminAuthentication, check_role
from gateway.admin.api.bodies import (
    MAX_BODY,
    read_body,
    read_idempotency_key,
    read_query,
    read_version,
)
from gateway.admin.api.call import AdminCall, AdminCaller, AdminRoute, NoParameters
from gateway.admin.api.openapi import document
from gateway.admin.api.resources.events import EventStreams
from gateway.admin.api.routes import BASE, admin_routes
from gateway.admin.api.session_cookie import SessionCookies
from gateway.admin.api.store_work import StoreWork
from gateway.apis.openai.dialect import OpenAIDialect
from gateway.errors import GatewayError
from gateway.http.error_handler import ErrorHandler
from gateway.http.error_response import ErrorResponse, render_error
from gateway.http.in_flight import InFlightRequests
from gateway.middleware import REQUEST_ID, RESPONSE_HEADERS

if TYPE_CHECKING:
    from gateway.admin.node import Node

_log = structlog.get_logger("admin")

_WRITES: Final = ("POST", "PATCH", "DELETE")

# Answers are for one caller, and no page may show, guess or frame them.
_HEADERS: Final = {
    "Cache-Control": "no-store",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Content-Security-Policy": "default-src 'none'; frame-ancestors 'none'",
    "Cross-Origin-Resource-Policy": "same-origin",
}


class AdminDialect(OpenAIDialect):
    """Renders errors as OpenAI's dialect does, with the headers of the admin API."""

    def add_headers(self, headers: MutableMapping[str, str], seconds: float) -> None:
        """Add what keeps browsers from storing, guessing or framing an answer."""
        for name, value in _HEADERS.items():
            headers.setdefault(name, value)


_DIALECT: Final = AdminDialect()


def render_admin_error(error: GatewayError) -> ErrorResponse:
    """Render an error for a request that reaches no route."""
    return render_error(error, _DIALECT)


def build_admin_app(
    node: Node,
    work: StoreWork | None,
    authentication: AdminAuthentication,
    in_flight: InFlightRequests,
) -> web.Application:
    """Build the application of the admin API, not yet started.

    work: runs changes of keys; None without a store.
    work, authentication: belong to the node; several applications may share them.
    """
    app = web.Application(client_max_size=MAX_BODY)
    handler = ErrorHandler(lambda _: _DIALECT, in_flight, frozenset())
    app.middlewares.append(web.middleware(handler))
    app.on_response_prepare.append(handler.on_response_prepare)
    server = AdminServer(node, work, authentication, EventStreams(in_flight))
    routes = list(admin_routes())
    schema = msgspec.json.encode(document(routes))

    async def openapi(_: AdminCall) -> web.Response:
        return web.Response(body=schema, content_type="application/json")

    routes.append(
        AdminRoute(
            method="GET",
            path="/openapi.json",
            handler=openapi,
            role="metrics",
            summary="This document.",
            media_type="application/json",
        )
    )
    for route in routes:
        app.router.add_route(route.method, BASE + route.path, server.handler_of(route))
    return app


class AdminServer:
    """Answers the routes of the admin API."""

    def __init__(
        self,
        node: Node,
        work: StoreWork | None,
        authentication: AdminAuthentication,
        events: EventStreams,
    ) -> None:
        self._events = events
        self._node = node
        self._work = work
        self._authentication = authentication
        self._sessions = SessionCookies(authentication, work)

    def handler_of(self, route: AdminRoute) -> Any:
        """Return what aiohttp calls for a route."""

        async def answer(request: web.Request) -> web.StreamResponse:
            return await self._answer(request, route)

        return answer

    async def _answer(self, request: web.Request, route: AdminRoute) -> web.StreamResponse:
        request_id = f"req_{secrets.token_hex(12)}"
        request[REQUEST_ID] = request_id
        request[RESPONSE_HEADERS]["x-request-id"] = request_id
        caller = await self._identify(request, route)
        call = AdminCall(
            http=request,
            node=self._node,
            caller=caller,
            authentication=self._authentication,
            request_id=request_id,
            query=read_query(request, route.query),
            body=await read_body(request, route.body or NoParameters),
            path=dict(request.match_info),
            version=read_version(request) if route.versioned else None,
            idempotency_key=read_idempotency_key(request) if route.idempotent else None,
            work=self._work,
            events=self._events,
            recheck=lambda: self._identify(request, route, renew=False),
        )
        found = await route.handler(call)
        if request.method in _WRITES:
            _log.info(
                "admin_change",
                request_id=request_id,
                actor=caller.name,
                method=request.method,
                route=route.path,
            )
        if isinstance(found, web.StreamResponse):
            return found
        if found is None:
            return web.Response(status=204)
        status = route.status
        if route.repeat_status is not None and getattr(found, "already_issued", False):
            status = route.repeat_status
        return web.Response(
            body=msgspec.json.encode(found), status=status, content_type="application/json"
        )

    async def _identify(
        self, request: web.Request, route: AdminRoute, *, renew: bool = True
    ) -> AdminCaller:
        """Return who sent a request, if the role is enough; see `AdminAuthentication.identify`."""
        caller = await self._authentication.identify(
            request, self._sessions, anonymous=route.role is None, renew=renew
        )
        check_role(caller, route.role)
        return caller

"""Decides whether a request is admitted, and settles what it used when it has ended.

A request passes twice. Before its body is read, a look refuses callers who are over a limit
already. Once the body is parsed, one claim decides all limits of key, team and gateway together.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass

import msgspec
from aiohttp import web

from gateway.admission.live import ADMITTED, Admitted, LiveRequests
from gateway.admission.permissions import check_model, check_route
from gateway.admission.record import began_line, ended_line, refused_line
from gateway.admission.refusal import add_limit_headers, refusal
from gateway.admission.scopes import caller_scopes
from gateway.config.settings import Config
from gateway.generation.model import Model
from gateway.generation.request import GenerationRequest
from gateway.keys.directory import KeyDirectory
from gateway.ledger.ledger import Ledger
from gateway.ledger.row import new_row_id
from gateway.ledger.spool import Spool
from gateway.limits.claims import Claim, Scope, Verdict
from gateway.limits.expectation import Expectation
from gateway.limits.meter import Meter
from gateway.limits.names import TOKEN_NAMES, Kind
from gateway.limits.periods import Calendar
from gateway.middleware import (
    LIMIT_DEFAULTS,
    OUTCOME,
    RESPONSE_HEADERS,
    Handler,
    client_address,
    principal_of,
)
from gateway.principal import Principal

# Agents name the conversation that a request belongs to in one of these headers.
_CONVERSATION_HEADERS = (
    "x-claude-code-session-id",
    "thread-id",
    "session-id",
    "x-opencode-session",
)
_MOST_OF_SIDE_CALL = 4000  # characters of a conversation's text
# A worker's look is a question to the master. It costs more than to read so many bytes.
_SMALL_BODY = 16 * 1024
_LISTING_METHODS = ("GET", "HEAD", "POST", "DELETE")


@dataclass(frozen=True, slots=True)
class InferenceRoute:
    """Describes a route that is answered by the upstream.

    kind: the class of its requests. name: as the ledger has it, such as `fim`.
    fills: whether its body may also ask for code at the cursor, which is another class.
    """

    kind: Kind
    name: str
    fills: bool = False


class _Scopes(msgspec.Struct, frozen=True, eq=False):
    """Holds the scopes of a caller, made once, and what they are made from.

    estimates: whether a limit of tokens makes an estimate necessary.
    waits: whether the caller may have to wait in line.
    restricted: whether there are models or routes that the caller may not use.
    """

    principal: Principal | None
    defaults: Mapping[str, int]
    scopes: tuple[Scope, ...]
    estimates: bool
    waits: bool
    restricted: bool


_SCOPES = web.RequestKey("scopes", _Scopes)
_NO_DEFAULTS: Mapping[str, int] = {}
_MOST_CALLERS = 10_000  # whose scopes are kept


class AdmissionControl:
    """Asks the meter about each request, and writes the requests to the ledger.

    meter, ledger, expectation: outlive the application at a reload. The meter decides for all
        processes.
    estimate: returns the tokens of a prompt.
    live: the open requests of this process.
    keys: knows the teams that are made at run time.
    routes: the handlers of the routes that the upstream answers.
    """

    def __init__(
        self,
        config: Config,
        meter: Meter,
        ledger: Ledger,
        expectation: Expectation,
        estimate: Callable[[GenerationRequest], int],
        keys: KeyDirectory,
        live: LiveRequests | None = None,
    ) -> None:
        self.live = live or LiveRequests()
        self._open = self.live.requests
        self.routes: dict[Handler, InferenceRoute] = {}
        self._meter = meter
        self._local = meter.local
        self._ledger = ledger
        self._spool = ledger.spool
        self._estimate = estimate
        self._keys = keys
        self._expectation = expectation
        self._gateway = Scope("gateway", config.limits.by_name())
        self._teams = {
            team.name: Scope(f"team {team.name}", team.by_name()) for team in config.teams
        }
        self._zone = config.time_zone
        self._calendar = Calendar(self._zone)
        self._known: dict[str, _Scopes] = {}

    def __call__(self, request: web.Request, handler: Handler) -> Awaitable[web.StreamResponse]:
        """Run between the middlewares and the route's handler: look, or count a listing."""
        route = self.routes.get(handler)
        if route is None:
            if request.method not in _LISTING_METHODS:
                return handler(request)
            return self._count_listing(request, handler)
        request[_SCOPES] = known = self._scopes_of(request)
        if known.restricted and not route.fills:  # else the body decides which route it is
            check_route(known.principal, route.name)
        # A body that is here already needs no wait: the claim, or a wrong body, brings the refusal.
        if request.content.is_eof():
            return handler(request)
        length = request.content_length
        if self._local is None and length is not None and length < _SMALL_BODY:
            return handler(request)
        return self._look_before(request, handler)

    async def _look_before(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        await self.look(request)
        return await handler(request)

    async def look(self, request: web.Request) -> None:
        """Refuse a caller who is over a limit already, and count nothing. Raises RateLimited."""
        scopes = request[_SCOPES].scopes
        route = self.routes[request.match_info.handler]
        verdict = await self._meter.look(scopes, route.kind)
        if verdict is not None and route.fills:
            # The body decides which class it is, so both must be used up.
            verdict = await self._meter.look(scopes, "completion")
        if verdict is not None:
            self._refuse(request, verdict)

    async def _count_listing(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        if request.match_info.route.resource is not None:
            row_id = new_row_id(_now())
            claim = Claim(row_id, self._scopes_of(request).scopes, "listing")
            self._check(request, await self._meter.claim(claim))
        return await handler(request)

    async def admit(self, request: web.Request, parsed: GenerationRequest, model: Model) -> None:
        """Admit a request, or raise; `settle` must follow in any case.

        Raises RateLimited, and RouteNotAllowed and ModelNotAllowed if the key has such lists.
        """
        route = self.routes[request.match_info.handler]
        kind: Kind = "completion" if parsed.fills else "chat"
        name = "completion" if route.kind == "chat" and kind == "completion" else route.name
        known = request[_SCOPES]
        if known.restricted:
            check_route(known.principal, name)
            if not parsed.fills:  # who asks for code at the cursor cannot choose the model
                check_model(known.principal, model)
        prompt = answer = 0
        if known.estimates:
            prompt = self._estimate_prompt(parsed)
            answer = self._expectation.expected(model.id, kind, parsed.max_tokens, kind=kind)
        at = _now()
        row_id = new_row_id(at)
        claim = Claim(
            row_id,
            known.scopes,
            kind,
            prompt + answer,
            prompt,
            _conversation_of(request) if known.waits else "",
            known.waits and _is_side_call(parsed),
        )
        verdict = None if self._local is None else self._local.claim(claim)
        if verdict is None or verdict.may_queue:
            verdict = await self._meter.claim(claim)
        if verdict.waited:
            request[OUTCOME].leave_queue(verdict.waited)
            at = _now()
        self._check(request, verdict)
        began = None
        if self._spool is not None:
            began = began_line(
                request,
                known.principal,
                parsed,
                model,
                row_id=row_id,
                at=at,
                day=verdict.day,
                route=name,
                prompt_tokens=prompt,
            )
            self._spool.began(began)
        task = asyncio.current_task()
        request[ADMITTED] = Admitted(
            row_id, model.id, kind, known.estimates, began, at, name, parsed.stream, task
        )
        self._open[row_id] = request

    def settle(self, request: web.Request) -> None:
        """Replace what a request reserved, if it was admitted, by what it used."""
        admitted, outcome = request.get(ADMITTED), request[OUTCOME]
        if admitted is None:
            return
        usage = outcome.usage
        tokens = 0 if usage is None else usage.prompt_tokens + usage.completion_tokens
        self._meter.settle(admitted.row_id, tokens)
        if admitted.row_id in self._open:
            del self._open[admitted.row_id]
        if admitted.row_id in self.live.ended:
            self.live.ended.remove(admitted.row_id)
        if admitted.estimated and usage is not None and outcome.finish_reasons:
            self._expectation.observe(admitted.model, admitted.kind, usage.completion_tokens)

    def record(self, request: web.Request) -> None:
        """Write the row of a request whose outcome is final, if the ledger has such rows."""
        if self._spool is None:
            return
        admitted = request.get(ADMITTED)
        if admitted is not None and admitted.began is not None:
            self._spool.ended(ended_line(request, admitted.began))
        elif self._ledger.refused and request.method == "POST":
            self._record_refused(request, self._spool)

    def _record_refused(self, request: web.Request, spool: Spool) -> None:
        route = self.routes.get(request.match_info.handler)
        principal = principal_of(request)
        if route is None or principal is None:
            return
        at = _now()
        self._calendar.move_to(at / 1000)
        day = self._calendar.day
        row_id = new_row_id(at)
        spool.ended(
            refused_line(request, principal, row_id=row_id, at=at, day=day, route=route.name)
        )

    def scopes_of(self, request: web.Request) -> tuple[Scope, ...]:
        """Return the scopes that a request counts in: its caller's, the team's, the gateway's."""
        return self._scopes_of(request).scopes

    def _scopes_of(self, request: web.Request) -> _Scopes:
        defaults: Mapping[str, int] = request.get(LIMIT_DEFAULTS, _NO_DEFAULTS)
        principal = principal_of(request)
        if principal is None:
            own = [Scope(f"address {client_address(request)}", defaults)] if defaults else []
            return _described(None, defaults, (*own, self._gateway))
        if principal.id in self._known:
            known = self._known[principal.id]
            if known.principal is principal and known.defaults is defaults:
                return known
        if len(self._known) >= _MOST_CALLERS:
            self._known.clear()
        scopes = caller_scopes(principal, defaults, self._teams, self._keys, _now())
        known = _described(principal, defaults, (*scopes, self._gateway))
        self._known[principal.id] = known
        return known

    def _estimate_prompt(self, parsed: GenerationRequest) -> int:
        if parsed.fills:
            return sum(len(fill.prefix) + len(fill.suffix) for fill in parsed.fills) // 4
        return self._estimate(parsed)

    def _check(self, request: web.Request, verdict: Verdict) -> None:
        if not verdict.admitted:
            self._refuse(request, verdict)
        add_limit_headers(request[RESPONSE_HEADERS], verdict)

    def _refuse(self, request: web.Request, verdict: Verdict) -> None:
        add_limit_headers(request[RESPONSE_HEADERS], verdict)
        raise refusal(verdict, self._zone, principal_of(request))


def _described(
    principal: Principal | None, defaults: Mapping[str, int], scopes: tuple[Scope, ...]
) -> _Scopes:
    names = {name for scope in scopes for name in scope.limits}
    waits = any("concurrency" in scope.limits for scope in scopes if scope.is_caller)
    estimates = not names.isdisjoint(TOKEN_NAMES)
    restricted = principal is not None and (principal.models, principal.routes) != (None, None)
    return _Scopes(principal, defaults, scopes, estimates, waits, restricted)


def _now() -> int:
    """Return the time in milliseconds since 1970."""
    return time.time_ns() // 1_000_000


def _conversation_of(request: web.Request) -> str:
    headers = request.headers
    for name in _CONVERSATION_HEADERS:
        if name in headers:
            return headers[name][:128]
    return ""


def _is_side_call(parsed: GenerationRequest) -> bool:
    """Return whether a request is one that agents make beside the conversation.

    They ask for titles and probe: a short conversation without tools, whose answer is either
    very short or an object of JSON.
    """
    if parsed.fills or parsed.tools or len(parsed.messages) > 3:
        return False
    if parsed.response_format is None and (parsed.max_tokens is None or parsed.max_tokens > 64):
        return False
    return sum(len(message.text) for message in parsed.messages) <= _MOST_OF_SIDE_CALL

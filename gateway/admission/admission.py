"""Decides whether a request is admitted, and settles what it used when it has ended.

A request passes twice. Before its body is read, a look refuses callers who are over a limit
already. Once the body is parsed, one claim decides all limits of key, team and gateway together.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from aiohttp import web

from gateway.admission.record import began_line, ended_line
from gateway.admission.refusal import add_limit_headers, refusal
from gateway.config.settings import Config
from gateway.generation.model import Model
from gateway.generation.request import GenerationRequest
from gateway.ledger.ledger import Ledger
from gateway.ledger.row import new_row_id
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

# Agents name the conversation that a request belongs to in one of these headers.
_CONVERSATION_HEADERS = (
    "x-claude-code-session-id",
    "thread-id",
    "session-id",
    "x-opencode-session",
)
_MOST_OF_SIDE_CALL = 4000  # characters of a conversation's text
# A worker's look is a question to the master. It costs more than to read so many bytes, and the
# claim refuses the same callers just after.
_SMALL_BODY = 16 * 1024


@dataclass(frozen=True, slots=True)
class InferenceRoute:
    """Describes a route that is answered by the upstream.

    kind: the class of its requests. name: as the ledger has it, such as `fim`.
    """

    kind: Kind
    name: str


@dataclass(frozen=True, slots=True)
class _Admitted:
    """Holds what the end of an admitted request needs to know.

    row_id: names the claim and the row. at: milliseconds since 1970. day: the local day.
    """

    row_id: str
    at: int
    day: str
    model: str
    kind: Kind
    route: str


_ADMITTED = web.RequestKey("admitted", _Admitted)


class AdmissionControl:
    """Asks the meter about each request, and writes the requests to the ledger.

    meter, ledger: belong to the process, or to all processes.
    estimate: returns the tokens of a prompt.
    routes: the handlers of the routes that the upstream answers.
    """

    def __init__(
        self,
        config: Config,
        meter: Meter,
        ledger: Ledger,
        estimate: Callable[[GenerationRequest], int],
    ) -> None:
        self.routes: dict[Handler, InferenceRoute] = {}
        self._meter = meter
        self._ledger = ledger
        self._estimate = estimate
        self._expectation = Expectation()
        self._gateway = Scope("gateway", config.limits.by_name())
        self._teams = {
            team.name: Scope(f"team {team.name}", team.by_name()) for team in config.teams
        }
        self._zone = config.time_zone
        self._calendar = Calendar(self._zone)

    async def __call__(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        """Run between the middlewares and the route's handler: look, or count a listing."""
        route = self.routes.get(request.match_info.handler)
        if request.method in ("GET", "POST", "DELETE"):
            if route is not None:
                if not self._meter.remote or _has_large_body(request):
                    verdict = await self._meter.look(self.scopes_of(request), route.kind)
                    if verdict is not None:
                        self._refuse(request, verdict)
            elif request.match_info.route.resource is not None:
                scopes = self.scopes_of(request)
                claim = Claim(new_row_id(), scopes, "listing")
                self._check(request, await self._meter.claim(claim))
        return await handler(request)

    async def admit(self, request: web.Request, parsed: GenerationRequest, model: Model) -> None:
        """Claim what a request needs, or raise RateLimited; `settle` must follow a claim."""
        route = self.routes[request.match_info.handler]
        kind: Kind = "completion" if parsed.fills else "chat"
        scopes = self.scopes_of(request)
        prompt = answer = 0
        if any(name in scope.limits for scope in scopes for name in TOKEN_NAMES):
            prompt = self._estimate_prompt(parsed)
            answer = self._expectation.expected(model.id, kind, parsed.max_tokens, kind=kind)
        row_id = new_row_id()
        claim = Claim(
            row_id,
            scopes,
            kind,
            prompt + answer,
            prompt,
            _conversation_of(request),
            _is_side_call(parsed),
        )
        verdict = await self._meter.claim(claim)
        self._check(request, verdict)
        at = time.time_ns() // 1_000_000
        name = "completion" if route.kind == "chat" and kind == "completion" else route.name
        request[_ADMITTED] = _Admitted(row_id, at, verdict.day, model.id, kind, name)
        if self._ledger.kept:
            self._ledger.began(
                began_line(
                    request,
                    parsed,
                    model,
                    row_id=row_id,
                    at=at,
                    day=verdict.day,
                    route=name,
                    prompt_tokens=prompt,
                )
            )

    def settle(self, request: web.Request) -> None:
        """Replace what an admitted request reserved by what it used, however it ended."""
        admitted, outcome = request[_ADMITTED], request[OUTCOME]
        usage = outcome.usage
        tokens = 0 if usage is None else usage.prompt_tokens + usage.completion_tokens
        self._meter.settle(admitted.row_id, tokens)
        if usage is not None and outcome.finish_reasons:
            self._expectation.observe(admitted.model, admitted.kind, usage.completion_tokens)

    def record(self, request: web.Request) -> None:
        """Write the row of a request whose outcome is final, if the ledger has such rows."""
        route = self.routes.get(request.match_info.handler)
        if route is None or not self._ledger.kept or request.method != "POST":
            return
        admitted = request.get(_ADMITTED)
        if admitted is not None:
            row_id, at, day = admitted.row_id, admitted.at, admitted.day
            name = admitted.route
        elif principal_of(request) is None:
            return
        else:
            now = time.time()
            self._calendar.move_to(now)
            row_id, at, day, name = new_row_id(), int(now * 1000), self._calendar.day, route.name
        refused = admitted is None
        self._ledger.ended(
            ended_line(request, row_id=row_id, at=at, day=day, route=name, refused=refused)
        )

    def scopes_of(self, request: web.Request) -> tuple[Scope, ...]:
        """Return the scopes that a request counts in: its caller's, the team's, the gateway's."""
        defaults: Mapping[str, int] = request.get(LIMIT_DEFAULTS) or {}
        principal = principal_of(request)
        if principal is None:
            if not defaults:
                return (self._gateway,)
            return Scope(f"address {client_address(request)}", defaults), self._gateway
        limits = {**defaults, **principal.limits} if principal.limits else defaults
        caller = Scope(f"key {principal.id}", limits)
        if principal.team is None:
            return caller, self._gateway
        team = self._teams.get(principal.team)
        if team is None:  # of a middleware that knows other teams
            team = Scope(f"team {principal.team}", {})
        return caller, team, self._gateway

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
        raise refusal(verdict, self._zone)


def _has_large_body(request: web.Request) -> bool:
    return request.content_length is None or request.content_length > _SMALL_BODY


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

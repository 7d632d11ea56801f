"""Makes the lines of the ledger from a request: when it is admitted, and when it has ended."""

from __future__ import annotations

from aiohttp import web

from gateway.generation.model import Model
from gateway.generation.outcome import Outcome
from gateway.generation.request import GenerationRequest
from gateway.ledger.row import Began, LedgerRow
from gateway.middleware import GENERATION, OUTCOME, REQUEST_ID
from gateway.observability.client_fields import user_agent_family
from gateway.principal import Principal

_NOBODY = Principal(id="", name="", source="none")


def began_line(
    request: web.Request,
    principal: Principal | None,
    parsed: GenerationRequest,
    model: Model,
    *,
    row_id: str,
    at: int,
    day: str,
    route: str,
    prompt_tokens: int,
) -> Began:
    """Return the line of a request that was just admitted; see `Began` for the members."""
    principal = principal or _NOBODY
    return Began(
        id=row_id,
        at=at,
        day=day,
        request_id=request.get(REQUEST_ID, ""),
        key=principal.name,
        team=principal.team or "",
        source=principal.source,
        model=model.id,
        route=route,
        stream=parsed.stream,
        prompt_tokens=prompt_tokens,
        key_id=principal.key_id,
        team_id=principal.team_id,
    )


def ended_line(request: web.Request, began: Began) -> LedgerRow:
    """Return the line of an admitted request whose outcome is known."""
    return _row(request, request[OUTCOME], began, refused=False)


def refused_line(
    request: web.Request, principal: Principal, *, row_id: str, at: int, day: str, route: str
) -> LedgerRow:
    """Return the line of a request that was not admitted."""
    generation = request.get(GENERATION)
    began = Began(
        id=row_id,
        at=at,
        day=day,
        request_id=request.get(REQUEST_ID, ""),
        key=principal.name,
        team=principal.team or "",
        source=principal.source,
        model="" if generation is None else generation.model.id,
        route=route,
        stream=generation is not None and generation.request.stream,
        key_id=principal.key_id,
        team_id=principal.team_id,
    )
    return _row(request, request[OUTCOME], began, refused=True)


def _row(request: web.Request, outcome: Outcome, began: Began, *, refused: bool) -> LedgerRow:
    usage, started = outcome.usage, outcome.started
    first, finished = outcome.first_piece, outcome.finished
    complete = outcome.ended == "complete"
    return LedgerRow(
        id=began.id,
        at=began.at,
        day=began.day,
        request_id=began.request_id,
        key=began.key,
        team=began.team,
        source=began.source,
        model=began.model,
        route=began.route,
        stream=began.stream,
        status=outcome.status,
        ended="complete" if complete else outcome.cause or "internal_error",
        cause=outcome.cause,
        refused=refused,
        finish_reason=outcome.finish_reasons[0] if outcome.finish_reasons else None,
        prompt_tokens=usage.prompt_tokens if usage else 0,
        completion_tokens=usage.completion_tokens if usage else 0,
        reasoning_tokens=usage.reasoning_tokens if usage else 0,
        usage_source="none" if usage is None else "estimated" if usage.estimated else "upstream",
        queued_ms=int(outcome.queued * 1000 + 0.5),
        first_ms=None if first is None else int((first - started) * 1000 + 0.5),
        duration_ms=0 if finished is None else int((finished - started) * 1000 + 0.5),
        tries=outcome.tries,
        account=outcome.account or "",
        bytes=outcome.bytes_sent or 0,
        client=user_agent_family(request.headers.get("User-Agent", "")),
        key_id=began.key_id,
        team_id=began.team_id,
    )

"""Makes the lines of the ledger from a request: when it is admitted, and when it has ended."""

from __future__ import annotations

from aiohttp import web

from gateway.generation.model import Model
from gateway.generation.outcome import Outcome
from gateway.generation.request import Generation, GenerationRequest
from gateway.ledger.row import Began, LedgerRow
from gateway.middleware import GENERATION, OUTCOME, REQUEST_ID, principal_of
from gateway.observability.client_fields import user_agent_family
from gateway.principal import Principal

_NOBODY = Principal(id="", name="", source="none")


def began_line(
    request: web.Request,
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
    principal = principal_of(request) or _NOBODY
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


def ended_line(
    request: web.Request, *, row_id: str, at: int, day: str, route: str, refused: bool
) -> LedgerRow:
    """Return the line of a request whose outcome is known."""
    principal = principal_of(request) or _NOBODY
    outcome, generation = request[OUTCOME], request.get(GENERATION)
    usage = outcome.usage
    return LedgerRow(
        id=row_id,
        at=at,
        day=day,
        request_id=request.get(REQUEST_ID, ""),
        key=principal.name,
        team=principal.team or "",
        source=principal.source,
        model=_model(generation),
        route=route,
        stream=generation is not None and generation.request.stream,
        status=outcome.status,
        ended=_end(outcome),
        cause=outcome.cause,
        refused=refused,
        finish_reason=outcome.finish_reasons[0] if outcome.finish_reasons else None,
        prompt_tokens=usage.prompt_tokens if usage else 0,
        completion_tokens=usage.completion_tokens if usage else 0,
        reasoning_tokens=usage.reasoning_tokens if usage else 0,
        usage_source="none" if usage is None else "estimated" if usage.estimated else "upstream",
        queued_ms=round(outcome.queued * 1000),
        first_ms=_milliseconds(outcome.started, outcome.first_piece),
        duration_ms=_milliseconds(outcome.started, outcome.finished) or 0,
        tries=outcome.tries,
        account=outcome.account or "",
        bytes=outcome.bytes_sent or 0,
        client=user_agent_family(request.headers.get("User-Agent", "")),
        key_id=principal.key_id,
        team_id=principal.team_id,
    )


def _model(generation: Generation | None) -> str:
    return "" if generation is None else generation.model.id


def _end(outcome: Outcome) -> str:
    if outcome.ended == "complete":
        return "complete"
    return outcome.cause or "internal_error"


def _milliseconds(begin: float, end: float | None) -> int | None:
    return None if end is None else round((end - begin) * 1000)

"""Logs one line for each request, at its end, without prompts, keys and tokens."""

from __future__ import annotations

from typing import Any

import structlog
from aiohttp import web

from gateway import (
    GENERATION,
    OUTCOME,
    Handler,
    Outcome,
    client_address,
    logged_method,
    principal_of,
)

_log = structlog.get_logger("request")

_NOT_SERVED = ("no_account_available", "server_is_overloaded")


class request_log:
    """Logs `request` with status, end, cause, model, account, tokens, times and bytes.

    The line is an error for a bug, and a warning when Fitten failed or nothing could serve.
    """

    async def __call__(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        try:
            return await handler(request)
        finally:
            cause = request[OUTCOME].cause
            if cause is None:
                log = _log.info
            elif cause == "internal_error":
                log = _log.error
            elif cause in _NOT_SERVED or cause.startswith("upstream_"):
                log = _log.warning
            else:  # the client's mistake, or its own limit
                log = _log.info
            log("request", **_fields(request))


def _fields(request: web.Request) -> dict[str, Any]:
    resource = request.match_info.route.resource
    outcome, generation = request[OUTCOME], request.get(GENERATION)
    principal, started = principal_of(request), outcome.started
    fields: dict[str, Any] = {
        # The route's pattern only: paths are client text.
        "method": logged_method(request.method),
        "route": resource.canonical if resource is not None else "(none)",
        "key": None if principal is None else principal.name,
        "status": outcome.status,
        "end": outcome.end,
        "cause": outcome.cause,
        "duration_ms": _milliseconds(started, outcome.finished),
        "bytes": outcome.bytes_sent,
        # `log.client` decides which of the two the log keeps.
        "address": client_address(request),
        "user_agent": request.headers.get("User-Agent"),
    }
    if outcome.ended == "failed":
        fields |= _failure(outcome)
    if generation is None:
        return fields
    if outcome.loop:
        fields |= {"loop": outcome.loop}
    if outcome.squeezed:
        fields |= {"squeezed": outcome.squeezed}
    usage = outcome.usage
    return fields | {
        "model": generation.model.id,
        "requested_model": generation.requested_model,
        "account": outcome.account,
        "queued_ms": round(outcome.queued * 1000, 1),
        "stream": generation.request.stream,
        "finish_reason": outcome.finish_reasons[0] if outcome.finish_reasons else None,
        "repaired": outcome.repaired,
        "prompt_tokens": usage.prompt_tokens if usage else None,
        "completion_tokens": usage.completion_tokens if usage else None,
        "tokens_estimated": usage.estimated if usage else None,
        "first_piece_ms": _milliseconds(started, outcome.first_piece),
        "bytes": outcome.bytes_sent or 0,
    }


def _failure(outcome: Outcome) -> dict[str, Any]:
    """Return why a request failed; what is not known is left out."""
    fields: dict[str, Any] = {
        # The sentence about an unknown URL has its path.
        "message": None if outcome.end == "refused" else outcome.message,
        "param": outcome.param,
        "upstream_status": outcome.upstream_status,
        "detail": outcome.detail,
    }
    return {name: value for name, value in fields.items() if value is not None}


def _milliseconds(begin: float, end: float | None) -> float | None:
    return None if end is None else round((end - begin) * 1000, 1)

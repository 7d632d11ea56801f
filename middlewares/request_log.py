"""Logs one line for each request, at its end, without prompts, keys and tokens."""

from __future__ import annotations

import asyncio
import time
from typing import Any

import structlog
from aiohttp import hdrs, web

from gateway import GENERATION, KEY_NAME, GatewayError, Handler

_log = structlog.get_logger("request")

_CLIENT_GONE = "client_closed_request"


class request_log:
    """Logs `request` with status, end, model, account, tokens, times and bytes."""

    async def __call__(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        started = time.monotonic()
        status, end, response = 500, "internal_error", None
        try:
            response = await handler(request)
            status, end = response.status, "complete"
            return response
        except GatewayError as error:
            status, end = error.status, error.code or "error"
            raise
        except web.HTTPException as error:
            status, end = error.status, "refused"
            raise
        except (asyncio.CancelledError, ConnectionError):
            status, end = 499, _CLIENT_GONE
            raise
        finally:
            fields = _fields(request, started)
            if "bytes" not in fields:  # the size of an error's body is not known here
                fields["bytes"] = getattr(response, "content_length", None)
            end = fields.pop("end", None) or end
            _log.info("request", status=status, end=end, **fields)


def _fields(request: web.Request, started: float) -> dict[str, Any]:
    resource = request.match_info.route.resource
    fields: dict[str, Any] = {
        # Known methods and the route's pattern only: paths and other methods are client text.
        "method": request.method if request.method in hdrs.METH_ALL else "(other)",
        "route": resource.canonical if resource is not None else "(none)",
        "key": request.get(KEY_NAME),
        "duration_ms": round((time.monotonic() - started) * 1000, 1),
    }
    generation = request.get(GENERATION)
    if generation is None:
        return fields
    usage, first = generation.usage, generation.first_piece
    return fields | {
        "end": generation.end,
        "model": generation.model.id,
        "account": generation.account,
        "queued_ms": round(generation.queued * 1000, 1),
        "stream": generation.request.stream,
        "finish_reason": generation.finish_reason,
        "prompt_tokens": usage.prompt_tokens if usage else None,
        "completion_tokens": usage.completion_tokens if usage else None,
        "tokens_estimated": usage.estimated if usage else None,
        "first_piece_ms": None if first is None else round((first - started) * 1000, 1),
        "bytes": generation.bytes_sent,
    }

"""Renders errors in OpenAI's dialect."""

from __future__ import annotations

from typing import Any

import msgspec

from gateway.errors import GatewayError

_TYPES = {401: "invalid_request_error", 429: "requests"}


def error_object(error: GatewayError) -> dict[str, Any]:
    """Return `{"error": {...}}` as OpenAI's SDKs read it (their type ErrorObject)."""
    kind = "insufficient_quota" if error.code == "insufficient_quota" else _TYPES.get(error.status)
    if kind is None:
        kind = "invalid_request_error" if error.status < 500 else "server_error"
    return {
        "error": {
            "message": error.message,
            "type": kind,
            "param": error.param,
            "code": error.code,
        }
    }


def error_body(error: GatewayError) -> bytes:
    """Return the body of an answer that is an error."""
    return msgspec.json.encode(error_object(error))


def error_frame(error: GatewayError) -> bytes:
    """Return the frame that ends a stream which has failed."""
    return b"data: " + error_body(error) + b"\n\n"

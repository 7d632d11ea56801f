"""Renders errors in Anthropic's dialect."""

from __future__ import annotations

from typing import Any

import msgspec

from gateway.errors import ContextLengthExceeded, GatewayError

_OVERLOADED = 529
_TYPES = {
    401: "authentication_error",
    403: "permission_error",
    404: "not_found_error",
    413: "request_too_large",
    429: "rate_limit_error",
    504: "timeout_error",
    _OVERLOADED: "overloaded_error",
}
# With these codes, 503 means that there is no room now, and that there will be some later.
_NO_ROOM = ("server_is_overloaded", "no_account_available")

# By these codes, and only here, the SDKs see that they must send the whole conversation.
_THREADS = ("thread_not_found", "thread_unsupported_request")


def status_of(error: GatewayError) -> int:
    """Return the status of an error: Anthropic's API has one of its own for overload."""
    if error.status == 503 and error.retryable and error.code in _NO_ROOM:
        return _OVERLOADED
    return error.status


def error_body(error: GatewayError, request_id: str | None = None) -> bytes:
    """Return `{"type": "error", "error": {...}}` as Anthropic's SDKs read it.

    The dialect has no member for the field at fault, so the message begins with it.
    """
    status = status_of(error)
    kind = _TYPES.get(status)
    if kind is None:
        kind = "invalid_request_error" if status < 500 else "api_error"
    message = error.message
    if isinstance(error, ContextLengthExceeded):
        # Claude Code reads the numbers of exactly these words.
        message = f"prompt is too long: {error.tokens} tokens > {error.limit} maximum"
    elif error.param and error.param not in message:
        message = f"{error.param}: {message}"
    body: dict[str, Any] = {"type": "error", "error": {"type": kind, "message": message}}
    if error.code in _THREADS:
        body["error"]["details"] = {"error_code": error.code}
    if request_id is not None:
        body["request_id"] = request_id
    return msgspec.json.encode(body)


def error_frame(error: GatewayError) -> bytes:
    """Return the frame that ends a stream which has failed."""
    return b"event: error\ndata: " + error_body(error) + b"\n\n"

"""Renders errors in Ollama's dialect."""

from __future__ import annotations

import msgspec

from gateway.errors import GatewayError


def error_body(error: GatewayError) -> bytes:
    """Return `{"error": "..."}`.

    The dialect has no member for the field at fault, so the message begins with it.
    """
    message = error.message
    if error.param and error.param not in message:
        message = f"{error.param}: {message}"
    return msgspec.json.encode({"error": message})


def error_line(error: GatewayError) -> bytes:
    """Return the line that ends a stream which has failed; no line with `done` follows it."""
    return error_body(error) + b"\n"

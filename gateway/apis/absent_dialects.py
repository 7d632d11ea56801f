"""Renders errors for clients of dialects that the gateway has no routes of.

Such a client reads the body of a 404 by its own dialect. Otherwise it shows nothing of it.
"""

from __future__ import annotations

from collections.abc import MutableMapping

import msgspec

from gateway.apis.openai.dialect import OpenAIDialect
from gateway.errors import GatewayError

_TYPES = {
    401: "authentication_error",
    404: "not_found_error",
    413: "request_too_large",
    429: "rate_limit_error",
    504: "timeout_error",
}


class AnthropicErrors(OpenAIDialect):
    """Renders errors as Anthropic's SDKs read them; models have no route in this dialect."""

    def error_body(self, error: GatewayError) -> bytes:
        """Return `{"type": "error", "error": {...}}`."""
        kind = _TYPES.get(error.status)
        if kind is None:
            kind = "invalid_request_error" if error.status < 500 else "api_error"
        return msgspec.json.encode(
            {"type": "error", "error": {"type": kind, "message": error.message}}
        )

    def add_headers(self, headers: MutableMapping[str, str], seconds: float) -> None:
        """Add the header that Anthropic's SDKs show in errors."""
        if "x-request-id" in headers:
            headers["request-id"] = headers["x-request-id"]


class OllamaErrors(OpenAIDialect):
    """Renders errors as clients of Ollama read them; models have no route in this dialect."""

    def error_body(self, error: GatewayError) -> bytes:
        """Return `{"error": "..."}`."""
        return msgspec.json.encode({"error": error.message})

    def add_headers(self, headers: MutableMapping[str, str], seconds: float) -> None:
        """Add nothing: Ollama has no headers of its own."""

"""Renders errors for clients of dialects that the gateway has no routes of.

Such a client reads the body of a 404 by its own dialect. Otherwise it shows nothing of it.
"""

from __future__ import annotations

from collections.abc import MutableMapping

import msgspec

from gateway.apis.openai.dialect import OpenAIDialect
from gateway.errors import GatewayError


class OllamaErrors(OpenAIDialect):
    """Renders errors as clients of Ollama read them; models have no route in this dialect."""

    def error_body(self, error: GatewayError, request_id: str | None = None) -> bytes:
        """Return `{"error": "..."}`."""
        return msgspec.json.encode({"error": error.message})

    def add_headers(self, headers: MutableMapping[str, str], seconds: float) -> None:
        """Add nothing: Ollama has no headers of its own."""

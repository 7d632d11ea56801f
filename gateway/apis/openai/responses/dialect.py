"""Describes how errors of the Responses API differ from those of OpenAI's other APIs."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from gateway.apis.openai.dialect import OpenAIDialect
from gateway.errors import GatewayError

# Statuses of final errors that stay: Codex shows these, and HTTP itself defines the others.
_KEPT = frozenset((401, 403, 404, 405, 417, 429, 501, 505))

_USUAL_WAIT = 1.0  # seconds


class ResponsesDialect(OpenAIDialect):
    """Renders errors so that Codex does not repeat what cannot succeed.

    Codex takes only 400 for final, and 404 if the code is `model_not_found`. It does not read
    `x-should-retry`. Without `Retry-After` it repeats a failure of the server up to thirty times
    in half a minute, and a 429 never.
    """

    def owns(self, body: Mapping[str, Any], headers: Mapping[str, str]) -> bool:
        """Return whether there is `input` and no `messages`; see `Dialect`."""
        return "input" in body and "messages" not in body

    def status(self, error: GatewayError) -> int:
        """Return the status of the error, 400 for most that are final."""
        return 400 if error.is_final and error.status not in _KEPT else error.status

    def retry_after(self, error: GatewayError) -> float | None:
        """Return a wait for every error, but for a budget that is used up for hours."""
        if error.code == "insufficient_quota":
            return None
        return _USUAL_WAIT if error.retry_after is None else error.retry_after

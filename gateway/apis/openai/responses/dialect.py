"""Describes how errors of the Responses API differ from those of OpenAI's other APIs."""

from __future__ import annotations

from gateway.apis.openai.dialect import OpenAIDialect
from gateway.errors import BodyTooLarge, GatewayError, UnsupportedMediaType

_FINAL = (BodyTooLarge, UnsupportedMediaType)


class ResponsesDialect(OpenAIDialect):
    """Renders errors so that Codex does not repeat what cannot succeed.

    Codex takes only 400 for final, and 404 if the code is `model_not_found`.
    """

    def status(self, error: GatewayError) -> int:
        """Return the status of the error, 400 for a body that cannot be read at all."""
        return 400 if isinstance(error, _FINAL) else error.status

"""Describes how errors of the Responses API differ from those of OpenAI's other APIs."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from gateway.apis.openai.dialect import OpenAIDialect
from gateway.errors import BodyTooLarge, GatewayError, UnsupportedMediaType

_FINAL = (BodyTooLarge, UnsupportedMediaType)


class ResponsesDialect(OpenAIDialect):
    """Renders errors so that Codex does not repeat what cannot succeed.

    Codex takes only 400 for final, and 404 if the code is `model_not_found`.
    """

    def owns(self, body: Mapping[str, Any], headers: Mapping[str, str]) -> bool:
        """Return whether there is `input` and no `messages`; see `Dialect`."""
        return "input" in body and "messages" not in body

    def status(self, error: GatewayError) -> int:
        """Return the status of the error, 400 for a body that cannot be read at all."""
        return 400 if isinstance(error, _FINAL) else error.status

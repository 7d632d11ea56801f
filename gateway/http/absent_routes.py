"""Lists the routes of other services that this one lacks, to tell their clients what it has."""

from __future__ import annotations

import re
from typing import Literal

from aiohttp import web

from gateway.errors import InvalidRequest, NotFound
from gateway.middleware import Handler

Family = Literal["openai", "anthropic", "ollama"]

# The first part of each path below a base URL; what follows it does not matter.
_OPENAI = (
    "assistants|audio|batches|chat|classify|containers|conversations|dashboard|detokenize|edits|"
    "embeddings?|engines|evals|files|fine-tunes|fine_tuning|images|moderations|ocr|organization|"
    "projects|props|realtime|rerank|reranking|responses|score|slots|threads|tokenize|uploads|"
    "vector_stores|videos"
)
_ANTHROPIC = "complete|messages|organizations"
_OLLAMA = "experimental|me|signout|status|user"
_ABSENT = re.compile(
    rf"(?:(?:/v1){{0,2}}|/k)/(?:(?P<openai>{_OPENAI})|(?P<anthropic>{_ANTHROPIC})"
    rf"|api/(?P<ollama>{_OLLAMA}))(?:/.*)?",
    re.DOTALL,
)

WHAT_THERE_IS = (
    "this gateway has only /v1/chat/completions, /v1/responses, /v1/messages, /v1/completions, "
    "/v1/fim/completions, /infill, /v1/models, and /api/chat and /api/generate of Ollama."
)
"""Ends the sentence about an absent route."""


def absent_family(path: str) -> Family | None:
    """Return whose route a path is, of those that other services have and this one lacks."""
    match = _ABSENT.fullmatch(path)
    if match is None:
        return None
    return "anthropic" if match["anthropic"] else "ollama" if match["ollama"] else "openai"


async def no_response(_: web.Request) -> web.StreamResponse:
    """Raise NotFound for a stored response of OpenAI's API, of which there are none."""
    raise NotFound(
        "There is no such response: this gateway stores nothing. Send the whole conversation "
        "in 'input'.",
        code="response_not_found",
        param="id",
    )


def refusing(message: str) -> Handler:
    """Return a handler that answers 501: the dialect has the route, and the gateway cannot serve.

    message: says why.
    """

    async def handler(_: web.Request) -> web.StreamResponse:
        error = InvalidRequest(message)
        error.status = 501
        raise error

    return handler

"""Answers requests for stored responses of OpenAI's API, of which there are none."""

from __future__ import annotations

from aiohttp import web

from gateway.errors import NotFound


async def no_response(_: web.Request) -> web.StreamResponse:
    """Raise NotFound."""
    raise NotFound(
        "There is no such response: this gateway stores nothing. Send the whole conversation "
        "in 'input'.",
        code="response_not_found",
        param="id",
    )

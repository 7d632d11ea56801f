"""Serves the login by way of another site: a page in a browser, and a client that asks for the end.

The first account is the one that logs in (protocol 2.4).
"""

from __future__ import annotations

import json

from aiohttp import web

from emulator.calls import WrittenCall
from emulator.endpoints.login import logged_in, refusal
from emulator.errors import missing_field
from emulator.state import EmulatorState

_PENDING = 202


async def sign_in(
    state: EmulatorState, request: web.Request, call: WrittenCall
) -> web.StreamResponse:
    """Show the page that a person would confirm; it confirms `client_token` by itself."""
    token = call.query.get("client_token")
    if not token:
        return missing_field("client_token")
    state.sign_ins[token] = 0
    return web.Response(text="<p>You may close this page.</p>", content_type="text/html")


async def check_sign_in(
    state: EmulatorState, request: web.Request, call: WrittenCall
) -> web.StreamResponse:
    """Return that the login is pending, and from the second time on its tokens.

    `create` is true for the first login of this kind: the account is new.
    """
    token = call.query.get("client_token", "")
    account = state.accounts.first()
    if account is None or token not in state.sign_ins:
        return refusal(_PENDING, "pending (made up)")
    state.sign_ins[token] += 1
    if state.sign_ins[token] == 1:
        return refusal(_PENDING, "pending (made up)")
    answer = json.loads(logged_in(state, account).text or "")
    answer["create"] = next(iter(state.sign_ins)) == token
    return web.json_response(answer)

"""Serves the simple form of code completion, and `accept`, of clients without a bearer.

The token in the path is the credential (protocol 13): an `FT_` token or a user id. The text may
have the marker that `emulator.endpoints.completion` describes.
"""

from __future__ import annotations

import re

from aiohttp import web

from emulator.accounts import EmulatedAccount
from emulator.calls import WrittenCall
from emulator.endpoints.completion import read_marker, suggestion
from emulator.errors import detail, missing_field
from emulator.state import EmulatorState
from emulator.tokens import BAD_SIGNATURE, TokenRefused

PATH = re.compile(r"/codeapi/completion/generate_one_stage/([^/]+)")
ACCEPT_PATH = re.compile(r"/codeapi/completion/accept/([^/]+)")

_END = "<|endoftext|>"
_INPUTS = re.compile(r"!FCPREFIX!(.*)!FCSUFFIX!(.*)!FCMIDDLE!", re.DOTALL)


async def complete(
    state: EmulatorState, request: web.Request, call: WrittenCall
) -> web.StreamResponse:
    """Complete a text: `inputs` with the three markers in; a suggestion with an end token out."""
    account = _account(state, PATH, call)
    if "banned" in account.scenarios:
        return detail(403, "account banned (made up)")
    inputs = call.body.get("inputs") if isinstance(call.body, dict) else None
    if not isinstance(inputs, str):
        return missing_field("inputs")
    if not _INPUTS.fullmatch(inputs):
        return web.json_response({"error": "the inputs lack a marker (made up)"})
    wanted = await read_marker(state, inputs)
    return wanted if isinstance(wanted, web.Response) else suggestion(state, wanted, _END)


async def accept(
    state: EmulatorState, request: web.Request, call: WrittenCall
) -> web.StreamResponse:
    """Take note of an accepted suggestion: `request_id` in; an empty object out."""
    _account(state, ACCEPT_PATH, call)
    if not isinstance(call.body, dict) or not isinstance(call.body.get("request_id"), str):
        return missing_field("request_id")
    return web.json_response({})


def _account(state: EmulatorState, path: re.Pattern[str], call: WrittenCall) -> EmulatedAccount:
    match = path.fullmatch(call.path)
    account = state.accounts.identified(match[1]) if match else None
    if account is None:
        raise TokenRefused(BAD_SIGNATURE)
    return account

"""Serves the chat endpoint: checks token and body, then lets a scenario answer."""

from __future__ import annotations

from aiohttp import web

from emulator.accounts import EmulatedAccount
from emulator.answer import EmulatedAnswer
from emulator.assistant import asks_for_summary, assistant
from emulator.calls import WrittenCall
from emulator.errors import detail, missing_field, nginx_page, server_error
from emulator.prompt import parse_prompt

# The scenarios register themselves when their modules are imported.
from emulator.scenarios import (  # noqa: F401
    agent,
    http_failures,
    obey,
    odd_streams,
    plain_streams,
)
from emulator.scenarios.registry import BadMarker, ScenarioTurn, find_marker
from emulator.state import EmulatorState
from emulator.tokens import EXPIRED, TokenRefused


async def chat(state: EmulatorState, request: web.Request, call: WrittenCall) -> web.StreamResponse:
    """Answer a chat: access token as bearer, `{inputs, ft_token, meta_datas}` in; a stream out."""
    account = state.bearer(call, "access")
    if refusal := _account_refusal(account):
        return refusal
    named = call.query.get("ft_token") or call.query.get("apikey")
    if state.match_user_id and named != account.user_id:
        return detail(403, "user id does not match the token (made up)")
    return await _chat(state, request, call)


async def chat_without_login(
    state: EmulatorState, request: web.Request, call: WrittenCall
) -> web.StreamResponse:
    """Answer a chat of a client without a bearer, which sends any `FT_` token, or none.

    Whether the service checks that token is not known; the scenarios of its account count.
    """
    body = call.body if isinstance(call.body, dict) else {}
    token = call.query.get("ft_token") or call.query.get("apikey") or body.get("ft_token")
    account = state.accounts.identified(str(token))
    if account is not None and (refusal := _account_refusal(account)):
        return refusal
    return await _chat(state, request, call)


async def _chat(
    state: EmulatorState, request: web.Request, call: WrittenCall
) -> web.StreamResponse:
    body = call.body
    inputs = body.get("inputs") if isinstance(body, dict) else None
    if not isinstance(inputs, str):
        return missing_field("inputs")
    if state.max_inputs_chars is not None and len(inputs) > state.max_inputs_chars:
        return detail(413, "inputs too long (made up)")
    meta = body.get("meta_datas")
    turn = ScenarioTurn(
        state=state,
        inputs=inputs,
        prompt=parse_prompt(inputs),
        meta=meta if isinstance(meta, dict) else {},
        answer=EmulatedAnswer(request, call),
    )
    return await _answer(turn)


async def _answer(turn: ScenarioTurn) -> web.StreamResponse:
    try:
        found = None if asks_for_summary(turn) else find_marker(turn.prompt.last_user)
    except BadMarker as problem:
        return detail(400, f"emulator: {problem}")
    if isinstance(found, tuple):
        chosen, arguments = found
        await chosen.run(turn, **arguments)
    else:
        await assistant(turn, unknown=found or "")
    response = turn.answer.response
    if response is None:
        raise RuntimeError(f"scenario {found!r} sent nothing")
    return response


def _account_refusal(account: EmulatedAccount) -> web.Response | None:
    if "chat_always_401" in account.scenarios:
        raise TokenRefused(EXPIRED)
    if "banned" in account.scenarios:
        return detail(403, "account banned (made up)")
    if "chat_429" in account.scenarios:
        refusal = detail(429, "Too many requests (made up)")
        refusal.headers["Retry-After"] = "1"
        return refusal
    if "chat_500" in account.scenarios:
        return server_error()
    if "chat_503" in account.scenarios:
        return web.Response(status=503, text=nginx_page(503), content_type="text/html")
    return None

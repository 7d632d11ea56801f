"""Serves the login of clients of 2024, and the move from their token to the new ones.

A login gives a token, which as bearer gets the `FT_` token (protocol 2.3, 2.4).
"""

from __future__ import annotations

from aiohttp import web

from emulator.accounts import EmulatedAccount
from emulator.calls import WrittenCall
from emulator.endpoints.login import authenticate, logged_in, refusal
from emulator.state import EmulatorState


async def login(
    state: EmulatorState, request: web.Request, call: WrittenCall
) -> web.StreamResponse:
    """Log in: `{username, password}` in; a token and the user's data out, or a failure.

    A failure has no member `code`, but `status_code`.
    """
    account = await authenticate(state, call)
    if isinstance(account, web.Response):
        return account
    data = {
        **_user(account),
        "token": state.accounts.issue(account, "user"),
        "nickname": "Demo",
        "email": "",
        "jobs": {},
        "like_jobs": {},
        "liked_count": 0,
        "viewed_count": 0,
    }
    return web.json_response({"code": 200, "message": "ok", "data": data})


async def get_ft_token(
    state: EmulatorState, request: web.Request, call: WrittenCall
) -> web.StreamResponse:
    """Return the account's `FT_` token; as bearer in, the token of a login of either kind."""
    account = state.bearer(call, "user")
    data = {
        **_user(account),
        "fico_token": account.ft_token,
        "expire_time": int(state.clock.now() + state.lifetimes["user"]),
        "expire_token": {},
    }
    return web.json_response({"status_code": 0, "msg": "", "data": data})


async def auto_login(
    state: EmulatorState, request: web.Request, call: WrittenCall
) -> web.StreamResponse:
    """Log in with the `FT_` token in the query; answer like the login with a password."""
    token = call.query.get("ft_token", "")
    account = state.accounts.identified(token)
    if account is None or token != account.ft_token:
        return refusal(401, "token unknown (made up)")
    if "banned" in account.scenarios:
        return refusal(403, "account banned (made up)")
    return logged_in(state, account)


def _user(account: EmulatedAccount) -> dict[str, str]:
    return {"user_id": account.user_id, "username": account.username, "phone": ""}

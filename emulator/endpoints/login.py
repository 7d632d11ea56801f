"""Serves the `/codeuser` endpoints: login, token refresh, account data."""

from __future__ import annotations

from typing import Any

from aiohttp import web

from emulator.accounts import EmulatedAccount
from emulator.calls import WrittenCall
from emulator.errors import detail, missing_field, nginx_page, server_error
from emulator.state import EmulatorState
from emulator.tokens import BAD_SIGNATURE, TokenRefused

NOT_EXPIRED = "Not expired"
WRONG_PASSWORD = "用户名或密码不正确"
WRONG_PASSWORD_CODE = 2  # recorded in 2025 (protocol 13)


async def login(
    state: EmulatorState, request: web.Request, call: WrittenCall
) -> web.StreamResponse:
    """Log in: `{username, password}` in; tokens and `user_info` out, or a known failure."""
    account = await authenticate(state, call)
    return account if isinstance(account, web.Response) else logged_in(state, account)


async def authenticate(state: EmulatorState, call: WrittenCall) -> EmulatedAccount | web.Response:
    """Return the account whose name and password the body has, or the response of a failure."""
    body = call.body if isinstance(call.body, dict) else {}
    for name in ("username", "password"):
        if not isinstance(body.get(name), str):
            return missing_field(name)
    account = state.accounts.named(body["username"])
    scenarios = account.scenarios if account else set()
    if "login_slow" in scenarios:
        await state.pause(state.slow)
    if failure := _login_failure(scenarios):
        return failure
    if account is None or account.password != body["password"]:
        return refusal(WRONG_PASSWORD_CODE, WRONG_PASSWORD)
    return account


def logged_in(state: EmulatorState, account: EmulatedAccount) -> web.Response:
    """Return the answer to a login that succeeded: new tokens and `user_info`."""
    incomplete = "login_incomplete" in account.scenarios
    answer = {
        "access_token": state.accounts.issue(account, "access"),
        "refresh_token": state.accounts.issue(account, "refresh"),
        "user_info": {} if incomplete else _user_info(state, account),
    }
    return web.json_response(answer)


async def refresh_access_token(
    state: EmulatorState, request: web.Request, call: WrittenCall
) -> web.StreamResponse:
    """Refresh token as bearer in, no body or any body; a new access token out."""
    account = state.bearer(call, "refresh")
    if failure := await _refresh_failure(state, account):
        return failure
    if "refresh_not_expired" in account.scenarios:
        return web.json_response(_access_part(state, NOT_EXPIRED))
    answer = _access_part(state, state.accounts.issue(account, "access"))
    if "refresh_rotates" in account.scenarios:
        account.revoke_refresh()
        answer["refresh_token"] = state.accounts.issue(account, "refresh")
    return web.json_response(answer)


async def refresh_refresh_token(
    state: EmulatorState, request: web.Request, call: WrittenCall
) -> web.StreamResponse:
    """Return new tokens of both kinds; the old refresh token as a bare JSON string in."""
    token = call.body
    if not isinstance(token, str):
        problem = {"loc": ["body"], "msg": "str type expected", "type": "type_error.str"}
        return web.json_response({"detail": [problem]}, status=422)
    try:
        account = state.accounts.check(token, "refresh")
    except TokenRefused:
        return refusal(401, "refresh token invalid (made up)")
    if failure := await _refresh_failure(state, account):
        return failure
    keep = "refresh_not_expired" in account.scenarios
    if "refresh_rotates" in account.scenarios:
        account.revoke_refresh()
    answer = _access_part(state, NOT_EXPIRED if keep else state.accounts.issue(account, "access"))
    answer["refresh_token"] = NOT_EXPIRED if keep else state.accounts.issue(account, "refresh")
    answer["refresh_token_expires"] = duration(state.lifetimes["refresh"])
    return web.json_response(answer)


async def user_info(
    state: EmulatorState, request: web.Request, call: WrittenCall
) -> web.StreamResponse:
    """Return the `user_info` object; access token as bearer in."""
    return web.json_response(_user_info(state, state.bearer(call, "access")))


async def get_notifications(
    state: EmulatorState, request: web.Request, call: WrittenCall
) -> web.StreamResponse:
    """Return an empty list for any page; access token as bearer in."""
    state.bearer(call, "access")
    return web.json_response({"status_code": 0, "msg": "", "data": []})


def duration(seconds: float) -> str:
    """Return an ISO 8601 duration: whole days as `P1D`, anything else in seconds."""
    days, rest = divmod(int(seconds), 86400)
    return f"P{days}D" if days and not rest else f"PT{int(seconds)}S"


def _login_failure(scenarios: set[str]) -> web.Response | None:
    if "wrong_password_200" in scenarios:
        return refusal(WRONG_PASSWORD_CODE, WRONG_PASSWORD)
    if "wrong_password_401" in scenarios:
        return detail(401, "Incorrect username or password (made up)")
    if "login_422" in scenarios:
        return missing_field("password")
    if "login_500" in scenarios:
        return server_error()
    if "login_html_502" in scenarios:
        return web.Response(status=502, text=nginx_page(502), content_type="text/html")
    if "login_not_json" in scenarios:
        return web.Response(text="ok")
    if "banned" in scenarios:
        return refusal(403, "account banned (made up)")
    return None


async def _refresh_failure(state: EmulatorState, account: EmulatedAccount) -> web.Response | None:
    scenarios = account.scenarios
    if "refresh_slow" in scenarios:
        await state.pause(state.slow)
    if "refresh_401" in scenarios:
        return detail(401, BAD_SIGNATURE)
    if "refresh_404" in scenarios:
        return detail(404, "User not found")
    if "refresh_500" in scenarios:
        return server_error()
    if "refresh_error_200" in scenarios:
        return refusal(401, "refresh token invalid (made up)")
    if "banned" in scenarios:
        return detail(403, "account banned (made up)")
    return None


def refusal(status_code: int, text: str) -> web.Response:
    """Return a failure that only the body tells; HTTP itself succeeds."""
    return web.json_response({"status_code": status_code, "msg": text, "data": ""})


def _access_part(state: EmulatorState, token: str) -> dict[str, Any]:
    return {"access_token": token, "access_token_expires": duration(state.lifetimes["access"])}


def _user_info(state: EmulatorState, account: EmulatedAccount) -> dict[str, Any]:
    return {
        "user_id": account.user_id,
        "username": account.username,
        "phone": "",
        "nickname": "Demo",
        "email": "demo@example.invalid",
        "token": state.accounts.issue(account, "user"),
        "registration_time": "2025-01-02T03:04:05.678000",
        "user_type": "普通用户",
        "account_status": "正常",
        "register_username": account.username,
        "wechat_info": None,
        "firebase_info": None,
        "client_token": "",
        "client_time": 0,
        "company": "",
    }

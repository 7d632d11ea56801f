"""Serves the `/_emulator` endpoints, for tests that run the emulator as a process."""

from __future__ import annotations

from typing import Any

from aiohttp import web

from emulator.accounts import ScenarioSet
from emulator.errors import detail
from emulator.state import EmulatorState

PREFIX = "/_emulator/"


async def control(state: EmulatorState, request: web.Request) -> web.StreamResponse:
    """Run a control request; 404 for unknown ones, 400 for bodies that do not fit."""
    name = (request.method, request.path.removeprefix(PREFIX))
    if name == ("GET", "health"):
        return web.json_response({"status": "ok", "calls": len(state.calls)})
    if name == ("GET", "calls"):
        return _calls(state, request.query.get("path", ""))
    try:
        if name == ("POST", "account"):
            return _account(state, await request.json())
        if name == ("POST", "clock"):
            return _clock(state, await request.json())
    except (ValueError, TypeError, KeyError) as problem:
        return detail(400, f"emulator: {problem}")
    return detail(404, "Not Found")


def _calls(state: EmulatorState, prefix: str) -> web.Response:
    return web.json_response([call.to_json() for call in state.calls.to(prefix)])


def _account(state: EmulatorState, order: dict[str, Any]) -> web.Response:
    account = state.accounts.named(order["username"])
    if account is None:
        return detail(404, "User not found")
    if "scenarios" in order:
        account.scenarios = ScenarioSet(order["scenarios"])
    if order.get("revoke_access"):
        account.revoke_access()
    if order.get("revoke_refresh"):
        account.revoke_refresh()
    return web.json_response({"username": account.username, "scenarios": sorted(account.scenarios)})


def _clock(state: EmulatorState, order: dict[str, Any]) -> web.Response:
    state.clock.advance(float(order["advance"]))
    return web.json_response({"now": state.clock.now()})

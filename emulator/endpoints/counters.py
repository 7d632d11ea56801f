"""Serves the calls whose answers clients ignore, and those that switch features on."""

from __future__ import annotations

from aiohttp import web

from emulator.calls import WrittenCall
from emulator.state import EmulatorState


async def count(
    state: EmulatorState, request: web.Request, call: WrittenCall
) -> web.StreamResponse:
    """Count a click, a log entry or a vote: anything in, an empty success out."""
    return web.json_response({"status_code": 0, "msg": "", "data": ""})


async def pc_check_auth(
    state: EmulatorState, request: web.Request, call: WrittenCall
) -> web.StreamResponse:
    """Return in plain text that completion takes a project's context, of type 4."""
    return web.Response(text="yes-4")


async def gray_test(
    state: EmulatorState, request: web.Request, call: WrittenCall
) -> web.StreamResponse:
    """Return in plain text the number 1: the feature `plan_name` is on."""
    return web.Response(text="1")

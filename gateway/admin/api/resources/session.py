"""Answers the routes of a browser's session: begin, show and end."""

from __future__ import annotations

import msgspec
from aiohttp import web

from gateway.admin.api.call import AdminCall
from gateway.admin.api.resources.keys import actor_of
from gateway.admin.api.session_cookie import browser_family, drop_session, session_text, set_session
from gateway.keys.changes import Actor
from gateway.keys.manager import KeyManager
from gateway.keys.records import Role


class NewSession(msgspec.Struct, forbid_unknown_fields=True):
    """Shows an admin key, once; afterwards the cookie stands for it."""

    key: str


class SessionView(msgspec.Struct):
    """Describes who uses the admin API.

    by: how the caller has come in. insecure: whether the cookie crosses the network unencrypted.
    """

    name: str
    role: Role
    by: str
    insecure: bool = False


async def begin_session(call: AdminCall) -> web.Response:
    """Start a session for an admin key, and set its cookie."""
    body: NewSession = call.body
    work = call.store
    caller = call.authentication.caller_with_key(body.key, call.caller.address)
    actor = Actor(caller.name, caller.address, call.request_id, caller.key_id or "")
    family = browser_family(call.http.headers.get("User-Agent", ""))
    text = await work.read(
        lambda manager: manager.add_session(actor, caller.role, family, key_mark=caller.key_mark)
    )
    response = web.Response(content_type="application/json")
    secure = set_session(response, call.http, text, call.authentication.base_url)
    view = SessionView(caller.name, caller.role, "session", insecure=not secure)
    response.body = msgspec.json.encode(view)
    return response


async def show_session(call: AdminCall) -> SessionView:
    """Return who the caller is."""
    caller = call.caller
    by = "session" if caller.session else "socket" if caller.name.startswith("local:") else "key"
    return SessionView(caller.name, caller.role, by)


async def end_session(call: AdminCall) -> web.Response:
    """End the session of the request's cookie, here and in the browser."""
    text = session_text(call.http)
    response = web.Response(status=204)
    if text is not None and call.caller.session is not None:
        actor = actor_of(call)

        def work(manager: KeyManager) -> None:
            manager.end_session(actor, text)

        await call.store.read(work)
    drop_session(response, call.http)
    return response

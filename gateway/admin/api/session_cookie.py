"""Reads and writes the cookie of a browser's session, and finds the session in the store.

The cookie holds 256 random bits. The store keeps only their digest.
"""

from __future__ import annotations

import hashlib
from dataclasses import replace
from typing import Final

from aiohttp import web

from gateway.admin.api.authentication import AdminAuthentication
from gateway.admin.api.call import AdminCaller
from gateway.admin.api.origin import is_local
from gateway.admin.api.store_work import StoreWork
from gateway.errors import Unauthorized

# Browsers take the first only over TLS, or from this machine, and from no other host.
SECURE_NAME: Final = "__Host-fg"
PLAIN_NAME: Final = "fg"

_FAMILIES: Final = (
    *(("edge", "Edg/"), ("opera", "OPR/"), ("firefox", "Firefox/"), ("chrome", "Chrome/")),
    ("safari", "Safari/"),
)


class SessionCookies:
    """Finds out who a session's cookie stands for."""

    def __init__(self, authentication: AdminAuthentication, work: StoreWork | None) -> None:
        self._authentication = authentication
        self._work = work

    async def caller_of(
        self, request: web.Request, address: str, *, renew: bool = True
    ) -> AdminCaller | None:
        """See `SessionCheck`."""
        text = session_text(request)
        if text is None or self._work is None:
            return None
        found = await self._work.read(lambda manager: manager.find_session(text, renew=renew))
        if found is None:
            raise Unauthorized("This session has ended; sign in again.")
        digest = hashlib.sha256(text.encode("utf-8", "surrogateescape")).digest()
        if found.key_id:
            # The key itself is checked too: blocked or expired since then, another role.
            caller = self._authentication.caller_with_id(found.key_id, address)
        else:
            caller = self._authentication.caller_in_config(found.key_name, found.key_mark, address)
        return replace(caller, session=digest)


def session_text(request: web.Request) -> str | None:
    """Return the text of a request's cookie; None without one."""
    return request.cookies.get(SECURE_NAME) or request.cookies.get(PLAIN_NAME) or None


def browser_family(agent: str) -> str:
    """Return the family of a browser, by its `User-Agent`: what an admin recognises it by."""
    # Each of these names those after it as well.
    for family, mark in _FAMILIES:
        if mark in agent:
            return family
    return "other"


def set_session(
    response: web.StreamResponse, request: web.Request, text: str, base_url: str | None
) -> bool:
    """Set the cookie, and return whether browsers send it only over a secure connection.

    It has no end of its own: the browser drops it when it is closed.
    """
    secure = _is_secure(request, base_url)
    response.set_cookie(
        SECURE_NAME if secure else PLAIN_NAME,
        text,
        path="/",
        httponly=True,
        secure=secure,
        samesite="Strict",
    )
    return secure


def drop_session(response: web.StreamResponse, request: web.Request) -> None:
    """Tell the browser to forget the cookies."""
    for name in (SECURE_NAME, PLAIN_NAME):
        if name in request.cookies:
            response.del_cookie(
                name, path="/", httponly=True, secure=name == SECURE_NAME, samesite="Strict"
            )


def _is_secure(request: web.Request, base_url: str | None) -> bool:
    """Return whether the browser takes a cookie that is marked `Secure`."""
    https = base_url is not None and base_url.startswith("https:")
    return https or is_local(request.headers.get("Host"))

"""Reads and writes the cookie of a browser's session, and finds the session in the store.

The cookie holds 256 random bits. The store keeps only their digest.
"""

from __future__ import annotations

import hashlib
from typing import Final

from aiohttp import web

from gateway.admin.api.authentication import AdminAuthentication
from gateway.admin.api.call import AdminCaller
from gateway.admin.api.origin import is_local
from gateway.admin.api.store_work import StoreWork

# Browsers take the first only over TLS, or from this machine, and from no other host.
SECURE_NAME: Final = "__Host-fg"
PLAIN_NAME: Final = "fg"


class SessionCookies:
    """Finds out who a session's cookie stands for."""

    def __init__(self, authentication: AdminAuthentication, work: StoreWork | None) -> None:
        self._authentication = authentication
        self._work = work

    async def caller_of(self, request: web.Request, address: str) -> AdminCaller | None:
        """See `SessionCheck`."""
        digest = session_digest(request)
        if digest is None or self._work is None:
            return None
        return None


def session_digest(request: web.Request) -> bytes | None:
    """Return the digest of the session that a request's cookie names; None without a cookie."""
    text = request.cookies.get(SECURE_NAME) or request.cookies.get(PLAIN_NAME)
    return None if not text else hashlib.sha256(text.encode("utf-8", "surrogateescape")).digest()


def set_session(
    response: web.StreamResponse, request: web.Request, text: str, base_url: str | None
) -> None:
    """Set the cookie. It has no end of its own: the browser drops it when it is closed."""
    secure = _is_secure(request, base_url)
    response.set_cookie(
        SECURE_NAME if secure else PLAIN_NAME,
        text,
        path="/",
        httponly=True,
        secure=secure,
        samesite="Strict",
    )


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

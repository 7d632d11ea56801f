"""Lets in only who has one of the team's API keys."""

from __future__ import annotations

import hashlib
import hmac
import re
from dataclasses import dataclass
from typing import Annotated

from aiohttp import web

from gateway import KEY_NAME, Handler, Secret, Unauthorized

_HASHED = re.compile(r"sha256:[0-9a-fA-F]{64}")


class _KeyFormat:
    """A key in plain text, or `sha256:` with its digest in hexadecimal."""

    def fault(self, value: Secret) -> str | None:
        if value.value.startswith("sha256:") and not _HASHED.fullmatch(value.value):
            return "after sha256: come the 64 hexadecimal digits of the key's digest"
        return None


@dataclass(frozen=True, slots=True)
class Key:
    """A named key: the name is what logs show."""

    name: str
    key: Annotated[Secret, _KeyFormat()]


class api_key:
    """Takes the key from `Authorization: Bearer`, `x-api-key` or `api-key`.

    OPTIONS needs none: browsers ask it before they may send a key.

    keys: who may come in; `key` is the key itself or `sha256:` and its digest.
    """

    def __init__(self, *, keys: list[Key]) -> None:
        self._keys = [(key.name, _digest_of(key.key.value)) for key in keys]

    async def __call__(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        if request.method == "OPTIONS":
            return await handler(request)  # it tells methods and does nothing (RFC 9110, 9.3.7)
        given = _presented(request)
        if not given:
            raise Unauthorized(
                "You didn't provide an API key. Send it as 'Authorization: Bearer YOUR_KEY'."
            )
        name = self._name_of(given)
        if name is None:
            raise Unauthorized(f"Incorrect API key provided: {_masked(given)}.")
        request[KEY_NAME] = name
        return await handler(request)

    def _name_of(self, given: str) -> str | None:
        """Whose key it is. Every key is looked at, in constant time, whichever matches."""
        digest = hashlib.sha256(given.encode("utf-8", "surrogateescape")).digest()
        found = None
        for name, known in self._keys:
            if hmac.compare_digest(digest, known):
                found = name
        return found


def _digest_of(key: str) -> bytes:
    if key.startswith("sha256:"):
        return bytes.fromhex(key.removeprefix("sha256:"))
    return hashlib.sha256(key.encode()).digest()


def _presented(request: web.Request) -> str:
    scheme, _, token = request.headers.get("Authorization", "").partition(" ")
    if scheme.lower() == "bearer" and token.strip():
        return token.strip()
    return request.headers.get("x-api-key") or request.headers.get("api-key") or ""


def _masked(key: str) -> str:
    """Enough to recognise a key by, not enough to use or guess it."""
    shown = key[-4:] if len(key) >= 16 and key.isascii() and key.isprintable() else ""
    return f"****{shown}"

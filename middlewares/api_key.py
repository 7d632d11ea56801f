"""Admits only requests that have one of the team's API keys."""

from __future__ import annotations

import hashlib
import hmac
import re
from dataclasses import dataclass
from typing import Annotated

from aiohttp import web

from gateway import Handler, Principal, Secret, Unauthorized, masked_key, set_principal

_HASHED = re.compile(r"sha256:[0-9a-fA-F]{64}")


class _KeyFormat:
    """Requires a key in plain text, or `sha256:` with its digest in hexadecimal."""

    def fault(self, value: Secret) -> str | None:
        if value.value.startswith("sha256:") and not _HASHED.fullmatch(value.value):
            return "sha256: must be followed by the 64 hexadecimal digits of the key's digest"
        return None


@dataclass(frozen=True, slots=True)
class Key:
    """Describes a key; logs show its name."""

    name: str
    key: Annotated[Secret, _KeyFormat()]


class api_key:
    """Checks the key in `Authorization: Bearer`, `x-api-key` or `api-key`.

    Without keys it admits nobody, so it authenticates with every list.
    OPTIONS needs no key: browsers send it before they may send a key.

    keys: the keys that are admitted; `key` is the key itself, or `sha256:` and its digest.
    """

    authenticates = True

    def __init__(self, *, keys: list[Key]) -> None:
        # Keys of one name are one principal: a key can be replaced while the old one still works.
        principals = {
            key.name: Principal(id=key.name, name=key.name, source="config") for key in keys
        }
        self._keys = [(principals[key.name], _digest_of(key.key.value)) for key in keys]

    async def __call__(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        if request.method == "OPTIONS":
            # Harmless: it only returns the allowed methods (RFC 9110, 9.3.7).
            return await handler(request)
        given = _key_of(request)
        if not given:
            raise Unauthorized(
                "You didn't provide an API key. Send it as 'Authorization: Bearer YOUR_KEY'."
            )
        principal = self._principal_of(given)
        if principal is None:
            raise Unauthorized(f"Incorrect API key provided: {masked_key(given)}.")
        set_principal(request, principal)
        return await handler(request)

    def _principal_of(self, given: str) -> Principal | None:
        """Return the principal of a key, or None. It compares all keys, each in constant time."""
        digest = hashlib.sha256(given.encode("utf-8", "surrogateescape")).digest()
        found = None
        for principal, known in self._keys:
            if hmac.compare_digest(digest, known):
                found = principal
        return found


def _digest_of(key: str) -> bytes:
    if key.startswith("sha256:"):
        return bytes.fromhex(key.removeprefix("sha256:"))
    return hashlib.sha256(key.encode()).digest()


def _key_of(request: web.Request) -> str:
    scheme, _, token = request.headers.get("Authorization", "").partition(" ")
    if (scheme == "Bearer" or scheme.lower() == "bearer") and (token := token.strip()):
        return token
    return request.headers.get("x-api-key") or request.headers.get("api-key") or ""

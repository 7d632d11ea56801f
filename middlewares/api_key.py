"""Admits only requests that have one of the team's API keys."""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import re
from collections import Counter
from dataclasses import dataclass
from typing import Annotated

import structlog
from aiohttp import web

from gateway import (
    WINDOWS,
    GatewayError,
    Handler,
    Principal,
    RateLimited,
    Secret,
    Unauthorized,
    Window,
    address_group,
    client_address,
    masked_key,
    set_principal,
)

_log = structlog.get_logger("api_key")

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
    OPTIONS needs no key: browsers send it before they may send a key. A right key is admitted
    from every address, however many wrong ones came from there.

    keys: the keys that are admitted; `key` is the key itself, or `sha256:` and its digest.
    """

    authenticates = True

    def __init__(self, *, keys: list[Key]) -> None:
        # Keys of one name are one principal: a key can be replaced while the old one still works.
        principals = {
            key.name: Principal(id=key.name, name=key.name, source="config") for key in keys
        }
        self._wrong_keys = _WrongKeys()
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
            raise await self._wrong_keys.error(request, given)
        set_principal(request, principal)
        return await handler(request)

    def is_key(self, text: str) -> bool:
        """Return whether a text is one of the keys; other middlewares must not log it then."""
        return self._principal_of(text) is not None

    def _principal_of(self, given: str) -> Principal | None:
        """Return the principal of a key, or None. It compares all keys, each in constant time."""
        digest = hashlib.sha256(given.encode("utf-8", "surrogateescape")).digest()
        found = None
        for principal, known in self._keys:
            if hmac.compare_digest(digest, known):
                found = principal
        return found


class _WrongKeys:
    """Slows the guessing of keys down, and reports it in one log line a minute.

    The gateway counts by address, so counts outlive a reload and all workers share them.
    """

    _MINUTE = 60.0
    _WINDOW = Window(limit=10, seconds=_MINUTE, callers=10_000)
    _MAX_ADDRESSES = 1000  # addresses that are counted for the log line
    _SHOWN_ADDRESSES = 3

    def __init__(self) -> None:
        self._counts: Counter[str] = Counter()
        self._others = 0

    async def error(self, request: web.Request, key: str) -> GatewayError:
        """Return the error for a wrong key: 401, and 429 when too many came from an address."""
        address = address_group(client_address(request))
        admission = await request.app[WINDOWS].admit("wrong keys", address, self._WINDOW)
        if admission.admitted:
            return Unauthorized(f"Incorrect API key provided: {masked_key(key)}.")
        self._note(address)
        return RateLimited(
            "Too many incorrect API keys from this address; correct the key, then try again in a "
            "minute.",
            retryable=False,
        )

    def _note(self, address: str) -> None:
        if not self._counts and not self._others:
            asyncio.get_running_loop().call_later(self._MINUTE, self._report)
        if address in self._counts or len(self._counts) < self._MAX_ADDRESSES:
            self._counts[address] += 1
        else:
            self._others += 1

    def _report(self) -> None:
        counts, others = self._counts, self._others
        self._counts, self._others = Counter(), 0
        _log.warning(
            "wrong_keys_refused",
            count=counts.total() + others,
            addresses=[address for address, _ in counts.most_common(self._SHOWN_ADDRESSES)],
        )


def _digest_of(key: str) -> bytes:
    if key.startswith("sha256:"):
        return bytes.fromhex(key.removeprefix("sha256:"))
    return hashlib.sha256(key.encode()).digest()


def _key_of(request: web.Request) -> str:
    scheme, _, token = request.headers.get("Authorization", "").partition(" ")
    if (scheme == "Bearer" or scheme.lower() == "bearer") and (token := token.strip()):
        return token
    return request.headers.get("x-api-key") or request.headers.get("api-key") or ""

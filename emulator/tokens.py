"""Issues JSON Web Tokens as Fitten does (HS256); defines the clock for their expiry."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import secrets
import time
from typing import Any

EXPIRED = "Token time expired: expired_token: The token is expired"
BAD_SIGNATURE = "Invalid token: Signature verification failed."

_OPAQUE = "fo_"


class TokenRefused(Exception):
    """Reports that the client's token is not accepted; the text is the `detail` of the 401."""


class EmulatorClock:
    """Tells the time of day, which tests may move forward."""

    def __init__(self) -> None:
        self._ahead = 0.0

    def now(self) -> float:
        """Return seconds since 1970 by this clock."""
        return time.time() + self._ahead

    def advance(self, seconds: float) -> None:
        """Move the clock forward (or back, if negative)."""
        self._ahead += seconds


class TokenSigner:
    """Writes and reads signed tokens; it knows nothing of accounts."""

    def __init__(self, key: bytes | None = None) -> None:
        self._key = key if key is not None else secrets.token_bytes(32)

    def issue(self, claims: dict[str, Any], *, opaque: bool = False) -> str:
        """Sign `claims`, with an id of its own so that no two tokens are equal.

        `opaque` hides the JWT in a string that a client cannot parse.
        """
        header = _encode(b'{"alg":"HS256","typ":"JWT"}')
        payload = _encode(json.dumps({**claims, "jti": secrets.token_hex(8)}).encode())
        signed = f"{header}.{payload}"
        token = f"{signed}.{self._signature(signed)}"
        return _OPAQUE + _encode(token.encode()) if opaque else token

    def read(self, token: str) -> dict[str, Any]:
        """Return the claims of a token of ours; raise Unauthorized for anything else."""
        try:
            if token.startswith(_OPAQUE):
                token = _decode(token.removeprefix(_OPAQUE)).decode()
            signed, _, signature = token.rpartition(".")
            if not hmac.compare_digest(signature.encode(), self._signature(signed).encode()):
                raise TokenRefused(BAD_SIGNATURE)
            claims: dict[str, Any] = json.loads(_decode(signed.partition(".")[2]))
        except ValueError:
            raise TokenRefused(BAD_SIGNATURE) from None
        return claims

    def _signature(self, signed: str) -> str:
        return _encode(hmac.digest(self._key, signed.encode(), hashlib.sha256))


def _encode(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def _decode(text: str) -> bytes:
    return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))

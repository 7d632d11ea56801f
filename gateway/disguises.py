"""The ways in which a secret may be written."""

from __future__ import annotations

import base64
import json
from urllib.parse import quote, quote_plus

_SHORTEST = 8  # bytes; of shorter ones base64 leaves next to nothing to recognise


def forms(secret: str) -> set[str]:
    """As it is, as JSON, URLs and Python write it, and as JSON writes what those wrote."""
    raw = secret.encode("utf-8", "surrogatepass")
    written = {
        secret,
        repr(secret)[1:-1],
        ascii(secret)[1:-1],
        repr(raw)[2:-1],
        json.dumps(secret)[1:-1],
        json.dumps(secret, ensure_ascii=False)[1:-1],
        quote(raw, safe=""),
        quote(raw),
        quote_plus(raw),
    }
    return written | {json.dumps(form)[1:-1] for form in written}


def inner_base64(secret: str) -> set[str]:
    """What base64 makes of it, whatever stands before and behind it, as in Basic authentication.

    Where it begins in a group of three bytes is not known: there are three forms, without the
    characters that it shares with its neighbours.
    """
    raw = secret.encode("utf-8", "surrogatepass")
    if len(raw) < _SHORTEST:
        return set()
    return {_after(before, raw) for before in range(3)}


def _after(before: int, raw: bytes) -> str:
    encoded = base64.b64encode(bytes(before) + raw).decode()
    return encoded[-(-before * 8 // 6) : (before + len(raw)) * 8 // 6]

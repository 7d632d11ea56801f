"""The ways in which a secret may be written."""

from __future__ import annotations

import base64
import json
from urllib.parse import quote, quote_plus

_SHORTEST = 8  # bytes; of shorter ones base64 leaves next to nothing to recognise


def forms(secret: str) -> set[str]:
    """As it is, as JSON, URLs, Python and log lines write it, and as they write that again."""
    raw = secret.encode("utf-8", "surrogatepass")
    urls = {quote(raw, safe=""), quote(raw), quote_plus(raw)}
    once = {secret, repr(raw)[2:-1], repr(b"'\"" + raw)[5:-1], *urls, *_written(secret)}
    return once.union(*map(_written, once))


def printable(text: str) -> str:
    """A text that can neither forge lines nor move a terminal's cursor."""
    return "".join(c if c.isprintable() else ascii(c)[1:-1] for c in text)


def _written(text: str) -> set[str]:
    return {
        printable(text),
        repr(text)[1:-1],
        ascii(text)[1:-1],
        repr("'\"" + text)[4:-1],  # beside quotes of both kinds
        ascii("'\"" + text)[4:-1],
        json.dumps(text)[1:-1],
        json.dumps(text, ensure_ascii=False)[1:-1],
    }


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

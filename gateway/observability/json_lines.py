"""Writes a log event as one JSON object on one line, for machines."""

from __future__ import annotations

import json
from collections.abc import Callable

import msgspec
from structlog.typing import EventDict

from gateway.redaction import printable_json

_encode = msgspec.json.Encoder(enc_hook=repr).encode
_FIRST = ("timestamp", "level", "event")


def json_line(event: EventDict, mask: Callable[[str], str]) -> str:
    """Return the line of an event: time, level and event first, then its other fields.

    It is in UTF-8. Characters that a terminal or a reader of lines could act upon are escaped.
    Values of unknown types are written as their repr.

    mask: masks the secrets of a text. It knows secrets in JSON before characters are escaped.
    """
    ordered = {name: event.pop(name) for name in _FIRST if name in event}
    ordered |= event
    try:
        line = _encode(ordered).decode()
    except (TypeError, UnicodeEncodeError):  # a key that is not text, or a lone surrogate
        line = json.dumps(ordered, default=repr, ensure_ascii=False, separators=(",", ":"))
    return printable_json(mask(line))

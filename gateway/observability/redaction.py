"""Masks secrets in rendered lines, in every way in which a secret may be written."""

from __future__ import annotations

import base64
import json
import re
from collections import OrderedDict
from collections.abc import Iterable
from urllib.parse import quote, quote_plus

_MASK = "****"
_MIN_LENGTH = 4  # characters; masking shorter secrets would only garble the log
_MAX_LEARNT = 256
# What looks like a secret is masked even when nobody told us of it.
_LOOKS_SECRET = re.compile(
    r"(?i:bearer)\s+(?!\*\*\*\*)[^\s\"'\\]+"
    r"|eyJ[\w-]{8,}\.[\w-]+\.[\w-]+"
    r"|FT_[\w-]{16,}"
    r"|(?<![\w-])sk-[\w-]{16,}"
)
_SECRET_PREFIXES = ("eyJ", "FT_", "sk-")
_MIN_BASE64_BYTES = 8  # bytes; of shorter ones base64 leaves next to nothing to recognise


class Redactor:
    """Masks known secrets, and what looks like one, in a rendered line.

    secrets: those of the configuration, which are never forgotten.
    """

    def __init__(self, secrets: Iterable[str] = ()) -> None:
        self._lasting = tuple(s for s in secrets if len(s) >= _MIN_LENGTH)
        self._learnt: OrderedDict[str, set[str]] = OrderedDict()
        self._gather()

    def renew(self, secrets: Iterable[str]) -> None:
        """Other settings have come: theirs last, the former ones are like those learnt."""
        former, self._lasting = self._lasting, tuple(s for s in secrets if len(s) >= _MIN_LENGTH)
        for secret in {*former} - {*self._lasting}:
            self.add(secret)
        self._gather()

    def add(self, secret: str) -> None:
        """Mask this from now on; what was learnt long ago is forgotten in the end."""
        if len(secret) < _MIN_LENGTH or secret in self._learnt:
            return
        self._learnt[secret] = written_forms(secret)
        if len(self._learnt) > _MAX_LEARNT:
            self._learnt.popitem(last=False)
        self._gather()

    def _gather(self) -> None:
        # Base64 not of those learnt: there may be hundreds, and each form costs at each line.
        lasting = (written_forms(secret) | base64_forms(secret) for secret in self._lasting)
        known: set[str] = set().union(*lasting, *self._learnt.values())
        self._forms = tuple(sorted(known, key=len, reverse=True))

    def __call__(self, line: str) -> str:
        # No pattern of them all: to compile it takes long, and most lines hold none of them.
        for form in [form for form in self._forms if form in line]:
            line = line.replace(form, _MASK)
        if any(start in line for start in _SECRET_PREFIXES) or "bearer" in line.lower():
            return _LOOKS_SECRET.sub(_MASK, line)
        return line


def written_forms(secret: str) -> set[str]:
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


def base64_forms(secret: str) -> set[str]:
    """What base64 makes of it, whatever stands before and behind it, as in Basic authentication.

    Where it begins in a group of three bytes is not known: there are three forms, without the
    characters that it shares with its neighbours.
    """
    raw = secret.encode("utf-8", "surrogatepass")
    if len(raw) < _MIN_BASE64_BYTES:
        return set()
    return {_after(before, raw) for before in range(3)}


def _after(before: int, raw: bytes) -> str:
    encoded = base64.b64encode(bytes(before) + raw).decode()
    return encoded[-(-before * 8 // 6) : (before + len(raw)) * 8 // 6]

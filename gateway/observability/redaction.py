"""Masks secrets in rendered lines, in all forms in which a secret may be written."""

from __future__ import annotations

import base64
import json
import re
from collections import OrderedDict
from collections.abc import Iterable
from urllib.parse import quote, quote_plus

_MASK = "****"
_MIN_LENGTH = 4  # characters; masking shorter secrets would make the log unreadable
_MAX_LEARNT = 256
# Text that looks like a secret is masked even if it is not known as one.
_LOOKS_SECRET = re.compile(
    r"(?i:bearer)\s+(?!\*\*\*\*)[^\s\"'\\]+"
    r"|eyJ[\w-]{8,}\.[\w-]+\.[\w-]+"
    r"|FT_[\w-]{16,}"
    r"|(?<![\w-])sk-[\w-]{16,}"
)
_SECRET_PREFIXES = ("eyJ", "FT_", "sk-")
_MIN_BASE64_BYTES = 8  # bytes; the base64 of shorter secrets has too few characters to find


class Redactor:
    """Masks known secrets, and text that looks like a secret, in a rendered line.

    secrets: from the configuration; they are never forgotten.
    """

    def __init__(self, secrets: Iterable[str] = ()) -> None:
        self._permanent = tuple(s for s in secrets if len(s) >= _MIN_LENGTH)
        self._learnt: OrderedDict[str, set[str]] = OrderedDict()
        self._collect_forms()

    def renew(self, secrets: Iterable[str]) -> None:
        """Replace the secrets of the configuration; the former ones are kept as learnt ones."""
        former = {*self._permanent}
        self._permanent = tuple(s for s in secrets if len(s) >= _MIN_LENGTH)
        for secret in former - {*self._permanent}:
            self.add(secret)
        self._collect_forms()

    def add(self, secret: str) -> None:
        """Mask a secret from now on. Only the last 256 secrets that were added are known."""
        if len(secret) < _MIN_LENGTH or secret in self._learnt:
            return
        self._learnt[secret] = written_forms(secret)
        if len(self._learnt) > _MAX_LEARNT:
            self._learnt.popitem(last=False)
        self._collect_forms()

    def _collect_forms(self) -> None:
        # No base64 of learnt secrets: there may be hundreds, and each form costs in each line.
        permanent = (written_forms(secret) | base64_forms(secret) for secret in self._permanent)
        known: set[str] = set().union(*permanent, *self._learnt.values())
        self._forms = tuple(sorted(known, key=len, reverse=True))

    def __call__(self, line: str) -> str:
        # No regular expression of all forms: it is slow to compile, and few lines have a secret.
        for form in [form for form in self._forms if form in line]:
            line = line.replace(form, _MASK)
        if any(start in line for start in _SECRET_PREFIXES) or "bearer" in line.lower():
            return _LOOKS_SECRET.sub(_MASK, line)
        return line


def written_forms(secret: str) -> set[str]:
    """Return a secret as it is, as JSON, URLs, Python and logs write it, and each written twice."""
    raw = secret.encode("utf-8", "surrogatepass")
    urls = {quote(raw, safe=""), quote(raw), quote_plus(raw)}
    once = {secret, repr(raw)[2:-1], repr(b"'\"" + raw)[5:-1], *urls, *_written(secret)}
    return once.union(*map(_written, once))


def printable(text: str) -> str:
    """Escape what is not printable, so that a text cannot forge lines or move a cursor."""
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
    """Return the base64 of a secret with any text before and after it, as in Basic authentication.

    The secret may begin at any of the three bytes of a group, so there are three forms. The
    characters that also depend on other text are left out.
    """
    raw = secret.encode("utf-8", "surrogatepass")
    if len(raw) < _MIN_BASE64_BYTES:
        return set()
    return {_base64_after(before, raw) for before in range(3)}


def _base64_after(before: int, raw: bytes) -> str:
    """Return the characters of base64 that depend on `raw` alone, with `before` bytes first."""
    encoded = base64.b64encode(bytes(before) + raw).decode()
    return encoded[-(-before * 8 // 6) : (before + len(raw)) * 8 // 6]

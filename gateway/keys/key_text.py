"""Makes and reads the texts of keys: what a client sends.

A text is `fg-<id>-<secret><check>`, and `fga-...` for the admin API. The id is public. The secret
has 43 characters of base 62, so 256 random bits. The check is the CRC-32 of all before it: a typo
is refused without a search.
"""

from __future__ import annotations

import hashlib
import re
import secrets
import zlib
from dataclasses import dataclass, field
from typing import Final

from gateway.keys.records import KeyKind
from gateway.store.ids import new_id

_DIGITS: Final = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
_SECRET_BYTES: Final = 32
_SECRET_LENGTH: Final = 43
_CHECK_LENGTH: Final = 6
_LAST: Final = 4
_PREFIXES: Final[dict[KeyKind, str]] = {"api": "fg", "admin": "fga"}
_KINDS: Final[dict[str, KeyKind]] = {prefix: kind for kind, prefix in _PREFIXES.items()}
_SHAPE: Final = re.compile(
    rf"(fga?)-([a-z2-7]{{12}})-[0-9A-Za-z]{{{_SECRET_LENGTH}}}([0-9A-Za-z]{{{_CHECK_LENGTH}}})"
)


@dataclass(frozen=True, slots=True)
class IssuedText:
    """Holds the text of a new key. It is shown once, and nothing of it but `sha256` is kept.

    id: of the key. sha256: the digest of the whole text. last4: its last characters.
    """

    id: str
    text: str = field(repr=False)
    sha256: bytes
    last4: str


@dataclass(frozen=True, slots=True)
class ParsedKeyText:
    """Holds what a text says of itself; whether its secret is right is another question.

    sha256: the digest of the whole text.
    """

    kind: KeyKind
    id: str
    sha256: bytes = field(repr=False)


def new_key_text(kind: KeyKind, key_id: str | None = None) -> IssuedText:
    """Return a text with a new secret. key_id: of a key that gets another one; a new id if None."""
    key_id = key_id or new_id()
    secret = _base62(int.from_bytes(secrets.token_bytes(_SECRET_BYTES), "big"), _SECRET_LENGTH)
    body = f"{_PREFIXES[kind]}-{key_id}-{secret}"
    text = body + _check_of(body)
    return IssuedText(key_id, text, _digest_of(text), text[-_LAST:])


def parse_key_text(text: str) -> ParsedKeyText | None:
    """Return the parts of a text, or None if it has not the shape of a key, or a typo in it."""
    shape = _SHAPE.fullmatch(text)
    if shape is None or shape[3] != _check_of(text[:-_CHECK_LENGTH]):
        return None
    return ParsedKeyText(_KINDS[shape[1]], shape[2], _digest_of(text))


def _check_of(body: str) -> str:
    return _base62(zlib.crc32(body.encode()), _CHECK_LENGTH)


def _digest_of(text: str) -> bytes:
    return hashlib.sha256(text.encode("utf-8", "surrogateescape")).digest()


def _base62(number: int, length: int) -> str:
    digits = []
    for _ in range(length):
        number, digit = divmod(number, len(_DIGITS))
        digits.append(_DIGITS[digit])
    return "".join(reversed(digits))

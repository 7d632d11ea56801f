"""Identifies prompts, so that the failures of one prompt are told from those of an account."""

from __future__ import annotations

import hashlib


class PromptDigest:
    """Calculates the digest of a prompt when it is first read; most requests never need it.

    key: secret, at most 64 bytes. Without it, nobody can tell which prompt a digest is of.
    """

    __slots__ = ("_key", "_text", "_value")

    def __init__(self, text: str, key: bytes) -> None:
        self._text = text
        self._key = key
        self._value: bytes | None = None

    @property
    def value(self) -> bytes:
        """Return the digest, 8 bytes."""
        if self._value is None:
            data = self._text.encode("utf-8", "surrogatepass")
            self._value = hashlib.blake2b(data, digest_size=8, key=self._key).digest()
        return self._value


class KnownDigest:
    """Holds a digest that another process has computed."""

    __slots__ = ("value",)

    def __init__(self, value: bytes) -> None:
        self.value = value


Digest = PromptDigest | KnownDigest

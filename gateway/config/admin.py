"""Defines the settings of the admin API: where it listens, and its keys."""

from __future__ import annotations

import hashlib
import ipaddress
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, Literal
from urllib.parse import urlsplit

from gateway.middleware import MiddlewareEntry
from gateway.options import Distinct, HttpUrl, Secret

_HASHED = re.compile(r"sha256:[0-9a-fA-F]{64}")
_SHORTEST = 16  # characters
_ADVICE = "make one with: openssl rand -hex 24"


class _AdminKeyFormat:
    """Requires a key that nobody can guess, or `sha256:` with a key's digest."""

    def fault(self, value: Secret) -> str | None:
        """Return what is wrong with a value, or None. The key is not shown."""
        key = value.value
        if key.startswith("sha256:"):
            if not _HASHED.fullmatch(key) or len(set(key[7:].lower())) == 1:
                return "sha256: must be followed by the 64 hexadecimal digits of the key's digest"
            return None
        if not key.isascii() or not key.isprintable() or " " in key:
            return "has a blank or a character beyond ASCII, which no client can send"
        if len(key) < _SHORTEST or len(set(key)) < _SHORTEST // 2:
            return f"is too short or too simple for the key of an admin; {_ADVICE}"
        return None


class _ListenAddress:
    """Requires an address and a port, such as 127.0.0.1:5001 or [::1]:5001."""

    def fault(self, value: str) -> str | None:
        """Return what is wrong with a value, or None."""
        if split_address(value) is None:
            return "expected an address and a port, such as 127.0.0.1:5001 or '[::1]:5001'"
        return None


@dataclass(frozen=True, slots=True)
class AdminKeySettings:
    """Describes a key of the admin API. What it may do is its role; logs show its name."""

    name: str
    key: Annotated[Secret, _AdminKeyFormat()]
    role: Literal["admin", "viewer", "metrics"] = "admin"

    @property
    def digest(self) -> bytes:
        """Return the SHA-256 of the key."""
        return _digest_of(self.key.value)


AdminKeys = Annotated[
    tuple[AdminKeySettings, ...], Distinct("admin key", "name", may_be_empty=True)
]


@dataclass(frozen=True, slots=True)
class AdminSettings:
    """Sets how the admin API is reached.

    listen: the address and port; None for no TCP listener.
    keys: admin keys besides those that the command line makes.
    base_url: the address in a browser, when a proxy with TLS is in front.
    insecure: whether it may listen beyond loopback without TLS.
    socket: the path of the UNIX socket; None for the runtime directory or the state folder.
    """

    listen: Annotated[str, _ListenAddress()] | None = None
    keys: AdminKeys = ()
    base_url: Annotated[str, HttpUrl()] | None = None
    insecure: bool = False
    socket: str | None = None

    @property
    def address(self) -> tuple[str, int] | None:
        """Return host and port of the TCP listener; None for none."""
        return None if self.listen is None else split_address(self.listen)


def split_address(text: str) -> tuple[str, int] | None:
    """Return host and port of a text such as `[::1]:5001`; None if it is none."""
    if text != text.strip() or "/" in text or "@" in text:
        return None
    try:
        parts = urlsplit(f"//{text}")
        host, port = parts.hostname, parts.port
    except ValueError:
        return None
    if not host or port is None or parts.netloc != text or (":" in host and "[" not in text):
        return None
    return host, port


def exposed_admin(settings: AdminSettings) -> str | None:
    """Return why the admin API must not listen on its address; None when it may."""
    address = settings.address
    if address is None or settings.insecure or _is_loopback(address[0]):
        return None
    if settings.base_url is not None and settings.base_url.startswith("https:"):
        return None
    return (
        f"{address[0]} can be reached from other machines, and admin keys would cross the network "
        "unencrypted. Listen on 127.0.0.1 and use ssh -L, or put a proxy with TLS in front and "
        "set admin.base_url to its https address, or set admin.insecure: true"
    )


def shared_keys(settings: AdminSettings, chain: Sequence[MiddlewareEntry]) -> dict[str, str]:
    """Return which admin keys open something else too, by their path.

    That is another admin key, or one of a middleware: an item of its options with a secret `key`.
    """
    faults: dict[str, str] = {}
    others = set(_digests(chain))
    for index, key in enumerate(settings.keys):
        if key.digest in others:
            faults[f"admin.keys[{index}].key"] = (
                f"is used for something else too; an admin key opens nothing else. {_ADVICE}"
            )
        others.add(key.digest)
    return faults


def _digests(chain: Sequence[MiddlewareEntry]) -> Iterator[bytes]:
    for entry in chain:
        for value in entry.options.values():
            items: Sequence[Any] = value if isinstance(value, (list, tuple)) else ()
            for item in items:
                key = getattr(item, "key", None)
                if isinstance(key, Secret):
                    yield _digest_of(key.value)


def _digest_of(key: str) -> bytes:
    if _HASHED.fullmatch(key):
        return bytes.fromhex(key.removeprefix("sha256:"))
    return hashlib.sha256(key.encode()).digest()


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"

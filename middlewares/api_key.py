"""Admits only requests that have one of the team's API keys."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import hmac
import re
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Literal

import structlog
from aiohttp import web

from gateway import (
    KEY_DIRECTORY,
    PATH_KEY,
    WINDOWS,
    GatewayError,
    Handler,
    KeyBlocked,
    KeyExpired,
    LimitOptions,
    Principal,
    RateLimited,
    Secret,
    Unauthorized,
    Window,
    address_group,
    client_address,
    parse_key_text,
    set_principal,
)

_log = structlog.get_logger("api_key")

_HASHED = re.compile(r"sha256:[0-9a-fA-F]{64}")
_SHORTEST = 16  # characters; a shorter key is warned of
_ADVICE = "make one with: openssl rand -hex 24"
# Keys of examples, and the first ones that are tried, each also after two letters and a dash.
# docs/middlewares.md has the same list.
WELL_KNOWN_KEYS = frozenset(
    (
        *("fg-demo-key", "changeme", "change-me", "change_me", "secret", "password", "test"),
        *("testing", "key", "mykey", "my-key", "api-key", "api_key", "apikey", "default"),
        *("example", "demo", "admin", "none", "null", "token", "dummy", "empty", "placeholder"),
        *("anything", "1234", "123456", "12345678", "123456789", "no-key-required"),
    )
)
_LETTERS = re.compile(r"[a-z]{2}-")  # OpenAI's keys begin so
_PLACEHOLDER = re.compile(r"(.)\1*|<.*>|your[\w-]*key", re.DOTALL)
_WELL_KNOWN_DIGESTS = frozenset(
    hashlib.sha256(key.encode()).hexdigest()
    for known in (*WELL_KNOWN_KEYS, "")
    for key in (known, "-".join(("sk", known)))
)


class _KeyFormat:
    """Requires a key that can be sent and is not public, or `sha256:` with a key's digest."""

    def fault(self, value: Secret) -> str | None:
        key = value.value
        if key.startswith("sha256:"):
            if not _HASHED.fullmatch(key):
                return "sha256: must be followed by the 64 hexadecimal digits of the key's digest"
            digest = key.removeprefix("sha256:").lower()
            if digest in _WELL_KNOWN_DIGESTS or len(set(digest)) == 1:
                return f"is the digest of a well-known key, or an example; {_ADVICE}"
            return None
        if key != key.strip():
            return "has a blank or a line end before or after it, which no client can send"
        if any(c.isspace() or not c.isprintable() for c in key):
            return "has a blank or a control character in it, which no client can send"
        small = key.lower()
        forms = (small, _LETTERS.sub("", small, count=1))
        if any(form in WELL_KNOWN_KEYS or _PLACEHOLDER.fullmatch(form) for form in forms):
            return f"is a placeholder or a well-known key, which others can guess; {_ADVICE}"
        return None

    def warning(self, value: Secret) -> str | None:
        """Return why a key that works is no good key, or None."""
        key = value.value
        if not key.isascii():
            return "has characters beyond ASCII, which many clients cannot send"
        if len(key) < _SHORTEST:
            return f"has only {len(key)} characters, so it can be guessed; {_ADVICE}"
        return None


@dataclass(frozen=True, slots=True)
class Key(LimitOptions):
    """Describes a key, its limits and what it may be used for; logs show its name.

    team: the team whose limits hold too.
    models: those that it may use; all without the option, none if it is empty.
    routes: those that it may be used for; all without the option, none if it is empty.
    record: whether answers to it may be kept in files when they could not be read.
    path: whether it may stand in the path of a URL, where proxies log it.
    """

    name: str
    key: Annotated[Secret, _KeyFormat()]
    team: str | None = None
    models: list[str] | None = None
    routes: list[Literal["chat", "completion", "fim", "infill"]] | None = None
    record: bool = False
    path: bool = False


class _DistinctKeys:
    """Requires that a key has one name, and a name one team, the same limits and lists.

    Otherwise a key would not tell who sends a request, or a name what is allowed. An item
    without them may stand beside one that has them: it is a new key for the same name.
    """

    def fault(self, _: list[Key]) -> str | None:
        return None

    def item_faults(self, keys: list[Key]) -> dict[str, str]:
        """Return what is wrong with each item, by its path in the list."""
        digests = [_digest_of(key.key.value) for key in keys]
        faults = {
            f"[{i}].name": f"has a team, limits, models or routes other than keys[{j}], which "
            "has the same name"
            for i, key in enumerate(keys)
            for j, other in enumerate(keys[:i])
            if key.name == other.name and _differ(key, other)
        }
        return faults | {
            f"[{i}].key": f"is also the key of keys[{j}], which has another name"
            for i, digest in enumerate(digests)
            for j, other in enumerate(digests)
            if digest == other and keys[i].name != keys[j].name
        }


class api_key:
    """Checks the key in `Authorization: Bearer`, `x-api-key`, `api-key` or `Authorization: Basic`.

    It also knows the keys that are made at run time. Without any key it admits nobody, so it
    authenticates with every list.
    OPTIONS needs no key: browsers send it before they may send a key. A right key is admitted
    from every address, however many wrong ones came from there.

    keys: the keys that are admitted; `key` is the key itself, or `sha256:` and its digest. With
        `record: true`, answers that could not be read may be kept (`tools.recorder`). With
        `path: true` the key is also taken from the URLs `/k/<key>/api/...` of Ollama's dialect.
        An item may have limits, the name of a `team`, and the lists `models` and `routes`.
    """

    authenticates = True

    def __init__(self, *, keys: Annotated[list[Key], _DistinctKeys()]) -> None:
        # Keys of one name are one principal: a key can be replaced while the old one still works.
        recorded = {key.name for key in keys if key.record}
        limits: dict[str, dict[str, int]] = {}
        teams: dict[str, str | None] = {}
        models: dict[str, frozenset[str]] = {}
        routes: dict[str, frozenset[str]] = {}
        for key in keys:
            limits[key.name] = limits.get(key.name) or key.by_name()
            teams[key.name] = teams.get(key.name) or key.team
            if key.models is not None:
                models[key.name] = frozenset(key.models)
            if key.routes is not None:
                routes[key.name] = frozenset(key.routes)
        principals = {
            name: Principal(
                id=name,
                name=name,
                team=teams[name],
                limits=limits[name],
                models=models.get(name),
                routes=routes.get(name),
                record=name in recorded,
                source="config",
            )
            for name in limits
        }
        self._wrong_keys = _WrongKeys()
        self._keys = [(principals[key.name], _digest_of(key.key.value)) for key in keys]
        self._path_keys = [
            (principals[key.name], _digest_of(key.key.value)) for key in keys if key.path
        ]

    async def __call__(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        if request.method == "OPTIONS":
            # Harmless: it only returns the allowed methods (RFC 9110, 9.3.7).
            return await handler(request)
        keys, in_path = self._keys, request.get(PATH_KEY)
        if in_path is not None:
            given, keys = in_path, self._path_keys
        else:
            given = _key_of(request)
        if not given:
            raise Unauthorized(
                "You didn't provide an API key. Send it as 'Authorization: Bearer YOUR_KEY'."
            )
        principal = _principal_of(given, keys)
        if principal is None:
            principal = await self._made_at_run_time(request, given, in_path is not None)
        set_principal(request, principal)
        return await handler(request)

    async def _made_at_run_time(self, request: web.Request, given: str, in_path: bool) -> Principal:
        """Return whose key a text is that is none of `keys`, or raise the error for it."""
        if in_path and _principal_of(given, self._keys) is not None:
            raise Unauthorized(
                "This key must be sent in a header. 'path: true' in the configuration of "
                "api_key lets it stand in a URL."
            )
        directory, now = request.app[KEY_DIRECTORY], time.time_ns() // 1_000_000
        try:
            principal = directory.identify(given, "api", now)
        except (KeyBlocked, KeyExpired) as error:
            # It is known who it is: log and ledger say whose request was refused.
            known = directory.principal(error.key_id, now)
            if known is not None:
                set_principal(request, known)
            raise
        except Unauthorized as error:
            raise await self._wrong_keys.counted(request, error) from None
        if in_path:
            raise Unauthorized("This key must be sent in a header; it may not stand in a URL.")
        return principal

    def is_key(self, text: str) -> bool:
        """Return whether a text is one of the keys; other middlewares must not log it then."""
        return _principal_of(text, self._keys) is not None or parse_key_text(text) is not None


def _principal_of(given: str, keys: Sequence[tuple[Principal, bytes]]) -> Principal | None:
    """Return the principal of a key, or None. It compares all keys, each in constant time."""
    digest = hashlib.sha256(given.encode("utf-8", "surrogateescape")).digest()
    found = None
    for principal, known in keys:
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

    async def counted(self, request: web.Request, error: Unauthorized) -> GatewayError:
        """Return the error for a wrong key, or 429 when too many came from an address."""
        address = address_group(client_address(request))
        admission = await request.app[WINDOWS].admit("wrong keys", address, self._WINDOW)
        if admission.admitted:
            return error
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


def _differ(key: Key, other: Key) -> bool:
    """Return whether two items of one name contradict each other."""
    limits = key.by_name() or None, other.by_name() or None
    pairs = (limits, (key.team, other.team), (key.models, other.models))
    return any(
        None not in pair and pair[0] != pair[1] for pair in (*pairs, (key.routes, other.routes))
    )


def _digest_of(key: str) -> bytes:
    if key.startswith("sha256:"):
        return bytes.fromhex(key.removeprefix("sha256:"))
    return hashlib.sha256(key.encode()).digest()


def _key_of(request: web.Request) -> str:
    scheme, _, token = request.headers.get("Authorization", "").partition(" ")
    if (scheme == "Bearer" or scheme.lower() == "bearer") and (token := token.strip()):
        return token
    given = request.headers.get("x-api-key") or request.headers.get("api-key")
    return given or (_password(token) if scheme.lower() == "basic" else "")


def _password(credentials: str) -> str:
    """Return the password of `Basic` credentials (RFC 7617); the name before it is ignored.

    Clients send them for a URL such as `http://any:KEY@host`.
    """
    try:
        decoded = base64.b64decode(credentials.strip(), validate=True).decode()
    except ValueError:  # neither base64 nor UTF-8
        return ""
    return decoded.partition(":")[2]

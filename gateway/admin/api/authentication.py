"""Decides who sent a request to the admin API, and with which role.

There is one check for every route. The ways in are an admin key, a browser's session, and the
UNIX socket for root and the gateway's own user. Nobody comes in without one of them.
"""

from __future__ import annotations

import hashlib
import hmac
import time
from collections.abc import Callable
from typing import Final, Protocol

import structlog
from aiohttp import web

from gateway.admin.api.call import AdminCaller
from gateway.admin.api.errors import Forbidden, NoAdminKey, WrongHost
from gateway.admin.api.origin import is_own_host, is_own_site
from gateway.admin.api.peer import is_unix_socket, local_actor
from gateway.admin.api.throttle import LoginThrottle
from gateway.config.settings import Config
from gateway.errors import GatewayError, RateLimited, Unauthorized
from gateway.keys.directory import KeyDirectory
from gateway.keys.records import Role
from gateway.trusted_proxies import TrustedProxies

_log = structlog.get_logger("admin")

# One text for unknown, wrong and expired keys: it tells nothing about a key.
_REFUSED: Final = "This is no valid admin key."
_NOBODY: Final = "Send an admin key as 'Authorization: Bearer ADMIN_KEY'."
_RANK: Final[dict[Role, int]] = {"metrics": 0, "viewer": 1, "admin": 2}


class SessionCheck(Protocol):
    """Finds the browser's session of a cookie."""

    async def caller_of(
        self, request: web.Request, address: str, *, renew: bool
    ) -> AdminCaller | None:
        """Return who a request's cookie stands for; None without a cookie. Raises Unauthorized.

        renew: whether the request has just come, so that the session lasts longer.
        """
        ...


class AdminAuthentication:
    """Decides who may use the admin API; `configure` applies the settings of a reload.

    directory: the keys of the store, which a change replaces as a whole.
    clock: returns a monotonic time in seconds. now: returns milliseconds since 1970.
    """

    def __init__(
        self,
        config: Config,
        directory: KeyDirectory,
        *,
        clock: Callable[[], float] = time.monotonic,
        now: Callable[[], int] = lambda: time.time_ns() // 1_000_000,
    ) -> None:
        self._directory = directory
        self._now = now
        self._throttle = LoginThrottle(clock)
        self.configure(config)

    def configure(self, config: Config) -> None:
        """Apply the keys, the address and the proxies of the settings."""
        self._base_url = config.admin.base_url
        self._proxies = TrustedProxies(config.server.trusted_proxies)
        self._keys = [(key.digest, key.name, key.role) for key in config.admin.keys]

    @property
    def base_url(self) -> str | None:
        """Return the address under which browsers reach the admin API, if it is configured."""
        return self._base_url

    async def identify(
        self,
        request: web.Request,
        sessions: SessionCheck,
        *,
        anonymous: bool = False,
        renew: bool = True,
    ) -> AdminCaller:
        """Return who sent a request.

        anonymous: whether the route is for everybody, as the one that begins a session.
        renew: whether the request has just come; False for a check while its answer lasts.
        Raises WrongHost, NoAdminKey, Unauthorized, RateLimited after too many wrong keys,
        KeyBlocked, and Forbidden for what another site makes a browser send.
        """
        local = is_unix_socket(request)
        if not local and not is_own_host(request.headers.get("Host"), self._base_url):
            raise WrongHost(
                "The Host of this request is not this admin API. Set admin.base_url to the "
                "address that you use, or use the address of the machine."
            )
        if anonymous:
            return AdminCaller("", "metrics", self.address_of(request))
        key = _bearer(request)
        if key is not None:
            return self.caller_with_key(key, self.address_of(request))
        if local:
            actor = local_actor(request)
            if actor is None:
                raise Unauthorized(_NOBODY)
            return AdminCaller(actor, "admin", "")
        caller = await sessions.caller_of(request, self.address_of(request), renew=renew)
        if caller is not None:
            if request.method not in ("GET", "HEAD") and not self.is_own_site(request):
                raise Forbidden(
                    "This request with the cookie of a session does not come from the gateway's "
                    "own page. Programs send 'Authorization: Bearer ADMIN_KEY' instead.",
                    code="cross_site",
                )
            return caller
        if not self._has_keys():
            raise NoAdminKey(
                "There is no admin key yet. Make one on the machine of the gateway: "
                "fitten-gateway admin-keys add NAME"
            )
        raise Unauthorized(_NOBODY)

    def caller_with_key(self, text: str, address: str) -> AdminCaller:
        """Return whose admin key a text is. Raises as `identify` does.

        A right key passes from every address, however many wrong ones came from there.
        """
        digest = hashlib.sha256(text.encode("utf-8", "surrogateescape")).digest()
        found: AdminCaller | None = None
        for known, name, role in self._keys:
            if hmac.compare_digest(digest, known):
                found = AdminCaller(name, role, address, key_mark=_mark_of(known))
        if found is not None:
            return found
        try:
            key_id = self._directory.identify(text, "admin", self._now()).key_id
        except Unauthorized:
            raise self._wrong_key(address) from None
        return self._stored(key_id, address)

    def caller_with_id(self, key_id: str, address: str) -> AdminCaller:
        """Return who has an admin key of the store, for a session that was made with it.

        Raises Unauthorized and KeyBlocked, as if the key itself were sent.
        """
        try:
            self._directory.admit(key_id, self._now())
        except Unauthorized:
            raise Unauthorized(_REFUSED) from None
        return self._stored(key_id, address)

    def caller_in_config(self, name: str, key_mark: str, address: str) -> AdminCaller:
        """Return who has an admin key of config.yaml, for a session that was made with it.

        Raises Unauthorized if that key is not in the settings any more.
        """
        for known, of, role in self._keys:
            if of == name and hmac.compare_digest(_mark_of(known), key_mark):
                return AdminCaller(name, role, address, key_mark=key_mark)
        raise Unauthorized(_REFUSED)

    def is_own_site(self, request: web.Request) -> bool:
        """Return whether a browser's request comes from the gateway's own page."""
        return is_own_site(request.headers, self._base_url)

    def address_of(self, request: web.BaseRequest) -> str:
        """Return the address of the client, also behind the trusted proxies."""
        forwarded = request.headers.getall("X-Forwarded-For", ())
        return self._proxies.client_of(request.remote, forwarded)

    def _stored(self, key_id: str, address: str) -> AdminCaller:
        record = self._directory.key(key_id)
        if record is None or record.role is None:
            raise Unauthorized(_REFUSED)
        return AdminCaller(record.name, record.role, address, key_id=key_id)

    def _has_keys(self) -> bool:
        return bool(self._keys) or any(key.kind == "admin" for key in self._directory.table.keys)

    def _wrong_key(self, address: str) -> GatewayError:
        wait = self._throttle.failed(address)
        if not wait:
            return Unauthorized(_REFUSED)
        _log.warning("admin_keys_refused", address=address, wait=round(wait))
        return RateLimited(
            "Too many wrong admin keys came from this address.",
            code="rate_limit_exceeded",
            retry_after=wait,
        )


def check_role(caller: AdminCaller, role: Role | None) -> None:
    """Check that a caller has a role or a higher one. Raises Forbidden."""
    if role is not None and _RANK[caller.role] < _RANK[role]:
        raise Forbidden(f"This needs the role '{role}', and this key has '{caller.role}'.")


def _mark_of(digest: bytes) -> str:
    return hashlib.sha256(digest).hexdigest()[:16]


def _bearer(request: web.Request) -> str | None:
    """Return the key of `Authorization: Bearer`; None without the header."""
    given = request.headers.get("Authorization")
    if given is None:
        return None
    scheme, _, key = given.partition(" ")
    # Another scheme is a wrong key: it must not fall back to the cookie.
    return key.strip() if scheme.lower() == "bearer" else ""

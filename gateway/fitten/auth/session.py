"""Keeps the session of one account: login, refresh before expiry, tokens stored on disk."""

from __future__ import annotations

import asyncio
import base64
import logging
import math
import random
import re
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import msgspec
import structlog

from gateway.config.settings import AccountSettings
from gateway.errors import (
    AccountRefused,
    GatewayError,
    Unavailable,
    UpstreamError,
    UpstreamUnauthorized,
)
from gateway.fitten.auth.reauthenticate import Renewal, session_refused_error
from gateway.fitten.auth.token_saver import TokenSaver
from gateway.fitten.client import FittenClient
from gateway.store.token_file import TokenFile, Tokens

_log = structlog.get_logger("session")

_RENEW_BEFORE = 60.0  # seconds before expiry at which a token is renewed (protocol 3.4)
_REFUSED_PAUSE = 30.0  # seconds: the shortest pause after refused credentials
_NOT_A_TOKEN = "Not expired"  # trap 13: stands in place of a token, means "keep the old one"
_DURATION = re.compile(
    r"P(?:(\d{1,6})D)?(?:T(?:(\d{1,6})H)?(?:(\d{1,6})M)?(?:(\d{1,9})S)?)?", re.ASCII
)


@dataclass(frozen=True, slots=True)
class SessionPause:
    """Describes a pause: no try before `until` (monotonic seconds), because of `reason`."""

    reason: GatewayError
    until: float


class FittenSession:
    """Provides valid tokens of one account: those in memory, else a refresh, else a login.

    At most one login or refresh runs at a time, and all requests that need it wait for it.
    A request that is cancelled does not cancel it for the others.

    After a failure further tries pause. The pause grows with each failure: from a second to a
    minute for temporary faults, or as long as a 429 says. For refused credentials it grows from
    half a minute to an hour, because too many refused logins can lock an account.

    on_secret: called with each token and user id, so that the log can mask them.
    """

    def __init__(
        self,
        client: FittenClient,
        account: AccountSettings,
        file: TokenFile,
        *,
        on_secret: Callable[[str], None] = lambda _: None,
    ) -> None:
        self._client = client
        self._account = account
        self._file = file
        self._on_secret = on_secret
        self._tokens: Tokens | None = None
        self._renewal: asyncio.Task[Tokens] | None = None
        self._saver = TokenSaver(file)
        self._pause: SessionPause | None = None
        self._failures = 0

    async def start(self) -> None:
        """Load the stored tokens of the last run, unless newer ones are known."""
        if self._tokens is not None:
            return
        stored = await asyncio.to_thread(self._file.load)
        if stored is not None:
            self._adopt(stored)

    async def close(self) -> None:
        """Cancel a renewal that is in progress, and stop trying to save tokens."""
        if self._renewal is not None:
            self._renewal.cancel()
            await asyncio.gather(self._renewal, return_exceptions=True)
        await self._saver.close()

    @property
    def ready(self) -> bool:
        """Return whether a request could be sent now."""
        if self._tokens is None:
            return False
        expires = self._tokens.expires_at
        return self._pause is None or expires is None or expires > time.time()

    @property
    def fault(self) -> GatewayError | None:
        """Return why the last try to get tokens failed; None if it did not fail."""
        return self._pause.reason if self._pause else None

    @property
    def next_try(self) -> float:
        """Return the seconds until tokens may be renewed; 0 when they may now."""
        return max(0.0, self._pause.until - time.monotonic()) if self._pause else 0.0

    def blocked(self) -> float:
        """Return the seconds until a request may use this session.

        `inf` when the credentials were refused: only the background refresh tries such a
        login again, so that no request has to wait for it.
        """
        if self._pause is None or self.ready:
            return 0.0
        return math.inf if isinstance(self._pause.reason, AccountRefused) else self.next_try

    @property
    def expires_at(self) -> float | None:
        """Return when the tokens expire, in seconds since 1970; None if that is not known."""
        return None if self._tokens is None else self._tokens.expires_at

    @property
    def name(self) -> str:
        """Return the name of the account."""
        return self._account.username

    def copy_state(self, former: FittenSession) -> None:
        """Copy the tokens and the pause of another session of this account.

        Does nothing when the password is not the same.
        """
        if former._account.password == self._account.password:
            self._tokens = former._tokens
            self._pause, self._failures = former._pause, former._failures

    def current_tokens(self) -> Tokens | None:
        """Return the tokens in memory; None when they have expired or there are none.

        If they expire soon, their renewal is started. The old ones stay valid until it is done.
        """
        tokens = self._tokens
        if tokens is not None and tokens.expires_at is not None:
            left = tokens.expires_at - time.time()
            if left <= 0:
                return None
            if left <= _RENEW_BEFORE and self._renewal is None and not self._paused():
                self._start_renewal("ahead")
        return tokens

    async def tokens(self) -> Tokens:
        """Return tokens to use now. Raises a GatewayError when none can be obtained."""
        return self.current_tokens() or await self._renew("refresh")

    async def log_in(self) -> None:
        """Make a new login now, whatever is known and also during a pause of the tries.

        A renewal that is in progress ends first. Raises a GatewayError when the login fails.
        """
        while self._renewal is not None:
            await asyncio.wait([self._renewal])
        renewal = self._start_renewal("login")
        await asyncio.wait([renewal])
        if renewal.cancelled():  # a reload has closed this session
            raise Unavailable("The login was not finished, since other settings came; try again.")
        renewal.result()

    async def replace(self, rejected: Tokens, way: Renewal) -> Tokens:
        """Return other tokens than `rejected`, which Fitten refused; see `TokenSource`."""
        if self._tokens is not None and self._tokens != rejected:
            return self._tokens  # another request was refused first and has renewed them
        if self._renewal is not None:
            renewed = await asyncio.shield(self._renewal)
            if renewed != rejected:
                return renewed
        return await self._renew(way)

    def refused(self) -> GatewayError:
        """Record that even the tokens of a new login were refused; return the error.

        Renewals pause for a while. The tokens stay in use, since the cause may be the request.
        """
        error = session_refused_error()
        self._pause_after(error, _REFUSED_PAUSE)
        return error

    def _paused(self) -> bool:
        return self._pause is not None and time.monotonic() < self._pause.until

    async def _renew(self, way: Renewal) -> Tokens:
        """Return new tokens, by the renewal in progress if there is one."""
        if self._pause is not None and self._paused():
            raise _with_wait(self._pause)
        # Shielded: a request that is cancelled must not cancel the renewal for the others.
        return await asyncio.shield(self._renewal or self._start_renewal(way))

    def _start_renewal(self, way: Renewal) -> asyncio.Task[Tokens]:
        self._renewal = asyncio.create_task(self._run_renewal(way))
        self._renewal.add_done_callback(_retrieve_exception)
        return self._renewal

    async def _run_renewal(self, way: Renewal) -> Tokens:
        try:
            tokens = await self._obtain(way)
        except GatewayError as error:
            raise self._record_failure(error) from None
        finally:
            # Here and not in a callback: a later request must not wait for this one.
            self._renewal = None
        self._failures = 0
        self._pause = None
        self._adopt(tokens)
        await self._saver.save(tokens)
        return tokens

    async def _obtain(self, way: Renewal) -> Tokens:
        """Return new tokens, by a refresh if `way` allows it, else by a login."""
        if way != "login" and self._tokens is not None:
            try:
                if refreshed := await self._refresh(self._tokens):
                    _log.info("session_refreshed", account=self._account.username)
                    return refreshed
            except GatewayError as error:
                if way == "ahead" and error.retryable:
                    raise  # the old tokens are still valid: there is time to try again
                _log.info(
                    "session_not_refreshed", account=self._account.username, **error.log_fields()
                )
        tokens = _tokens_of_login(
            await self._client.login(self._account.username, self._account.password.value)
        )
        _log.info("session_logged_in", account=self._account.username)
        return tokens

    async def _refresh(self, old: Tokens) -> Tokens | None:
        """Return renewed tokens, or None when Fitten sends none."""
        answer = await self._client.refresh_access_token(old.refresh_token)
        access = _token(answer, "access_token")
        if access is None:
            return None
        return Tokens(
            user_id=old.user_id,
            access_token=access,
            refresh_token=_token(answer, "refresh_token") or old.refresh_token,
            expires_at=_expiry(access, answer.get("access_token_expires")),
        )

    def _adopt(self, tokens: Tokens) -> None:
        for secret in (tokens.access_token, tokens.refresh_token, tokens.user_id):
            self._on_secret(secret)
        self._tokens = tokens

    def _record_failure(self, error: GatewayError) -> GatewayError:
        """Pause further tries; return the error for the requests that wait."""
        refused = isinstance(error, UpstreamUnauthorized)
        if refused:
            self._tokens = None
            refusal = AccountRefused(
                "Fitten refuses the gateway's user name or password. Only the operator of "
                "this gateway can help: an entry of fitten.accounts in its configuration is "
                "wrong, or the account is locked. The log says which.",
            )
            error = refusal.because_of(error)
        shortest, longest = (_REFUSED_PAUSE, 3600.0) if refused else (1.0, 60.0)
        seconds = shortest * 2.0 ** min(self._failures, 16) * random.uniform(1.0, 1.2)
        self._pause_after(error, max(min(seconds, longest), error.retry_after or 0.0))
        self._failures += 1
        return error

    def _pause_after(self, error: GatewayError, seconds: float) -> None:
        self._pause = SessionPause(error, time.monotonic() + seconds)
        _log.log(
            logging.WARNING if error.retryable else logging.ERROR,
            "session_failed" if error.retryable else "session_credentials_refused",
            account=self._account.username,
            **error.log_fields(),
            next_try_in=round(seconds, 1),
        )


def _retrieve_exception(task: asyncio.Task[Tokens]) -> None:
    """Keep asyncio from reporting an error that is logged already, if no request waits for it."""
    if not task.cancelled():
        task.exception()


def _with_wait(pause: SessionPause) -> GatewayError:
    """Return a copy of the error of the last try, with the seconds until the next one."""
    error = pause.reason
    repeated = type(error)(error.message, code=error.code, retryable=error.retryable)
    repeated.because_of(error)
    repeated.retry_after = math.ceil(max(1.0, pause.until - time.monotonic()))
    return repeated


def _tokens_of_login(answer: dict[str, Any]) -> Tokens:
    """Return the tokens of a login's answer. Raises UpstreamError if some are missing."""
    user = answer.get("user_info")
    access, refresh = _token(answer, "access_token"), _token(answer, "refresh_token")
    user_id = user.get("user_id") if isinstance(user, dict) else None
    if not (access and refresh and isinstance(user_id, str) and user_id):
        raise UpstreamError(
            "Fitten's answer to the login lacks a token or the user's id.",
            code="upstream_invalid_response",
        )
    return Tokens(user_id, access, refresh, _expiry(access, answer.get("access_token_expires")))


def _token(answer: dict[str, Any], name: str) -> str | None:
    """Return a token of an answer that can stand in a header; None when there is none."""
    value = answer.get(name)
    usable = isinstance(value, str) and value.isascii() and value.isprintable()
    return value if usable and value not in ("", _NOT_A_TOKEN) else None


def _expiry(token: str, duration: object) -> float | None:
    """Return when a token just received expires, in wall-clock seconds; None when unknown.

    token: a JWT, perhaps. duration: an ISO 8601 duration, used if the JWT has no expiry.
    A token that seems to have expired already is used all the same, as one of unknown expiry:
    the clocks differ (trap 15), and Fitten answers 401 if it has really expired.
    """
    expires = _jwt_expiry(token)
    if expires is None and isinstance(duration, str) and (m := _DURATION.fullmatch(duration)):
        days, hours, minutes, seconds = (int(part or 0) for part in m.groups())
        expires = time.time() + ((days * 24 + hours) * 60 + minutes) * 60 + seconds
    return expires if expires is not None and expires > time.time() + _RENEW_BEFORE else None


def _jwt_expiry(token: str) -> float | None:
    """Return `exp` of a JWT; None if there is none. The signature is not checked."""
    try:
        payload = token.split(".")[1]
        claims = msgspec.json.decode(base64.urlsafe_b64decode(payload + "=" * (-len(payload) % 4)))
        return float(claims["exp"])
    except (IndexError, KeyError, TypeError, ValueError, OverflowError, RecursionError):
        return None

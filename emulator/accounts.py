"""Defines accounts, the ways in which they can fail, and the tokens issued for them."""

from __future__ import annotations

import time
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any, Literal

from emulator.tokens import BAD_SIGNATURE, EXPIRED, EmulatorClock, TokenRefused, TokenSigner

TokenKind = Literal["access", "refresh", "user"]

ACCOUNT_SCENARIOS = {
    "wrong_password_200": "login: HTTP 200 with status_code 2 in the body, as was recorded",
    "wrong_password_401": "login: HTTP 401, a form that was not recorded",
    "login_422": "login: HTTP 422, as for a malformed body",
    "login_500": "login: HTTP 500, plain text",
    "login_html_502": "login: HTTP 502 with an nginx page",
    "login_not_json": "login: HTTP 200, not JSON",
    "login_incomplete": "login: HTTP 200 without user_info.user_id",
    "login_slow": "login: answers after the emulator's `slow` seconds",
    "banned": "login: status_code 403 in the body; refresh and chat: HTTP 403",
    "refresh_not_expired": "refresh: the literal 'Not expired' in place of tokens",
    "refresh_401": "refresh: HTTP 401",
    "refresh_404": "refresh: HTTP 404, 'User not found'",
    "refresh_500": "refresh: HTTP 500, plain text",
    "refresh_rotates": "refresh: a new refresh token too, and the old one is void",
    "refresh_error_200": "refresh: HTTP 200 with status_code 401 in the body",
    "refresh_slow": "refresh: answers after the emulator's `slow` seconds",
    "models_404": "model list: HTTP 404",
    "models_html": "model list: HTTP 200 with an HTML page",
    "models_odd": "model list: items without names, with wrong types, no agent section",
    "models_slow": "model list: answers after the emulator's `slow` seconds",
    "models_duplicates": "model list: equal display names within and across sections",
    "version_needs_bearer": "completion version: HTTP 401 without an access token as bearer",
    "chat_always_401": "chat: HTTP 401 even with a fresh token",
    "chat_429": "chat: HTTP 429 with Retry-After 1",
    "chat_500": "chat: HTTP 500, plain text",
    "chat_503": "chat: HTTP 503 with an nginx page",
    "token_without_exp": "tokens issued from now on are JWTs without `exp`",
    "opaque_token": "tokens issued from now on are not JWTs",
    "clock_ahead": "tokens issued from now on carry an `exp` in the past, but are accepted",
}


class ScenarioSet(set[str]):
    """Holds names from ACCOUNT_SCENARIOS; a misspelt one raises ValueError."""

    def __init__(self, names: Iterable[str] = ()) -> None:
        super().__init__()
        self.update(names)

    def add(self, name: str) -> None:
        if name not in ACCOUNT_SCENARIOS:
            known = ", ".join(ACCOUNT_SCENARIOS)
            raise ValueError(f"unknown account scenario {name!r}; known: {known}")
        super().add(name)

    def update(self, *others: Iterable[str]) -> None:
        for names in others:
            for name in names:
                self.add(name)


@dataclass
class EmulatedAccount:
    """Describes one Fitten account.

    `user_id` defaults to `u_` and the user name, `ft_token` (what clients of 2024 use in place of
    tokens) to `FT_` and the user name. `scenarios` is a set of names from ACCOUNT_SCENARIOS, which
    may be changed at any time and hold several at once.
    """

    username: str
    password: str
    user_id: str = ""
    scenarios: set[str] = field(default_factory=ScenarioSet)
    ft_token: str = ""
    generations: dict[TokenKind, int] = field(
        default_factory=lambda: {"access": 0, "refresh": 0, "user": 0}, repr=False
    )

    def __post_init__(self) -> None:
        self.user_id = self.user_id or f"u_{self.username}"
        self.ft_token = self.ft_token or f"FT_{self.username}"
        self.scenarios = ScenarioSet(self.scenarios)

    def revoke_access(self) -> None:
        """Refuse every access token issued so far."""
        self.generations["access"] += 1

    def revoke_refresh(self) -> None:
        """Refuse every refresh token issued so far."""
        self.generations["refresh"] += 1


class AccountBook:
    """Holds all accounts; issues and checks their tokens."""

    def __init__(
        self,
        accounts: Iterable[EmulatedAccount],
        signer: TokenSigner,
        clock: EmulatorClock,
        lifetimes: dict[TokenKind, float],
    ) -> None:
        self._by_name = {account.username: account for account in accounts}
        self._signer = signer
        self._clock = clock
        self._lifetimes = lifetimes

    def named(self, username: str) -> EmulatedAccount | None:
        """Return the account of that user name, if there is one."""
        return self._by_name.get(username)

    def first(self) -> EmulatedAccount | None:
        """Return the account that was given first, if there is one."""
        return next(iter(self._by_name.values()), None)

    def identified(self, token: str) -> EmulatedAccount | None:
        """Return the account whose user id or `FT_` token this is, if there is one."""
        accounts = self._by_name.values()
        return next((one for one in accounts if token in (one.user_id, one.ft_token)), None)

    def issue(self, account: EmulatedAccount, kind: TokenKind) -> str:
        """Issue a token in the form that the account's scenarios ask for."""
        until = self._clock.now() + self._lifetimes[kind]
        # `exp` is what clients see, `until` is what counts here: the two differ in `clock_ahead`.
        claims: dict[str, Any] = {
            "sub": account.username,
            "kind": kind,
            "generation": account.generations[kind],
            "until": until,
            "exp": int(until),
        }
        if "clock_ahead" in account.scenarios:
            claims["exp"] = int(time.time()) - 3600
        if "token_without_exp" in account.scenarios:
            del claims["exp"]
        return self._signer.issue(claims, opaque="opaque_token" in account.scenarios)

    def check(self, token: str, kind: TokenKind) -> EmulatedAccount:
        """Return the account of a valid token of that kind. Raises Unauthorized otherwise."""
        claims = self._signer.read(token)
        account = self._by_name.get(claims["sub"])
        if account is None or claims["kind"] != kind:
            raise TokenRefused(BAD_SIGNATURE)
        if claims["generation"] != account.generations[kind]:
            raise TokenRefused(BAD_SIGNATURE)
        if claims["until"] <= self._clock.now():
            raise TokenRefused(EXPIRED)
        return account

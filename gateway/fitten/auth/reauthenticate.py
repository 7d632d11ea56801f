"""Repeats a call with new tokens when Fitten refuses the old ones."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Literal, Protocol, TypeVar

import structlog

from gateway.errors import AccountRefused, GatewayError, UpstreamUnauthorized
from gateway.store.token_file import Tokens

_log = structlog.get_logger("session")

# How tokens are renewed. "login": by a login. "refresh": by a refresh, or by a login if that
# fails. "ahead": like "refresh", but before the tokens expire, so there is time to try again.
Renewal = Literal["ahead", "refresh", "login"]
_Result = TypeVar("_Result")


class TokenSource(Protocol):
    """Provides the tokens of one account.

    name: the name of the account, for the log.
    """

    @property
    def name(self) -> str: ...

    async def tokens(self) -> Tokens:
        """Return tokens to use now. Raises a GatewayError when none can be obtained."""
        ...

    async def replace(self, rejected: Tokens, way: Renewal) -> Tokens:
        """Return other tokens than `rejected`, which Fitten refused.

        way: how to renew them, if that has not been done already.
        """
        ...

    def refused(self) -> GatewayError:
        """Record that Fitten refused even the tokens of a new login; return the error.

        No tokens are obtained for a while after that.
        """
        ...


def session_refused_error() -> AccountRefused:
    """Return the error that `TokenSource.refused` returns."""
    return AccountRefused("Fitten refuses the gateway's session even after a new login.")


async def call_with_tokens(
    source: TokenSource, call: Callable[[Tokens], Awaitable[_Result]]
) -> _Result:
    """Return the result of `call`, after at most one refresh and one login (protocol 3.4).

    call: gets tokens. Raises UpstreamUnauthorized when Fitten does not accept them.
    """
    current = await source.tokens()
    remaining: list[Renewal] = ["login", "refresh"]  # the last one is tried first
    while True:
        try:
            return await call(current)
        except UpstreamUnauthorized as error:
            if not remaining:
                raise source.refused() from error
            way = remaining.pop()
            _log.info("token_refused", account=source.name, next_step=way)
            current = await source.replace(current, way)

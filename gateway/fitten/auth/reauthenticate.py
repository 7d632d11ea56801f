"""A call with tokens that the upstream takes, whoever keeps them."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Literal, Protocol, TypeVar

import structlog

from gateway.errors import AccountRefused, GatewayError, UpstreamUnauthorized
from gateway.store.token_file import Tokens

_log = structlog.get_logger("session")

# How tokens are renewed: by login; by refresh, or else by login; ahead of expiry.
Renewal = Literal["ahead", "refresh", "login"]
_Result = TypeVar("_Result")


class TokenSource(Protocol):
    """One account's tokens. name: the account's, for the log."""

    @property
    def name(self) -> str: ...

    async def tokens(self) -> Tokens:
        """Tokens to use now. Raises a GatewayError when there is no way to get any."""
        ...

    async def replace(self, rejected: Tokens, way: Renewal) -> Tokens:
        """Other tokens than these, which the upstream refused."""
        ...

    def refused(self) -> GatewayError:
        """Even tokens of a new login were refused: make no others for a while."""
        ...


def session_refused_error() -> AccountRefused:
    """What `TokenSource.refused` gives."""
    return AccountRefused("Fitten refuses the gateway's session even after a new login.")


async def call_with_tokens(
    source: TokenSource, call: Callable[[Tokens], Awaitable[_Result]]
) -> _Result:
    """What a call gives, after at most one refresh and one login (protocol 3.4).

    call: raises UpstreamUnauthorized when the upstream does not take the tokens.
    """
    current = await source.tokens()
    ways: list[Renewal] = ["login", "refresh"]
    while True:
        try:
            return await call(current)
        except UpstreamUnauthorized as error:
            if not ways:
                raise source.refused() from error
            way = ways.pop()
            _log.info("token_refused", account=source.name, next_step=way)
            current = await source.replace(current, way)

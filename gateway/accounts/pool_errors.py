"""Makes the errors of requests for which the pool has no slot."""

from __future__ import annotations

import math
import random
from collections.abc import Sequence
from typing import Any

from gateway.accounts.account import Account
from gateway.errors import (
    MAX_RETRY_AFTER,
    AccountRefused,
    GatewayError,
    RateLimited,
    Unavailable,
)

# Seconds after which a refused client may try again. This is a guess: a slot is held as long as
# an answer takes.
_BUSY_RETRY = 5.0
_PAUSED = (
    "No account of the gateway can be used at the moment: an administrator of this gateway has "
    "paused them."
)


def no_account_error(accounts: Sequence[Account[Any]]) -> GatewayError | None:
    """Return why no account can be used; None if one can."""
    waits = [account.wait() for account in accounts]
    soonest = min(waits)
    if soonest == 0:
        return None
    account = accounts[waits.index(soonest)]
    if account.state == "paused":
        # Nobody knows when an admin ends a pause, so clients ask again once a minute.
        return Unavailable(_PAUSED, retry_after=min(soonest, MAX_RETRY_AFTER))
    if soonest == math.inf:
        reason = account.reason
        message = reason.message if reason else "No account of the gateway can be used."
        return _because_of(AccountRefused(message), reason)
    if account.state == "dead":
        reason = account.reason
        refused = AccountRefused(
            reason.message if reason else "Fitten refuses the account.", retry_after=soonest
        )
        return _because_of(refused, reason)
    later = soonest * random.uniform(1.0, 1.2)  # so that not all clients retry at once
    if isinstance(account.reason, RateLimited):
        limited = RateLimited(
            account.reason.message, code="upstream_rate_limited", retry_after=later
        )
        return limited.because_of(account.reason)
    why = account.reason.message if account.reason else "Fitten fails; please try again."
    error = Unavailable(
        f"No account of the gateway can be used at the moment: {why}", retry_after=later
    )
    return _because_of(error, account.reason)


def _because_of(error: GatewayError, reason: GatewayError | None) -> GatewayError:
    return error if reason is None else error.because_of(reason)


def busy_error(why: str) -> Unavailable:
    """Return the error for a request that gets no slot while all accounts are busy."""
    return Unavailable(
        f"All accounts of the gateway are busy and {why}; please try again.",
        code="server_is_overloaded",
        retry_after=_BUSY_RETRY * random.uniform(1.0, 1.2),
    )


def copy_error(error: GatewayError) -> GatewayError:
    """Copy an error, since each waiter needs an exception with a traceback of its own."""
    copy = type(error)(
        error.message, code=error.code, retryable=error.retryable, retry_after=error.retry_after
    )
    return copy.because_of(error)

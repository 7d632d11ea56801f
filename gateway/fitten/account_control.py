"""Shows the state of accounts to an admin, and pauses, resumes and logs them in for one."""

from __future__ import annotations

import math

import msgspec
import structlog

from gateway.accounts.account import Account, AccountCondition
from gateway.accounts.pool import LocalPool
from gateway.errors import NotFound
from gateway.fitten.auth.session import FittenSession

_log = structlog.get_logger("accounts")


class AccountState(msgspec.Struct, frozen=True, kw_only=True):
    """Describes an account at one moment.

    state: `healthy`, `cooling` (it pauses after failures), `half_open` (the next call tests it),
        `dead` (Fitten refuses it) or `paused` (by an admin).
    reason, code: why it is not healthy; None if it is.
    next_try_in: seconds until it may be used; 0 for now, None if no time is known.
    logged_in: whether a call could begin without a login.
    tokens_expire_at: in milliseconds since 1970; None if that is not known.
    chats, completions: how many run. max_chats, max_completions: how many may run at once.
    """

    name: str
    state: AccountCondition
    reason: str | None
    code: str | None
    next_try_in: float | None
    logged_in: bool
    tokens_expire_at: int | None
    chats: int
    max_chats: int
    completions: int
    max_completions: int


class AccountControl:
    """Shows the accounts of one pool to an admin, and changes their state.

    Each method but `states` raises NotFound if there is no account of that name. `by` is the
    admin, for the log.
    """

    def __init__(self, pool: LocalPool[FittenSession]) -> None:
        self._pool = pool

    def states(self) -> list[AccountState]:
        """Return the state of each account, in the order of the configuration."""
        return [_state_of(account) for account in self._pool.accounts]

    def pause(self, name: str, seconds: float | None, by: str) -> None:
        """Pause an account for so many seconds; None for until it is resumed.

        Requests that wait for a slot are refused at once if no other account can serve them.
        """
        account = self._find(name)
        account.pause(seconds)
        _log.warning("account_paused", account=name, by=by, seconds=seconds)
        self._pool.grant_slots()

    def resume(self, name: str, by: str) -> None:
        """End a pause of an admin; requests that wait get the free slots."""
        account = self._find(name)
        if account.pause_left():
            account.resume()
            _log.info("account_resumed", account=name, by=by)
        self._pool.grant_slots()

    async def log_in(self, name: str, by: str) -> None:
        """Start a new login and wait for it; if it succeeds, a pause after failures is over too.

        Raises a GatewayError when it fails.
        """
        account = self._find(name)
        _log.info("account_login_asked", account=name, by=by)
        await account.session.log_in()
        account.health.allow_probe()
        self._pool.grant_slots()

    def _find(self, name: str) -> Account[FittenSession]:
        for account in self._pool.accounts:
            if account.name == name:
                return account
        raise NotFound("There is no account of this name; 'accounts' lists them.")


def _state_of(account: Account[FittenSession]) -> AccountState:
    reason, wait = account.reason, account.wait()
    expires = account.session.expires_at
    return AccountState(
        name=account.name,
        state=account.state,
        reason=None if reason is None else reason.message,
        code=None if reason is None else reason.code,
        next_try_in=None if wait == math.inf else round(wait, 1),
        logged_in=account.ready,
        tokens_expire_at=None if expires is None else round(expires * 1000),
        chats=account.busy,
        max_chats=account.limit,
        completions=account.completions_busy,
        max_completions=account.completion_limit,
    )

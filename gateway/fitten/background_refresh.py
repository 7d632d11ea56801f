"""What is done for the accounts without a request: logins, and the list of models."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from functools import partial

import structlog

from gateway.accounts.account import Account
from gateway.accounts.pool import LocalPool
from gateway.errors import GatewayError, UpstreamUnauthorized
from gateway.fitten import model_catalog as fitten_models
from gateway.fitten.auth.session import FittenSession
from gateway.fitten.client import FittenClient
from gateway.generation.model import Model

_log = structlog.get_logger("fitten")

# Seconds between two looks at an account's session. A request may find that its password is
# refused; that it is tried again is found out here.
_MIN_PAUSE, _MAX_PAUSE = 0.5, 15.0


class BackgroundRefresh:
    """Keeps every account logged in, and the list of models fresh.

    interval: seconds between two readings of the list.
    """

    def __init__(
        self,
        client: FittenClient,
        pool: LocalPool[FittenSession],
        *,
        interval: float,
    ) -> None:
        self._client = client
        self._pool = pool
        self._interval = interval
        self._logged_in = asyncio.Event()
        self._failed: set[str] = set()
        self._retired = False
        self.tried = asyncio.Event()  # the list was asked for, or no login worked at first

    def retire(self) -> None:
        """Do nothing more: another tends the accounts now."""
        self._retired = True

    async def run(self, found: Callable[[Sequence[Model]], None]) -> None:
        """Runs until cancelled or retired. found: given the models that were read."""
        async with asyncio.TaskGroup() as tasks:
            for account in self._pool.accounts:
                tasks.create_task(self._repeatedly(partial(self._log_in, account)))
            tasks.create_task(self._repeatedly(partial(self._read_models, found)))

    async def _repeatedly(self, step: Callable[[], Awaitable[float]]) -> None:
        while not self._retired:
            wait = self._interval
            try:
                wait = await step()
            except Exception:  # a bug here must not end this loop
                _log.exception("bug")
            await asyncio.sleep(wait)

    async def _log_in(self, account: Account[FittenSession]) -> float:
        """Log in where that is needed; how long until the next look."""
        try:
            await account.session.tokens()
        except GatewayError:  # it is in the log, and with the session
            self._failed.add(account.name)
            if len(self._failed) == len(self._pool.accounts):
                self.tried.set()
            self._pool.look()
            return max(_MIN_PAUSE, account.session.next_try)
        self._logged_in.set()
        self._pool.look()
        return min(self._interval, _MAX_PAUSE)

    async def _read_models(self, found: Callable[[Sequence[Model]], None]) -> float:
        """Read the list with the first account that gets one."""
        await self._logged_in.wait()
        accounts = sorted(self._pool.accounts, key=lambda a: (not a.ready, a.wait()))
        for account in accounts:
            if account.session.blocked():
                break
            try:
                current = await account.session.tokens()
                models = fitten_models.parse_models(
                    await self._client.chat_models(current.access_token)
                )
            except UpstreamUnauthorized:
                _log.info("models_not_read", reason="the list wants another token")
            except GatewayError as error:
                _log.info("models_not_read", reason=error.message)
            else:
                _log.debug("models_read", count=len(models))
                if models:
                    found(models)
                break
        self.tried.set()
        return self._interval

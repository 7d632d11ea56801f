"""Logs accounts in and reads the list of models in the background, without a request."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from functools import partial

import structlog

from gateway.accounts.pool import LocalPool
from gateway.errors import GatewayError, UpstreamUnauthorized
from gateway.fitten import model_catalog
from gateway.fitten.auth.session import FittenSession
from gateway.fitten.client import FittenClient
from gateway.generation.model import Model

_log = structlog.get_logger("fitten")

# Seconds between two checks of an account's session. At most 15, because a request may find
# that the password is refused, and only a check here tries the login again.
_MIN_PAUSE, _MAX_PAUSE = 0.5, 15.0


class BackgroundRefresh:
    """Keeps every account logged in and the list of models up to date.

    interval: seconds between two reads of the list.
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
        self.tried = asyncio.Event()  # the models were asked for, or no login worked at first

    def retire(self) -> None:
        """Stop: another registry refreshes these accounts now."""
        self._retired = True

    async def run(self, found: Callable[[Sequence[Model]], None]) -> None:
        """Run until cancelled or retired.

        found: called with the models whenever they have been read.
        """
        async with asyncio.TaskGroup() as tasks:
            for index in range(len(self._pool.accounts)):
                tasks.create_task(self._repeat(partial(self._log_in, index)))
            tasks.create_task(self._repeat(partial(self._read_models, found)))

    async def _repeat(self, action: Callable[[], Awaitable[float]]) -> None:
        """Run `action` again and again; it returns the seconds until the next time."""
        while not self._retired:
            wait = self._interval
            try:
                wait = await action()
            except Exception:  # a bug here must not end this loop
                _log.exception("bug")
            await asyncio.sleep(wait)

    async def _log_in(self, index: int) -> float:
        """Log an account in if that is needed; return the seconds until the next check.

        index: its place in the pool. A reload may put the former object of the account there.
        """
        account = self._pool.accounts[index]
        if account.pause_left():  # no call at all is made with an account that an admin lets rest
            self._failed.add(account.name)
            self._note_failures()
            return _MAX_PAUSE
        try:
            await account.session.tokens()
        except GatewayError:  # the session has logged it and keeps it
            self._failed.add(account.name)
            self._note_failures()
            self._pool.grant_slots()
            return max(_MIN_PAUSE, account.session.next_try)
        self._logged_in.set()
        self._pool.grant_slots()
        return min(self._interval, _MAX_PAUSE)

    def _note_failures(self) -> None:
        if len(self._failed) == len(self._pool.accounts):
            self.tried.set()

    async def _read_models(self, found: Callable[[Sequence[Model]], None]) -> float:
        """Read the list with the first account that can; return the seconds until the next time."""
        await self._logged_in.wait()
        accounts = sorted(self._pool.accounts, key=lambda a: (not a.ready, a.wait()))
        for account in accounts:
            if account.session.blocked() or account.pause_left():
                break
            try:
                current = await account.session.tokens()
                models = model_catalog.parse_models(
                    await self._client.chat_models(current.access_token)
                )
            except UpstreamUnauthorized:
                _log.info("models_not_read", reason="the list wants another token")
            except GatewayError as error:
                _log.info("models_not_read", **error.log_fields())
            else:
                _log.debug("models_read", count=len(models))
                if models:
                    found(models)
                break
        self.tried.set()
        return self._interval

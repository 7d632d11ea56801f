"""How an answer is opened: with the account whose turn it is, or else with another."""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from functools import partial
from typing import TypeVar

import msgspec
import structlog

from gateway.accounts.interface import AccountPool, Lease, LeasedAccount
from gateway.config.settings import FittenSettings
from gateway.errors import AccountRefused, GatewayError, UpstreamTimeout, UpstreamUnauthorized
from gateway.fitten.auth.reauthenticate import TokenSource, call_with_tokens
from gateway.fitten.client import FittenClient
from gateway.fitten.http.response_body import ResponseBody
from gateway.generation.model import Model
from gateway.generation.outcome import Generation
from gateway.store.token_file import Tokens

_log = structlog.get_logger("fitten")

_Got = TypeVar("_Got")
_REPLY_MARGIN = 0.05  # seconds, of `first_piece`
_MAX_TRIES = 3  # of one request, with one account after the other


@dataclass(slots=True)
class _Progress:
    """How far a request has come. deadline: monotonic. calls: chats that were asked for.
    fresh: no time was spent so far. at_session: whether an error now is the session's."""

    text: str
    generation: Generation
    deadline: float
    calls: int = 0
    fresh: bool = True
    at_session: bool = True


class FailoverOpener:
    """Opens answers with the accounts of a pool."""

    def __init__(
        self, client: FittenClient, pool: AccountPool[TokenSource], settings: FittenSettings
    ) -> None:
        self._client = client
        self._pool = pool
        self._settings = settings

    async def open(
        self, text: str, generation: Generation
    ) -> tuple[ResponseBody, Lease[TokenSource]]:
        """The response to a prompt, its body not read, and the slot it holds.

        Both are to be given back. Waits in line while all accounts are busy. Another account
        is asked only when the failed call had no effect, and while the budget allows it: the
        caller has seen nothing yet. All of it takes at most `first_piece`.
        """
        progress = _Progress(
            text, generation, time.monotonic() + self._settings.timeouts.first_piece
        )
        self._pool.budget.earn()
        lease = self._pool.take()
        if lease is None:
            lease = await self._wait(progress, self._pool.acquire)
        tried: list[str] = []
        while True:
            generation.account = lease.account.name
            try:
                body = await self._chat(lease.account, progress)
                if lease.probe:
                    lease.answered()
            except GatewayError as error:
                if progress.at_session and not isinstance(error, AccountRefused):
                    lease.release("unknown")  # the session has its own pauses
                else:
                    lease.end(error)
                tried.append(lease.account.name)
                lease = await self._another(error, tried, progress)
            except BaseException:
                lease.release("unknown")
                raise
            else:
                return body, lease

    async def _wait(
        self, progress: _Progress, wanted: Callable[[str | None, float], Awaitable[_Got]]
    ) -> _Got:
        """What the pool gives, perhaps after a time in line."""
        generation = progress.generation
        progress.fresh = False
        began = time.monotonic()
        # Not to the very deadline: who has only waited must not be told that Fitten was late.
        wait = min(self._settings.pool.queue_wait, progress.deadline - began - _REPLY_MARGIN)
        try:
            return await wanted(generation.caller, wait)
        finally:
            generation.queued += time.monotonic() - began

    async def _another(
        self, error: GatewayError, tried: list[str], progress: _Progress
    ) -> Lease[TokenSource]:
        """A slot of another account. Raises the error when there is to be none."""
        budget = self._pool.budget
        elsewhere = error.elsewhere or progress.at_session
        if not elsewhere or len(tried) >= _MAX_TRIES or time.monotonic() >= progress.deadline:
            raise error
        if progress.calls and not budget.left:
            _log.info("no_other_account_asked", reason="the budget of repeats is used up")
            raise error
        try:
            lease = await self._wait(progress, partial(self._pool.another, tried=tried))
        except GatewayError:
            raise error from None
        if lease is None:
            raise error
        if progress.calls and not budget.spend():
            lease.release("unknown")
            raise error
        _log.info("another_account_asked", code=error.code, failed=tried[-1])
        return lease

    def _chat(
        self, account: LeasedAccount[TokenSource], progress: _Progress
    ) -> Awaitable[ResponseBody]:
        """The response by this account."""

        async def chat(tokens: Tokens) -> ResponseBody:
            limit = None if progress.fresh else progress.deadline - time.monotonic()
            if limit is not None and limit <= 0:
                raise UpstreamTimeout("Fitten did not answer in time; please try again.")
            progress.at_session = progress.fresh = False
            progress.calls += 1
            body = _request_body(progress.text, tokens.user_id, progress.generation.model)
            try:
                return await self._client.chat(
                    tokens.user_id,
                    tokens.access_token,
                    body,
                    limit=limit,
                    may_repeat=self._pool.budget.spend,
                )
            except UpstreamUnauthorized:
                progress.at_session = True
                raise

        progress.at_session = True
        return call_with_tokens(account.session, chat)


def _request_body(text: str, user_id: str, model: Model) -> bytes:
    """Protocol 4.2; the chosen model goes where its section wants it (protocol 5)."""
    meta: dict[str, str] = {"project_id": ""}
    if model.selection_name is not None:
        meta["model" if model.section == "chat" else "agentModel"] = model.selection_name
    return msgspec.json.encode({"inputs": text, "ft_token": user_id, "meta_datas": meta})

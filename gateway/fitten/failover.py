"""Opens a chat with an account of the pool, and with another account if that one fails."""

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

_Result = TypeVar("_Result")
_REPLY_MARGIN = 0.05  # seconds of `first_piece` that are kept for the answer to the client
_MAX_TRIES = 3  # accounts that one request tries


@dataclass(slots=True)
class _Progress:
    """Records how far a request has come.

    prompt: the text for Fitten.
    deadline: the end of `first_piece`, in monotonic seconds.
    calls: how many chats were requested.
    fresh: whether no time has been spent yet, by waiting or by another call.
    at_session: whether an error that occurs now comes from the session, not from the chat.
    """

    prompt: str
    generation: Generation
    deadline: float
    calls: int = 0
    fresh: bool = True
    at_session: bool = True


class FailoverOpener:
    """Opens chats with the accounts of a pool."""

    def __init__(
        self, client: FittenClient, pool: AccountPool[TokenSource], settings: FittenSettings
    ) -> None:
        self._client = client
        self._pool = pool
        self._settings = settings

    async def open(
        self, prompt: str, generation: Generation
    ) -> tuple[ResponseBody, Lease[TokenSource]]:
        """Return the response to a prompt, its body not read, and the lease of its slot.

        The caller closes the response and releases the lease. Waits in the queue while all
        accounts are busy. Another account is asked only when the failed call had no effect and
        the retry budget allows it; the client has received nothing yet. All of it takes at
        most `first_piece` seconds. Raises a GatewayError.
        """
        progress = _Progress(
            prompt, generation, time.monotonic() + self._settings.timeouts.first_piece
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
                    lease.release("unknown")  # the session pauses by itself
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
        self, progress: _Progress, acquire: Callable[[str | None, float], Awaitable[_Result]]
    ) -> _Result:
        """Return what `acquire` returns, perhaps after a wait in the queue.

        acquire: gets the caller's key and the most seconds to wait.
        """
        generation = progress.generation
        progress.fresh = False
        began = time.monotonic()
        # Ends before the deadline: the error must say that the queue took long, not Fitten.
        wait = min(self._settings.pool.queue_wait, progress.deadline - began - _REPLY_MARGIN)
        try:
            return await acquire(generation.caller, wait)
        finally:
            generation.queued += time.monotonic() - began

    async def _another(
        self, error: GatewayError, tried: list[str], progress: _Progress
    ) -> Lease[TokenSource]:
        """Return the lease of a slot of another account; raise the error if none may be tried.

        error: why the last account failed. tried: the names of the accounts that failed.
        """
        budget = self._pool.budget
        elsewhere = error.elsewhere or progress.at_session
        if not elsewhere or len(tried) >= _MAX_TRIES or time.monotonic() >= progress.deadline:
            raise error
        if progress.calls and not budget.allows_retry:
            _log.info("no_other_account_asked", reason="the budget of repeats is used up")
            raise error
        try:
            lease = await self._wait(progress, partial(self._pool.acquire_other, tried=tried))
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
        """Return the response that this account gets."""

        async def chat(tokens: Tokens) -> ResponseBody:
            limit = None if progress.fresh else progress.deadline - time.monotonic()
            if limit is not None and limit <= 0:
                raise UpstreamTimeout("Fitten did not answer in time; please try again.")
            progress.at_session = progress.fresh = False
            progress.calls += 1
            body = _request_body(progress.prompt, tokens.user_id, progress.generation.model)
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


def _request_body(prompt: str, user_id: str, model: Model) -> bytes:
    """Return the body of a chat (protocol 4.2); its section says how the model is named (5)."""
    meta: dict[str, str] = {"project_id": ""}
    if model.selection_name is not None:
        meta["model" if model.section == "chat" else "agentModel"] = model.selection_name
    return msgspec.json.encode({"inputs": prompt, "ft_token": user_id, "meta_datas": meta})

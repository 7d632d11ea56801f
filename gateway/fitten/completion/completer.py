"""Code completion at the cursor (protocol 6.2): calls, what the upstream knows, who is newer."""

from __future__ import annotations

import asyncio
import time
from collections import OrderedDict
from typing import Any, NamedTuple

import structlog

from gateway.accounts.interface import AccountPool
from gateway.config.settings import CompletionSettings
from gateway.errors import GatewayError, UpstreamError, UpstreamTimeout
from gateway.fitten.auth.reauthenticate import TokenSource, call_with_tokens
from gateway.fitten.buffered_answer import BufferedAnswer
from gateway.fitten.client import FittenClient
from gateway.fitten.completion import document as fim
from gateway.fitten.completion.supersede import NewestCompletions
from gateway.generation import token_estimate
from gateway.generation.outcome import Generation, Usage
from gateway.generation.pieces import FinishReason
from gateway.generation.request import Fill
from gateway.generation.stop_sequences import StopSequenceFilter
from gateway.store.token_file import Tokens

_log = structlog.get_logger("fitten")

_VERSION_LIFE = 3600.0  # seconds
_VERSIONS = {"0": "", "1": "2_1", "2": "2_2", "3": "2_3"}
_FILES = 64  # whose last text is remembered, each up to fim.MAX_CHARS


class _KnownText(NamedTuple):
    """A text that the upstream has, from whom, and with which account."""

    caller: str | None
    account: str
    text: str


class Completer:
    """Fills gaps, with the accounts of a pool.

    diff: whether only what changed is sent of a file that Fitten has seen, which takes being
        the only one who tells it of files.
    """

    def __init__(
        self,
        client: FittenClient,
        pool: AccountPool[TokenSource],
        newest_completions: NewestCompletions,
        settings: CompletionSettings,
        *,
        diff: bool,
    ) -> None:
        self._client = client
        self._pool = pool
        self._settings = settings
        self._diff = diff
        self._version: tuple[str, float] | None = None
        self._rpc = asyncio.Lock()
        self._known: OrderedDict[str, _KnownText] = OrderedDict()
        self._newest = newest_completions
        self._asked: dict[str, set[_OpenRequest]] = {}

    def generate(self, generation: Generation) -> CompletionAnswer:
        return CompletionAnswer(self, generation)

    async def insertion(self, fill: Fill, generation: Generation) -> str:
        """The text for a gap. Raises a GatewayError, `Superseded` for the sake of a newer one."""
        if fill.filename is None:  # nobody can tell whether two of these are one file
            async with asyncio.timeout(self._settings.timeout):
                return await self._ask(fill, generation)
        key = (generation.caller, fill.filename)
        async with self._newest.track(key, self._settings.timeout):
            return await self._ask(fill, generation)

    async def _ask(self, fill: Fill, generation: Generation) -> str:
        document = fim.gap_document(fill.prefix, fill.suffix)
        filename = fill.filename or self._settings.filename
        known = self._take_known(fill.filename, generation.caller)
        self._pool.budget.earn()
        lease = await self._pool.acquire_completion(prefer=known.account if known else None)
        account = lease.account
        generation.account = account.name
        if known is not None and (known.account != account.name or document.cut):
            known = None
        asked = _OpenRequest(self._asked, fill.filename)
        try:
            inserted = await self._fill(account.session, document, filename, known)
        except BaseException as error:
            lease.end(error)
            raise
        finally:
            sure = asked.leave()
        lease.release("good")
        if fill.filename is not None and sure and not document.cut and self._diff:
            self._keep_known(
                fill.filename, _KnownText(generation.caller, account.name, document.text)
            )
        return inserted

    async def _fill(
        self,
        session: TokenSource,
        document: fim.GapDocument,
        filename: str,
        known: _KnownText | None,
    ) -> str:
        if known is not None:
            try:
                body = fim.completion_request(document, filename, known.text)
                return fim.insertion_of(await self._call(session, body), document)
            except UpstreamError as error:
                if error.elsewhere:
                    raise  # the service is down, which has nothing to do with the text
                # Else what it has may not be what we think: all of it, then.
        answer = await self._call(session, fim.completion_request(document, filename))
        return fim.insertion_of(answer, document)

    async def _call(self, session: TokenSource, body: dict[str, Any]) -> dict[str, Any]:
        async def call(tokens: Tokens) -> dict[str, Any]:
            version = await self._version_for(tokens)
            return await self._client.complete(
                version,
                tokens.user_id,
                tokens.access_token,
                body,
                may_repeat=self._pool.budget.spend,
            )

        try:
            return await call_with_tokens(session, call)
        except UpstreamError as error:
            if not error.retryable:
                self._version = None  # the path may have gone with its version
            raise

    async def _version_for(self, tokens: Tokens) -> str:
        """The part of the path that says how the upstream wants to be asked."""
        async with self._rpc:  # who waits here is cancelled alone
            if self._version is None or time.monotonic() > self._version[1]:
                name = await self._client.completion_version(tokens.user_id, tokens.access_token)
                if name not in _VERSIONS:
                    raise UpstreamError(
                        "Fitten wants completions in a way that is not known to this gateway.",
                        code="upstream_invalid_response",
                        retryable=False,
                    )
                self._version = _VERSIONS[name], time.monotonic() + _VERSION_LIFE
            return self._version[0]

    def _take_known(self, filename: str | None, caller: str | None) -> _KnownText | None:
        """The last text of a file that the upstream certainly has.

        It is forgotten until this request has gone well; and another caller's file of the
        same name is another text to the upstream.
        """
        if filename is None:
            return None
        known = self._known.pop(filename, None)
        return known if known is not None and known.caller == caller else None

    def _keep_known(self, filename: str, known: _KnownText) -> None:
        self._known[filename] = known
        if len(self._known) > _FILES:
            self._known.popitem(last=False)


class _OpenRequest:
    """One request while it runs. Of two for files of one name at the same time, nobody knows
    which the upstream had last."""

    def __init__(self, asked: dict[str, set[_OpenRequest]], filename: str | None) -> None:
        self._asked = asked
        self._filename = filename
        self._sure = True
        if filename is not None:
            others = asked.setdefault(filename, set())
            for other in others:
                other._sure = False
            self._sure = not others
            others.add(self)

    def leave(self) -> bool:
        """It is over; whether its text is certainly the last that the upstream had."""
        if self._filename is not None:
            others = self._asked[self._filename]
            others.discard(self)
            if not others:
                del self._asked[self._filename]
        return self._sure


class CompletionAnswer(BufferedAnswer):
    """The answers to a request's fills, as one batch."""

    def __init__(self, completions: Completer, generation: Generation) -> None:
        super().__init__()
        self._completions = completions
        self._generation = generation
        self._reasons: list[FinishReason] = []

    async def __aenter__(self) -> CompletionAnswer:
        generation = self._generation
        asked = generation.request
        prompt = completion = 0
        for index, fill in enumerate(asked.fills):
            stop_filter = StopSequenceFilter(stop=asked.stop, max_tokens=asked.max_tokens)
            try:
                text = "" if asked.max_tokens == 0 else await self._insertion(fill)
            finally:
                generation.usage = Usage(prompt, completion, estimated=True)
            pieces = stop_filter.feed([("content", text)]) + stop_filter.flush() if text else []
            if index:
                self._pieces.append(("choice", str(index)))
            if asked.echo:
                self._pieces.append(("content", asked.echo[index]))
            self._pieces += pieces
            self._reasons.append(stop_filter.finish_reason or "stop")
            if asked.max_tokens != 0:
                prompt += token_estimate.estimate(
                    token_estimate.size(fill.prefix) + token_estimate.size(fill.suffix)
                )
            completion += stop_filter.completion_tokens
        generation.usage = Usage(prompt, completion, estimated=True)
        generation.finish_reasons = tuple(self._reasons)
        generation.finish_reason = self._reasons[0]
        return self

    def __aiter__(self) -> CompletionAnswer:
        return self

    async def _insertion(self, fill: Fill) -> str:
        try:
            return await self._completions.insertion(fill, self._generation)
        except TimeoutError:
            raise UpstreamTimeout("Fitten gave no completion in time.") from None
        except GatewayError as error:
            _log.info("not_completed", code=error.code)
            raise

"""Runs code completions at the cursor (protocol 6.2) with the accounts of a pool."""

from __future__ import annotations

import asyncio
import time
from collections import OrderedDict
from typing import Any, NamedTuple

import structlog

from gateway.accounts.interface import AccountPool
from gateway.accounts.prompt_digest import PromptDigest
from gateway.config.settings import CompletionSettings
from gateway.errors import GatewayError, UpstreamError, UpstreamTimeout
from gateway.fitten.auth.reauthenticate import TokenSource, call_with_tokens
from gateway.fitten.client import FittenClient
from gateway.fitten.completion.document import (
    GapDocument,
    completion_request,
    gap_document,
)
from gateway.fitten.completion.suggestion import parse_suggestion
from gateway.fitten.completion.supersede import NewestCompletions
from gateway.generation import token_estimate
from gateway.generation.outcome import AnswerResult, Usage
from gateway.generation.pieces import FinishReason, Piece, Sink
from gateway.generation.request import Fill, Generation
from gateway.generation.stop_sequences import StopSequenceFilter
from gateway.store.token_file import Tokens

_log = structlog.get_logger("fitten")

_VERSION_TTL = 3600.0  # seconds for which the version is not asked for again
_PATH_SUFFIXES = {"0": "", "1": "2_1", "2": "2_2", "3": "2_3"}  # by version
_MAX_FILES = 64  # whose last text is remembered, each up to document.MAX_CHARS


class _KnownText(NamedTuple):
    """Describes a text that Fitten has: from which caller and through which account."""

    caller: str | None
    account: str
    text: str


class Completer:
    """Completes code with the accounts of a pool.

    diff: whether to send only the changes of a file that Fitten has. No other process may send
        files with the same accounts then.
    digest_key: the key of the digests of texts.
    """

    def __init__(
        self,
        client: FittenClient,
        pool: AccountPool[TokenSource],
        newest_completions: NewestCompletions,
        settings: CompletionSettings,
        *,
        diff: bool,
        digest_key: bytes,
    ) -> None:
        self._digest_key = digest_key
        self._client = client
        self._pool = pool
        self._settings = settings
        self._diff = diff
        self._path_suffix: tuple[str, float] | None = None  # and until when it is used
        self._version_lock = asyncio.Lock()
        self._known: OrderedDict[str, _KnownText] = OrderedDict()
        self._newest = newest_completions
        self._open_requests: dict[str, set[_OpenRequest]] = {}  # by file

    def answer(self, generation: Generation, sink: Sink) -> CompletionAnswer:
        """Return the answer to a generation whose request has fills, not yet begun."""
        return CompletionAnswer(self, generation, sink)

    async def complete(self, fill: Fill, generation: Generation) -> str:
        """Return the text for a gap.

        Raises a GatewayError (`Superseded` when a newer completion of the file replaced this
        one), or TimeoutError.
        """
        if fill.filename is None:  # such requests may be for different files
            async with asyncio.timeout(self._settings.timeout):
                return await self._request(fill, generation)
        key = (generation.caller, fill.filename)
        async with self._newest.track(key, self._settings.timeout):
            return await self._request(fill, generation)

    async def _request(self, fill: Fill, generation: Generation) -> str:
        document = gap_document(fill.prefix, fill.suffix)
        filename = fill.filename or self._settings.filename
        known = self._pop_known(fill.filename, generation.caller)
        self._pool.budget.earn()
        digest = PromptDigest(document.text, self._digest_key)
        lease = await self._pool.acquire_completion(known.account if known else None, digest)
        account = lease.account
        generation.outcome.try_account(account.name)
        if known is not None and (known.account != account.name or document.cut):
            known = None
        open_request = _OpenRequest(self._open_requests, fill.filename)
        try:
            text = await self._fill(account.session, fill, document, filename, known)
        except BaseException as error:
            lease.end(error)
            raise
        finally:
            was_alone = open_request.close()
        lease.release("good")
        if fill.filename is not None and was_alone and not document.cut and self._diff:
            self._keep_known(
                fill.filename, _KnownText(generation.caller, account.name, document.text)
            )
        return text

    async def _fill(
        self,
        session: TokenSource,
        fill: Fill,
        document: GapDocument,
        filename: str,
        known: _KnownText | None,
    ) -> str:
        """Return the text for a gap; send only the changes if Fitten has a `known` text."""
        if known is not None:
            try:
                body = completion_request(document, filename, known.text)
                return parse_suggestion(await self._call(session, body), document, fill)
            except UpstreamError as error:
                if error.elsewhere:
                    raise  # Fitten is down; the known text is not the reason
                # Otherwise Fitten may have another text than expected: send the whole text.
        answer = await self._call(session, completion_request(document, filename))
        return parse_suggestion(answer, document, fill)

    async def _call(self, session: TokenSource, body: dict[str, Any]) -> dict[str, Any]:
        async def send(tokens: Tokens) -> dict[str, Any]:
            path_suffix = await self._get_path_suffix(tokens)
            return await self._client.complete(
                path_suffix,
                tokens.user_id,
                tokens.access_token,
                body,
                may_repeat=self._pool.budget.spend,
            )

        try:
            return await call_with_tokens(session, send)
        except UpstreamError as error:
            if not error.retryable:
                self._path_suffix = None  # Fitten may have removed the path of this version
            raise

    async def _get_path_suffix(self, tokens: Tokens) -> str:
        """Return the end of the path of completions, which depends on Fitten's version."""
        async with self._version_lock:  # a request cancelled here cancels no other
            if self._path_suffix is None or time.monotonic() > self._path_suffix[1]:
                name = await self._client.completion_version(tokens.user_id, tokens.access_token)
                if name not in _PATH_SUFFIXES:
                    raise UpstreamError(
                        "Fitten uses a version of completions that this gateway does not know.",
                        code="upstream_invalid_response",
                        retryable=False,
                    )
                self._path_suffix = _PATH_SUFFIXES[name], time.monotonic() + _VERSION_TTL
            return self._path_suffix[0]

    def _pop_known(self, filename: str | None, caller: str | None) -> _KnownText | None:
        """Remove and return the last text of a file that Fitten certainly has.

        It is stored again only when this request has succeeded. The text is not used for
        another caller, whose file of the same name is another file.
        """
        if filename is None:
            return None
        known = self._known.pop(filename, None)
        return known if known is not None and known.caller == caller else None

    def _keep_known(self, filename: str, known: _KnownText) -> None:
        self._known[filename] = known
        if len(self._known) > _MAX_FILES:
            self._known.popitem(last=False)


class _OpenRequest:
    """Tracks one request while it runs.

    Of two requests at the same time for files of the same name, it is not known which text
    Fitten received last.

    open_requests: all open requests by file name; this one adds itself.
    """

    def __init__(self, open_requests: dict[str, set[_OpenRequest]], filename: str | None) -> None:
        self._open_requests = open_requests
        self._filename = filename
        self._alone = True
        if filename is not None:
            others = open_requests.setdefault(filename, set())
            for other in others:
                other._alone = False
            self._alone = not others
            others.add(self)

    def close(self) -> bool:
        """End the request; return whether no other request for this file ran meanwhile.

        Then its text is the last one that Fitten received.
        """
        if self._filename is not None:
            others = self._open_requests[self._filename]
            others.discard(self)
            if not others:
                del self._open_requests[self._filename]
        return self._alone


class CompletionAnswer:
    """Completes the fills of a request one after the other; sends one batch; an `Answer`."""

    def __init__(self, completer: Completer, generation: Generation, sink: Sink) -> None:
        self._completer = completer
        self._generation = generation
        self._sink = sink
        self._reasons: list[FinishReason] = []
        self._usage: Usage | None = None
        self._stop_sequence: str | None = None
        request = generation.request
        # A request for no tokens is answered without Fitten.
        self._costs = [0 if request.max_tokens == 0 else _tokens(fill) for fill in request.fills]
        generation.outcome.estimate_prompt(sum(self._costs))

    @property
    def result(self) -> AnswerResult:
        """Return the usage so far, and the reasons when all fills are complete."""
        whole = len(self._reasons) == len(self._generation.request.fills)
        reasons = tuple(self._reasons) if whole else ()
        return AnswerResult(self._usage, reasons, self._stop_sequence)

    async def run(self) -> None:
        """Complete all fills, then send the answer; see `Answer`."""
        request = self._generation.request
        pieces: list[Piece] = []
        self._usage = Usage(0, 0, estimated=True)
        for index, fill in enumerate(request.fills):
            stop_filter = StopSequenceFilter(stop=request.stop, max_tokens=request.max_tokens)
            text = "" if request.max_tokens == 0 else await self._complete(fill)
            if index:
                pieces.append(("choice", str(index)))
            if request.echo:
                pieces.append(("content", request.echo[index]))
            if text:
                pieces += stop_filter.feed([("content", text)]) + stop_filter.flush()
            self._reasons.append(stop_filter.finish_reason or "stop")
            self._stop_sequence = self._stop_sequence or stop_filter.stop_sequence
            self._usage += Usage(self._costs[index], stop_filter.completion_tokens)
        if pieces:
            self._generation.outcome.receive_first_piece()
            self._sink.hold(pieces)

    async def _complete(self, fill: Fill) -> str:
        try:
            return await self._completer.complete(fill, self._generation)
        except TimeoutError:
            raise UpstreamTimeout("Fitten sent no completion in time.") from None
        except GatewayError as error:
            _log.info("not_completed", **error.log_fields())
            raise


def _tokens(fill: Fill) -> int:
    return token_estimate.estimate(
        token_estimate.size(fill.prefix) + token_estimate.size(fill.suffix)
    )

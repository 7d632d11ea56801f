"""Runs generations on Fitten: chooses the kind of answer, for the handler (`Upstream`)."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from contextlib import AbstractAsyncContextManager, nullcontext
from dataclasses import replace
from pathlib import Path

import structlog

from gateway.config.settings import FittenSettings, ModelSettings, ToolSettings
from gateway.errors import ContextLengthExceeded
from gateway.fitten.account_registry import AccountRegistry
from gateway.fitten.answer import Answer
from gateway.fitten.chat.prompt_estimate import prompt_bytes
from gateway.fitten.chat.record_writer import RecordWriter
from gateway.fitten.chat.request import ChatOpener
from gateway.fitten.chat.squeeze import length_of, shorten
from gateway.fitten.chat.usage_estimate import UsageCalibration
from gateway.fitten.chat_answers import ChatAnswers
from gateway.fitten.client import FittenClient
from gateway.fitten.completion.completer import Completer
from gateway.fitten.failover import Failover
from gateway.fitten.json_mode.answer import (
    StreamedJsonAnswer,
    WholeJsonAnswer,
    add_json_instructions,
)
from gateway.fitten.model_catalog import ModelCatalog
from gateway.fitten.prompt_limit import too_long_error, window
from gateway.generation.model import Model
from gateway.generation.outcome import AnswerResult
from gateway.generation.pieces import Sink
from gateway.generation.request import Generation, GenerationRequest
from gateway.redaction import Redactor
from gateway.store.record_files import RecordFolder

_log = structlog.get_logger("fitten")


class FittenUpstream:
    """Answers generations with Fitten Code.

    client: makes the calls. accounts: provides the accounts and their tokens.
    redactor: masks the secrets in what is kept of answers.
    """

    def __init__(
        self,
        client: FittenClient,
        accounts: AccountRegistry,
        settings: FittenSettings,
        tools: ToolSettings,
        redactor: Redactor,
        models: ModelSettings | None = None,
    ) -> None:
        self._pool = pool = accounts.pool
        self._settings = settings
        self._tools = tools
        self._catalog = ModelCatalog((models or ModelSettings()).aliases)
        digest_key = _digest_key(settings)
        failover = Failover(pool, settings.pool)
        open_chat = ChatOpener(client, failover, pool, digest_key).open
        diff = settings.completion.diff and not accounts.shared
        self._completer = Completer(
            client,
            pool,
            accounts.newest_completions,
            settings.completion,
            diff=diff,
            digest_key=digest_key,
        )
        self._redactor = redactor
        self._records: RecordWriter | None = None
        if tools.recorder.folder is not None:
            rules = tools.recorder
            path = Path(tools.recorder.folder)
            folder = RecordFolder(path, days=rules.days, max_bytes=rules.max_bytes)
            self._records = RecordWriter(folder, redactor)
        self._chats = ChatAnswers(open_chat, settings, tools, digest_key, self._records)
        self._listed = False  # whether the models come from Fitten, not from the fallback

    def recording(self) -> AbstractAsyncContextManager[None]:
        """Return the context in which answers can be recorded."""
        return nullcontext() if self._records is None else self._records.opened()

    def take_over(self, former: FittenUpstream) -> None:
        """Take over what the former upstream knows.

        These are its secrets and, of the same address, the calibration and the models.
        """
        self._redactor.learn_from(former._redactor)
        if former._settings.base_url == self._settings.base_url:
            self._chats.calibration = former._chats.calibration
        if former._settings.models_url == self._settings.models_url and not self._listed:
            self._catalog.replace(former._catalog.models[1:])  # the first is always there

    def resolve(self, name: str | None) -> Model:
        """Return the model with this name; None means the default. Raises NotFound."""
        return self._catalog.resolve(name)

    def models(self) -> Sequence[Model]:
        """Return the models on offer, each with the size of its context."""
        return [self.described(model) for model in self._catalog.models]

    def described(self, model: Model) -> Model:
        """Return a model with the size of its context, as far as answers have shown it."""
        ratio = self.calibration.bytes_per_token(model.id)
        return replace(model, context_window=window(ratio))

    def estimate_prompt(self, request: GenerationRequest) -> int:
        """Estimate the tokens of a prompt, as the usage will count them; see `Upstream`."""
        model = self._catalog.resolve(request.model)
        notation = self._tools.notation_of(model.id)
        size = prompt_bytes(request, notation, self._settings.default_system)
        return max(1, round(size / self.calibration.bytes_per_token(model.id)))

    def offer(self, models: Sequence[Model]) -> None:
        """Replace the models on offer with this list, which Fitten sent."""
        self._catalog.replace(models)
        self._listed = True

    @property
    def calibration(self) -> UsageCalibration:
        """Return what estimates the usage of each model."""
        return self._chats.calibration

    @property
    def fault(self) -> str | None:
        """Return why no request can be served now; None when one can."""
        error = self._pool.fault()
        return error.message if error else None

    @property
    def accounts(self) -> tuple[int, int]:
        """Return how many accounts could serve a request now, and how many there are."""
        return self._pool.serving

    async def generate(self, generation: Generation, sink: Sink) -> None:
        """Generate an answer; see `Upstream`."""
        if not (generation.request.messages or generation.request.fills):
            generation.outcome.receive_result(AnswerResult(finish_reasons=("stop",)))
            return
        try:
            try:
                answer = self._answer(generation, generation.request, sink)
            except ContextLengthExceeded as error:
                shorter = self._shortened_answer(generation, error.chars - error.max_chars, sink)
                if shorter is None:
                    raise
                answer = shorter
            try:
                await answer.run()
            finally:
                generation.outcome.receive_result(answer.result)
        except ContextLengthExceeded as error:
            ratio = self.calibration.bytes_per_token(generation.model.id)
            messages = generation.request.messages
            raise too_long_error(error.chars, messages, error.max_chars, ratio) from None

    def _shortened_answer(self, generation: Generation, excess: int, sink: Sink) -> Answer | None:
        """Return the answer to a request for a summary, with shorter tool results.

        excess: characters of its prompt beyond the limit. Returns None if the request asks for no
        summary, or cannot be shortened enough.
        """
        request = generation.request
        while (shorter := shorten(request, excess)) is not None:
            request = shorter
            try:
                answer = self._answer(generation, request, sink)
            except ContextLengthExceeded as error:
                # Only the number is kept: the error would keep the whole request.
                excess = error.chars - error.max_chars
                continue
            left_out = length_of(generation.request.messages) - length_of(request.messages)
            _log.warning("results_squeezed", chars=left_out)
            generation.outcome.squeeze(left_out)
            return answer
        return None

    def _answer(self, generation: Generation, request: GenerationRequest, sink: Sink) -> Answer:
        """Return the answer that the request needs, not yet begun.

        request: that of the generation, or a shorter one in its place.
        """

        def chat(request: GenerationRequest, sink: Sink) -> Answer:
            return self._chats.answer(generation, request, sink)

        default_system = self._settings.default_system
        if request.fills:
            return self._completer.answer(generation, sink)
        if request.response_format is None:
            return self._chats.answer(generation, request, sink)
        if request.stream:
            asked = add_json_instructions(request, default_system=default_system)
            return StreamedJsonAnswer(lambda inner: chat(asked, inner), sink)
        return WholeJsonAnswer(generation, chat, sink, default_system=default_system)


def _digest_key(settings: FittenSettings) -> bytes:
    """Return the key of the digests of prompts; all workers have the same settings."""
    secrets = "\0".join(account.password.value for account in settings.accounts)
    return hashlib.sha256(b"prompt digests\0" + secrets.encode("utf-8", "surrogatepass")).digest()

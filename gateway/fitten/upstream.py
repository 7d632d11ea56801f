"""Fitten as an `Upstream`: a generation becomes a call, the call's bytes become pieces."""

from __future__ import annotations

from collections.abc import Sequence

import structlog

from gateway.config.settings import FittenSettings
from gateway.fitten import model_catalog as fitten_models
from gateway.fitten.account_registry import AccountRegistry
from gateway.fitten.chat.answer import ChatAnswer
from gateway.fitten.chat.usage_estimate import UsageCalibration
from gateway.fitten.client import FittenClient
from gateway.fitten.completion.completer import Completer
from gateway.fitten.failover import FailoverOpener
from gateway.fitten.json_mode.answer import (
    StreamedJsonAnswer,
    WholeJsonAnswer,
    with_json_instructions,
)
from gateway.generation.model import Model
from gateway.generation.outcome import Generation
from gateway.generation.pieces import Answer, Silence
from gateway.generation.request import GenerationRequest

_log = structlog.get_logger("fitten")


class FittenUpstream:
    """Answers from Fitten Code, with the accounts that somebody keeps."""

    def __init__(
        self, client: FittenClient, accounts: AccountRegistry, settings: FittenSettings
    ) -> None:
        self._pool = pool = accounts.pool
        self._settings = settings
        self._catalogue = fitten_models.ModelCatalog()
        self._open = FailoverOpener(client, pool, settings).open
        diff = settings.completion.diff and not accounts.shared
        self._completions = Completer(
            client, pool, accounts.newest_completions, settings.completion, diff=diff
        )
        self.calibration = UsageCalibration()
        self._listed = False  # whether the models are Fitten's own list

    def take_over(self, former: FittenUpstream) -> None:
        """Know what the former upstream has learnt."""
        if former._settings.base_url == self._settings.base_url:
            self.calibration = former.calibration
        if former._settings.models_url == self._settings.models_url and not self._listed:
            self._catalogue = former._catalogue

    def resolve(self, name: str | None) -> Model:
        return self._catalogue.resolve(name)

    def models(self) -> Sequence[Model]:
        return self._catalogue.models

    def offer(self, models: Sequence[Model]) -> None:
        """These are the models from now on; none of them changes nothing."""
        self._catalogue.replace(models)
        self._listed = True

    @property
    def fault(self) -> str | None:
        """Why no request can be served now; None when one can."""
        error = self._pool.fault()
        return error.message if error else None

    @property
    def accounts(self) -> tuple[int, int]:
        """How many accounts could serve a request now, and how many there are."""
        return self._pool.serving

    def generate(self, generation: Generation, silence: Silence | None = None) -> Answer:
        def answer(request: GenerationRequest) -> ChatAnswer:
            weights = self.calibration.of(generation.model.id)
            return ChatAnswer(self._open, weights, generation, silence, self._settings, request)

        request, default_system = generation.request, self._settings.default_system
        if request.fills:
            return self._completions.generate(generation)
        if request.response_format is None:
            return answer(request)
        if request.stream:
            return StreamedJsonAnswer(
                answer(with_json_instructions(request, default_system=default_system))
            )
        return WholeJsonAnswer(generation, answer, default_system=default_system)

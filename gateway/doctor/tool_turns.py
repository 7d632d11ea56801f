"""Runs turns with tools on Fitten, as a gateway would, once for each notation."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace

from gateway.config.settings import Config, ModelSettings, Notation
from gateway.doctor.grading import Grade, SeenAnswer, grade
from gateway.doctor.measured_client import MeasuredClient
from gateway.doctor.report import TurnResult
from gateway.doctor.tool_cases import TOOLS, ToolCase
from gateway.errors import GatewayError
from gateway.fitten.account_registry import LocalAccountRegistry
from gateway.fitten.upstream import FittenUpstream
from gateway.generation.model import Model
from gateway.generation.outcome import Outcome
from gateway.generation.pieces import Piece, PieceCollector
from gateway.generation.request import Generation, GenerationRequest
from gateway.redaction import Redactor


class ToolTurns:
    """Runs turns with the first account of a configuration, inside `open_turns`.

    upstreams: one for each notation; they differ in nothing else.
    """

    def __init__(self, client: MeasuredClient, upstreams: dict[Notation, FittenUpstream]) -> None:
        self._client = client
        self._upstreams = upstreams

    def resolve(self, name: str | None) -> Model:
        """Return the model with this name; None means the default. Raises NotFound."""
        return next(iter(self._upstreams.values())).resolve(name)

    def models(self) -> list[str]:
        """Return the names of the models on offer."""
        return [model.id for model in next(iter(self._upstreams.values())).models()]

    async def run(self, case: ToolCase, notation: Notation, model: Model) -> tuple[TurnResult, str]:
        """Run one turn; return its result, and the sentence of its failure, empty without one."""
        self._client.chats = []
        request = GenerationRequest(case.messages, model=model.id, tools=TOOLS)
        collector = PieceCollector()
        graded, failure, sentence = Grade(), None, ""
        started = time.monotonic()
        try:
            await self._upstreams[notation].generate(
                Generation(request, model, Outcome()), collector
            )
        except GatewayError as error:
            failure, sentence = error.code or error.cause, error.message
        else:
            answer = read_answer(collector.pieces)
            graded = grade(case, answer)
            if not answer.calls and not answer.text.strip():
                failure, sentence = "empty_answer", "The answer is empty."
        chats = self._client.chats
        result = TurnResult(
            case=case,
            grade=graded,
            failure=failure,
            characters_in=sum(chat.characters_in for chat in chats),
            characters_out=sum(chat.characters_out for chat in chats),
            repairs=max(0, len(chats) - 1),
            seconds=time.monotonic() - started,
        )
        return result, sentence


def read_answer(pieces: Sequence[Piece]) -> SeenAnswer:
    """Return the calls and the text of an answer's pieces; thoughts are left out."""
    calls: list[tuple[str, str]] = []
    text = ""
    for kind, part in pieces:
        if kind == "call":
            calls.append((part, ""))
        elif kind == "arguments":
            name, arguments = calls[-1]
            calls[-1] = (name, arguments + part)
        elif kind == "content":
            text += part
    return SeenAnswer(calls, text)


@asynccontextmanager
async def open_turns(
    config: Config, notations: Sequence[Notation], on_secret: Callable[[str], None]
) -> AsyncIterator[ToolTurns]:
    """Log the first account in and read the list of models.

    The tokens that a gateway has stored are used, and new ones are stored for it. Raises the
    GatewayError for which there is no login.
    """
    used, *others = config.fitten.accounts
    fitten = replace(config.fitten, accounts=(used,))
    client = MeasuredClient(fitten)
    accounts = LocalAccountRegistry(
        replace(config, fitten=fitten), client, on_secret, also_stored=others
    )
    upstreams = {
        notation: FittenUpstream(
            client,
            accounts,
            fitten,
            replace(config.tools, notation={"*": notation}),
            Redactor(config.secrets()),
            ModelSettings(aliases={}),
        )
        for notation in notations
    }

    def offer(models: Sequence[Model]) -> None:
        for upstream in upstreams.values():
            upstream.offer(models)

    async with client.open(), accounts.maintained(offer):
        # A login and the list of models have a time limit each.
        async with asyncio.timeout(3 * fitten.timeouts.call):
            await accounts.tried.wait()
        (account,) = accounts.pool.accounts
        if not account.session.ready and account.session.fault is not None:
            raise account.session.fault
        yield ToolTurns(client, upstreams)

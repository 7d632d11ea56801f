"""The wrapper round a streamed answer: nothing that is held back is lost."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from gateway.errors import GatewayError, UpstreamError
from gateway.fitten.json_mode.answer import StreamedJsonAnswer, json_mismatch
from gateway.generation.outcome import AnswerResult
from gateway.generation.pieces import Piece, PieceCollector, Sink
from gateway.generation.request import ResponseFormat


class Fake:
    """An answer of the batches in a list; `last` says whether the last one is held."""

    def __init__(
        self, texts: list[str], sink: Sink, *, last: bool, error: GatewayError | None
    ) -> None:
        self._texts = texts
        self._sink = sink
        self._last = last
        self._error = error
        self.result = AnswerResult()

    async def run(self) -> None:
        for index, text in enumerate(self._texts):
            batch: list[Piece] = [("content", text)]
            if self._last and index == len(self._texts) - 1:
                self._sink.hold(batch)
            elif not self._sink.take(batch):
                await self._sink.put(batch)
        if self._error is not None:
            raise self._error


class Receiver(PieceCollector):
    """Notes how each batch came."""

    def __init__(self) -> None:
        super().__init__()
        self.ways: list[str] = []

    async def put(self, batch: Sequence[Piece]) -> None:
        assert batch
        self.ways.append("put")
        await super().put(batch)

    def hold(self, batch: Sequence[Piece]) -> None:
        assert batch
        self.ways.append("hold")
        super().hold(batch)


async def read(
    texts: list[str], *, last: bool, error: GatewayError | None
) -> tuple[str, list[str], GatewayError | None]:
    receiver, failed = Receiver(), None
    answer = StreamedJsonAnswer(lambda sink: Fake(texts, sink, last=last, error=error), receiver)
    try:
        await answer.run()
    except GatewayError as failure:
        failed = failure
    return "".join(piece for _, piece in receiver.pieces), receiver.ways, failed


@pytest.mark.parametrize("last", [True, False])
@pytest.mark.parametrize("error", [None, UpstreamError("broke off")])
@pytest.mark.parametrize(
    ("texts", "left"),
    [
        (["{}"], "{}"),
        (["```json\n", "{}", "\n```"], "{}"),
        (["```json\n{}\n``"], "{}\n``"),
        (["```js"], "```js"),
        (["``", "`"], "```"),
        (["  ", "\n"], "  \n"),
        (["{}", "\n"], "{}\n"),
    ],
)
async def test_the_text_comes_before_the_end_or_the_error(
    texts: list[str], left: str, error: GatewayError | None, last: bool
) -> None:
    text, ways, failed = await read(texts, last=last, error=error)
    assert text == left
    assert failed is error
    assert "hold" not in ways[:-1]
    if last:
        assert ways[-1] == "hold" or (text == "{}" and len(texts) > 1)


@pytest.mark.parametrize(
    ("text", "wanted", "words"),
    [
        ("{}", ResponseFormat(is_object=True), None),
        ("[]", ResponseFormat(is_object=True), "not an object"),
        ("[]", ResponseFormat(), None),
        ("", ResponseFormat(), "not valid JSON"),
        ("{} {}", ResponseFormat(), "not valid JSON"),
        ("NaN", ResponseFormat(), "not valid JSON"),
        ("[" * 100_000, ResponseFormat(), "not valid JSON"),
        ('"\\ud800"', ResponseFormat(), "not valid JSON"),
        ("7", ResponseFormat(schema={"type": "string"}), "in it, $ is not of type string"),
    ],
)
def test_a_miss_is_described(text: str, wanted: ResponseFormat, words: str | None) -> None:
    found = json_mismatch(text, wanted)
    assert found is None if words is None else words in (found or "")

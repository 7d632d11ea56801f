"""The wrapper round a streamed answer: nothing that is held back is lost."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from gateway.errors import GatewayError, UpstreamError
from gateway.fitten.json_mode.answer import StreamedJsonAnswer, json_mismatch
from gateway.generation.pieces import Piece, Sink
from gateway.generation.request import ResponseFormat


class Fake:
    """Batches from a list; `last` says whether it is known that the last one is the last."""

    def __init__(self, texts: list[str], *, last: bool, error: GatewayError | None = None) -> None:
        self._texts = texts
        self._last = last
        self._error = error
        self.ended = False
        self.direct: Sink | None = None
        self.closed = False

    async def __aenter__(self) -> Fake:
        return self

    async def __aexit__(self, *_: object) -> None:
        self.closed = True

    def __aiter__(self) -> Fake:
        return self

    async def __anext__(self) -> Sequence[Piece]:
        if not self._texts:
            raise self._error or StopAsyncIteration
        text = self._texts.pop(0)
        self.ended = self._last and not self._texts
        return [("content", text)]


async def read(fake: Fake) -> tuple[str, list[bool], GatewayError | None]:
    text, ended, failed = "", [], None
    answer = StreamedJsonAnswer(fake)
    try:
        async with answer as batches:
            async for batch in batches:
                assert batch
                ended.append(batches.ended)
                text += "".join(piece for _, piece in batch)
    except GatewayError as error:
        failed = error
    assert fake.closed
    return text, ended, failed


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
    text, ended, failed = await read(Fake(list(texts), last=last, error=error))
    assert text == left
    assert failed is error
    assert True not in ended[:-1]
    if last:
        assert ended[-1] or (text == "{}" and len(texts) > 1)


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

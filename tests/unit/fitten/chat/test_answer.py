"""How pieces reach the sink of a chat: each once, in order, and none is lost at the end."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Sequence
from typing import Any, Literal

import aiohttp
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.config import settings as config
from gateway.errors import GatewayError
from gateway.fitten.chat.answer import ChatAnswer
from gateway.fitten.chat.usage_estimate import ModelCalibration
from gateway.fitten.deadline import Deadline
from gateway.fitten.model_catalog import DEFAULT_MODEL
from gateway.generation.outcome import Outcome
from gateway.generation.pieces import Piece, PieceCollector
from gateway.generation.request import Generation, GenerationRequest, Message
from gateway.generation.stop_sequences import StopSequenceFilter
from gateway.options import Secret
from tests import virtualtime

SETTINGS = config.FittenSettings(accounts=(config.AccountSettings("a", Secret("b")),))
Ending = Literal["end", "break", "fail"]


class FakeBody:
    """A response whose data arrive when a test says so; see `ChatConnection`."""

    def __init__(self) -> None:
        self.take: Callable[[bytes], None] | None = None
        self.status = 200
        self.framed = True
        self.closed = False
        self._data: list[bytes] = []
        self._error: Exception | None = None
        self._complete = False
        self._awake = asyncio.Event()
        self._waits = False

    def header(self, name: str) -> str:
        return ""

    def at_end(self) -> bool:
        return self._complete and not self._data

    async def read(self) -> bytes:
        if not self._data and self._error is None and not self._complete:
            self._waits = True
            self._awake.clear()
            await self._awake.wait()
        if self._data:
            return self._data.pop(0)
        if self._error is not None:
            raise self._error
        return b""

    def arrive(self, data: bytes) -> None:
        if self._waits and self.take is not None:
            self.take(data)
        else:
            self._data.append(data)
            self.wake()

    def end(self, error: Exception | None) -> None:
        self._error, self._complete = error, error is None
        self.wake()

    def fail(self, error: GatewayError) -> None:
        self.end(error)

    def wake(self) -> None:
        self._waits = False
        self._awake.set()

    def close(self) -> None:
        self.closed = True


class FakeLease:
    """A lease that notes how it ended."""

    def __init__(self) -> None:
        self.ended: list[object] = []

    def end(self, error: object) -> None:
        self.ended.append(error)


class MoodySink(PieceCollector):
    """Takes batches at once only while a test allows it."""

    def __init__(self) -> None:
        super().__init__()
        self.takes = True
        self.puts = 0

    def take(self, batch: Sequence[Piece]) -> bool:
        assert batch
        return self.takes and super().take(batch)

    async def put(self, batch: Sequence[Piece]) -> None:
        assert batch
        self.puts += 1
        await asyncio.sleep(0)
        await super().put(batch)

    @property
    def text(self) -> str:
        return "".join(text for _, text in self.pieces)


class Bench:
    """One running answer."""

    def __init__(self, asked: str = "hi") -> None:
        self.body = FakeBody()
        self.lease = FakeLease()
        self.sink = MoodySink()
        request = GenerationRequest((Message("user", asked),))
        self.generation = Generation(request, DEFAULT_MODEL, Outcome())
        self.answer = ChatAnswer(
            self._open,
            ModelCalibration(),
            self.generation,
            self.sink,
            SETTINGS,
            request.messages,
            StopSequenceFilter,
        )

    async def _open(self, *_: Any) -> Any:
        return self.body, self.lease


LONG = "long" * 10_000  # for "LONG" in `play`, since hypothesis shows all that it makes


def line(text: str) -> bytes:
    return json.dumps({"delta": text}).encode() + b"\n"


async def play(
    events: Sequence[str | bool | None],
    ending: Ending,
    expected: str | None = None,
    asked: str = "hi",
) -> None:
    """Let pieces arrive and the answer end.

    expected: the text, if it is not that of all pieces. asked: the prompt's text.
    """
    bench = Bench(asked)
    running = asyncio.create_task(bench.answer.run())
    await asyncio.sleep(0)
    said = ""
    for event in events:
        if isinstance(event, str):
            text = LONG if event == "LONG" else event
            said += text
            bench.body.arrive(line(text))
        elif event is None:
            for _ in range(4):  # the reader runs
                await asyncio.sleep(0)
        else:
            bench.sink.takes = event
    bench.body.end(
        {
            "end": None,
            "break": aiohttp.ClientPayloadError("broke off"),
            "fail": GatewayError("too late"),
        }[ending]
    )
    (error,) = await asyncio.gather(running, return_exceptions=True)
    assert bench.sink.text == (said if expected is None else expected)
    whole = ending == "end" and said != ""
    assert (error is None) == whole
    assert bench.body.closed
    assert bench.lease.ended == [error]
    assert (bench.answer.result.finish_reasons == ("stop",)) == whole
    assert bench.answer.result.usage is not None


EVENT = st.one_of(st.text("ab", min_size=1, max_size=3), st.booleans(), st.none(), st.just("LONG"))


@given(st.lists(EVENT, max_size=30), st.sampled_from(["end", "break", "fail"]))
def test_no_piece_is_lost_or_doubled_whatever_the_sink_takes(
    events: list[str | bool | None], ending: Ending
) -> None:
    virtualtime.run(play(events, ending))


@pytest.mark.parametrize("ending", ["break", "fail"])
def test_a_batch_that_was_refused_just_before_the_end_comes_before_the_error(
    ending: Ending,
) -> None:
    virtualtime.run(play(["first", None, False, "second"], ending))


@pytest.mark.parametrize("ending", ["end", "break", "fail"])
@pytest.mark.parametrize(
    ("events", "held"),
    [
        (["Hi.\n", "<|end|>"], "<|end|>"),
        (["Hi.\n", "<|", "end", "|>", "\n", "\n"], "<|end|>\n\n"),
        (["Hi.\n", None, "<|user|>", None], "<|user|>"),
        (["Hi.\n", None, False, "<|user|>\n"], "<|user|>\n"),
    ],
)
def test_a_marker_at_the_end_is_dropped_but_comes_before_an_error(
    events: list[str | bool | None], held: str, ending: Ending
) -> None:
    virtualtime.run(play(events, ending, "Hi.\n" if ending == "end" else f"Hi.\n{held}"))


@pytest.mark.parametrize("ending", ["end", "break", "fail"])
@pytest.mark.parametrize(
    ("events", "expected"),
    [
        (["a <| x", " |> b"], "a <|x|> b"),
        (["a <| x |>"], "a <|x|>"),
        (["a ", None, "<| x ", None, "|"], "a <| x |"),
        (["a ", None, False, "<| x |", None, "> <"], "a <|x|> <"),
        (["a ", "LONG", "<| x |> <| "], f"a {LONG}<|x|> <| "),
    ],
)
def test_a_marker_of_the_prompt_is_restored_however_the_answer_ends(
    events: list[str | bool | None], expected: str, ending: Ending
) -> None:
    virtualtime.run(play(events, ending, expected, asked="What is <|x|>?"))


@pytest.mark.parametrize(
    ("silence", "expected"),
    [(0.0, "a heartbeat_interval"), (0.9, "a heartbeat_interval"), (1.0, "a _interval")],
)
def test_a_second_of_silence_makes_the_bare_word_a_keep_alive(
    silence: float, expected: str
) -> None:
    async def main() -> None:
        bench = Bench()
        running = asyncio.create_task(bench.answer.run())
        await asyncio.sleep(0)
        bench.body.arrive(line("a "))
        await asyncio.sleep(silence)
        bench.body.arrive(line("heartbeat"))
        await asyncio.sleep(0)
        assert bench.sink.text == "a "
        bench.body.arrive(line("_interval"))
        bench.body.end(None)
        await running
        assert bench.sink.text == expected

    virtualtime.run(main())


@pytest.mark.parametrize("ending", ["end", "break", "fail"])
def test_a_word_that_is_held_back_when_the_answer_ends_was_a_keep_alive(ending: Ending) -> None:
    virtualtime.run(play(["a", "heartbeat"], ending, "a"))


def test_no_piece_wakes_the_reader_while_the_sink_takes_them() -> None:
    async def main() -> None:
        bench = Bench()
        running = asyncio.create_task(bench.answer.run())
        for number in range(100):
            for _ in range(4):  # the reader runs
                await asyncio.sleep(0)
            bench.body.arrive(line(f"{number} "))
        bench.body.end(None)
        await running
        assert bench.sink.text == "".join(f"{number} " for number in range(100))
        assert bench.sink.puts == 1, "the first piece opens the answer"

    virtualtime.run(main())


@pytest.mark.parametrize("ending", ["end", "break", "fail"])
def test_others_run_between_the_parts_of_a_long_line_and_its_end(ending: Ending) -> None:
    async def main() -> None:
        bench = Bench()
        running = asyncio.create_task(bench.answer.run())
        await asyncio.sleep(0)
        bench.body.arrive(line("a"))
        await asyncio.sleep(0)
        bench.body.arrive(line(LONG)[:-1])  # the last line, without a line end
        bench.body.end(None if ending == "end" else GatewayError("broke off"))
        seen = set()
        while not running.done():
            await asyncio.sleep(0)
            seen.add(len(bench.sink.text))
        assert bench.sink.text == f"a{LONG}" if ending == "end" else "a"
        assert len(seen) > 2 or ending != "end"
        assert bench.answer.result.finish_reasons == (("stop",) if ending == "end" else ())

    virtualtime.run(main())


def test_the_opener_gets_the_deadline_of_the_first_piece() -> None:
    async def main() -> None:
        found: list[Deadline] = []
        bench = Bench()

        async def refuse(prompt: str, generation: Generation, deadline: Deadline) -> Any:
            assert generation.outcome.prompt_tokens, "estimated before Fitten is asked"
            found.append(deadline)
            raise GatewayError("refused")

        bench.answer._open = refuse
        began = asyncio.get_running_loop().time()
        with pytest.raises(GatewayError, match="refused"):
            await bench.answer.run()
        assert found == [Deadline(began + SETTINGS.timeouts.first_piece)]
        assert bench.answer.result.usage is None, "nothing was used"

    virtualtime.run(main())

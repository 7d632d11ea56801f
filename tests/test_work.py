"""How much work of our own a request and a piece of text are, counted in calls.

Seconds depend on the machine; the calls that our code makes do not. What is counted: calls
of functions of gateway/ and middlewares/, and calls that these make of functions in C. A
bound that is passed is a question, not a law: raise it when the work is worth it, and say so
in docs/performance.md.
"""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from types import CodeType, FrameType
from typing import Any

import aiohttp
import pytest

import gateway as package
from gateway.ledger.ledger import Ledger
from gateway.ledger.spool import Spool
from tests.support import Gateway, running_gateway

_ROOT = Path(package.__file__).parent.parent
_OURS = (str(_ROOT / "gateway"), str(_ROOT / "middlewares"))
_HEAD = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
_JSON = b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%b"
_LOGIN = b'{"access_token":"a","refresh_token":"r","user_info":{"user_id":"u"}}'


class Counter:
    """Counts the calls of our own code while it is on."""

    def __init__(self) -> None:
        self.calls = 0
        self._ours: dict[CodeType, bool] = {}

    def __enter__(self) -> Counter:
        self.calls = 0
        sys.setprofile(self._seen)
        return self

    def __exit__(self, *_: object) -> None:
        sys.setprofile(None)

    def _seen(self, frame: FrameType, event: str, _: Any) -> None:
        if event in ("call", "c_call"):
            code = frame.f_code
            ours = self._ours.get(code)
            if ours is None:
                ours = self._ours[code] = code.co_filename.startswith(_OURS)
            self.calls += ours


def chunk(data: bytes) -> bytes:
    return b"%x\r\n%b\r\n" % (len(data), data)


PIECE = chunk(b'{"delta":" word"}\n')
END = chunk(b'{"usage":{"input_tokens":9,"output_tokens":3}}\n') + b"0\r\n\r\n"


BODIES: dict[str, dict[str, Any]] = {
    "/v1/chat/completions": {"messages": [{"role": "user", "content": "hi"}], "stream": True},
    "/v1/responses": {"input": "hi", "stream": True},
}


class CountedFitten:
    """Answers a chat with `pieces`: all in one, or one at each call of `more`."""

    def __init__(self) -> None:
        self.pieces = 3
        self.paced = False
        self.more = asyncio.Event()

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while head := await reader.readuntil(b"\r\n\r\n"):
                _, found, length = head.lower().partition(b"content-length: ")
                await reader.readexactly(int(length.partition(b"\r\n")[0]) if found else 0)
                if b"chat_auth" not in head:
                    body = _LOGIN if b"login" in head else b'{"chat":[]}'
                    writer.write(_JSON % (len(body), body))
                elif self.paced:
                    writer.write(_HEAD)
                    for _ in range(self.pieces):
                        writer.write(PIECE)
                        await self.more.wait()
                        self.more.clear()
                    writer.write(END)
                else:
                    writer.write(_HEAD + PIECE * self.pieces + END)
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            writer.close()


@asynccontextmanager
async def running(tmp_path: Path, **sections: Any) -> AsyncIterator[tuple[CountedFitten, Gateway]]:
    fitten = CountedFitten()
    server = await asyncio.start_server(fitten.serve, "127.0.0.1", 0)
    url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    try:
        async with running_gateway(
            url, tmp_path, fitten={"models_refresh": 3600}, **sections
        ) as gateway:
            await ask(gateway)
            yield fitten, gateway
    finally:
        server.close()


async def ask(gateway: Gateway, **body: Any) -> bytes:
    async with gateway.post_chat("hi", stream=True, **body) as response:
        answer: bytes = await response.read()
        assert answer.endswith(b"data: [DONE]\n\n"), answer
        return answer


@pytest.mark.parametrize(("kept", "most"), [(False, 424), (True, 440)])
async def test_a_small_request_is_no_more_work_than_it_was(
    tmp_path: Path, kept: bool, most: int
) -> None:
    """Its two lines in the ledger are counted too; the thread that reads them is not."""
    ledger = Ledger(Spool(tmp_path / "spool", "main")) if kept else Ledger()
    async with running(tmp_path, process_ledger=ledger) as (_, gateway):
        counted = []
        for _ in range(5):
            with Counter() as counter:
                await ask(gateway)
            counted.append(counter.calls)
    ledger.close()
    assert min(counted) < most, counted


async def test_a_piece_of_a_burst_is_no_more_work_than_it_was(tmp_path: Path) -> None:
    """Joined, decoded and framed together: a piece alone costs a few looks at its chunk."""
    async with running(tmp_path) as (fitten, gateway):
        costs = []
        for fitten.pieces in (100, 1100):
            with Counter() as counter:
                body = await ask(gateway)
            assert body.count(b" word") == fitten.pieces
            costs.append(counter.calls)
    assert (costs[1] - costs[0]) / 1000 < 4.5, costs


@pytest.mark.parametrize("notation", ["hybrid", "json"])
async def test_a_piece_while_tools_are_offered_is_at_most_a_third_more_work(
    tmp_path: Path, notation: str
) -> None:
    """Of a burst, and paced: most text cannot be part of a call, and one search shows it."""
    bodies: list[dict[str, Any]] = [
        {},
        {"tools": [{"type": "function", "function": {"name": "ls"}}]},
    ]
    async with running(tmp_path, tools={"notation": {"*": notation}}) as (fitten, gateway):
        costs: dict[int, list[int]] = {}
        for fitten.pieces in (100, 1100):
            for body in bodies:
                with Counter() as counter:
                    answer = await ask(gateway, **body)
                assert answer.count(b" word") == fitten.pieces
                costs.setdefault(len(body), []).append(counter.calls)
        fitten.paced, fitten.pieces = True, 103
        paced = []
        for body in bodies:
            async with gateway.post_chat("hi", stream=True, **body) as response:
                at_once = [await piece(fitten, response) for _ in range(103)]
                assert (await response.read()).endswith(b"data: [DONE]\n\n")
            paced.append(sorted(at_once)[50])
    plain, with_tools = (many - few for few, many in costs.values())
    assert with_tools <= 1.3 * plain, costs
    assert paced[1] <= 1.3 * paced[0], paced


async def test_a_piece_of_a_responses_stream_is_at_most_a_third_more_work(tmp_path: Path) -> None:
    """Than one of chat completions, of a burst and paced."""
    async with running(tmp_path) as (fitten, gateway):
        bursts: dict[str, list[int]] = {}
        for fitten.pieces in (100, 1100):
            for path, body in BODIES.items():
                with Counter() as counter:
                    async with gateway.http.post(f"{gateway.url}{path}", json=body) as response:
                        answer = await response.read()
                assert b" word" in answer
                bursts.setdefault(path, []).append(counter.calls)
        fitten.paced, fitten.pieces = True, 103
        paced = []
        for path, body in BODIES.items():
            async with gateway.http.post(f"{gateway.url}{path}", json=body) as response:
                at_once = [await piece(fitten, response) for _ in range(103)]
                await response.read()
            paced.append(sorted(at_once)[50])
    chat, responses = (many - few for few, many in bursts.values())
    assert responses <= 1.3 * chat, bursts
    assert paced[1] <= 1.3 * paced[0], paced


async def test_a_paced_piece_is_no_more_work_than_it_was(tmp_path: Path) -> None:
    """One read, one write, and no task, timer or log line between them."""
    async with running(tmp_path) as (fitten, gateway):
        fitten.paced, fitten.pieces = True, 103
        async with gateway.post_chat("hi", stream=True) as response:
            at_once = [await piece(fitten, response) for _ in range(103)]
            assert (await response.read()).endswith(b"data: [DONE]\n\n")
    assert sorted(at_once)[50] < 44, sorted(at_once)


async def piece(fitten: CountedFitten, response: aiohttp.ClientResponse) -> int:
    """The work from one piece's arrival to the next one's."""
    with Counter() as counter:
        while b" word" not in await response.content.readany():
            pass
        fitten.more.set()
        await asyncio.sleep(0)
    return counter.calls


async def test_a_piece_of_a_messages_stream_is_at_most_a_third_more_work(tmp_path: Path) -> None:
    """Of a burst, and paced; with what agents send: a limit of tokens, and tools."""
    tool = {"name": "ls", "input_schema": {}}
    kinds = [
        post_chat,
        post_message,
        partial(post_message, max_tokens=32_000),
        partial(post_message, max_tokens=32_000, tools=[tool], thinking={"type": "adaptive"}),
    ]
    burst, paced = await work_of_pieces(tmp_path, kinds)
    assert max(burst) <= 1.3 * burst[0], burst
    assert max(paced) <= 1.3 * paced[0], paced


async def test_a_piece_of_an_ollama_stream_is_at_most_a_third_more_work(tmp_path: Path) -> None:
    tool = {"type": "function", "function": {"name": "ls"}}
    kinds = [
        post_chat,
        post_ollama_chat,
        partial(post_ollama_chat, options={"num_predict": 32_000}, tools=[tool]),
        post_ollama_prompt,
    ]
    burst, paced = await work_of_pieces(tmp_path, kinds)
    assert max(burst) <= 1.3 * burst[0], burst
    assert max(paced) <= 1.3 * paced[0], paced


async def work_of_pieces(tmp_path: Path, kinds: Sequence[Any]) -> tuple[list[int], list[int]]:
    """The work for each kind of request: of 1,000 pieces in a burst, and of one that is paced."""
    async with running(tmp_path) as (fitten, gateway):
        burst, paced = [], []
        for post in kinds:
            counted = []
            fitten.paced = False
            for fitten.pieces in (100, 1100):
                with Counter() as counter:
                    async with post(gateway, "hi") as response:
                        assert (await response.read()).count(b" word") == fitten.pieces
                counted.append(counter.calls)
            burst.append(counted[1] - counted[0])
            fitten.paced, fitten.pieces = True, 103
            async with post(gateway, "hi") as response:
                at_once = [await piece(fitten, response) for _ in range(103)]
                assert (await response.read()).endswith(b"\n")
            paced.append(sorted(at_once)[50])
    return burst, paced


def post_chat(gateway: Gateway, text: str) -> Any:
    """Send a streamed chat; use it with `async with`, as the other functions below."""
    return gateway.post_chat(text, stream=True)


def post_message(gateway: Gateway, text: str, **parameters: Any) -> Any:
    """Send a streamed request of Anthropic's Messages; use it with `async with`."""
    body = {"messages": [{"role": "user", "content": text}], "stream": True, **parameters}
    return gateway.http.post(f"{gateway.url}/v1/messages", json=body)


def post_ollama_chat(gateway: Gateway, text: str, **parameters: Any) -> Any:
    """Send a streamed chat of Ollama's dialect."""
    body = {"messages": [{"role": "user", "content": text}], **parameters}
    return gateway.http.post(f"{gateway.url}/api/chat", json=body)


def post_ollama_prompt(gateway: Gateway, text: str) -> Any:
    """Send a prompt of Ollama's dialect."""
    return gateway.http.post(f"{gateway.url}/api/generate", json={"prompt": text})

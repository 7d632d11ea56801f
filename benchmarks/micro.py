"""Measures the cost of each part's own work, so that a regression names its part.

    python -m benchmarks.micro [PART_OF_A_NAME]

The best of several repeats, in processor time of this process; no sockets.
"""

from __future__ import annotations

import argparse
import asyncio
import itertools
import json
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC
from pathlib import Path
from typing import Any

from aiohttp import web
from aiohttp.test_utils import make_mocked_request
from aiohttp.web_urldispatcher import UrlMappingMatchInfo
from multidict import CIMultiDict

from benchmarks import loads
from gateway import options
from gateway.admission.admission import AdmissionControl, InferenceRoute
from gateway.apis.openai.chat_request import ChatCompletions
from gateway.apis.openai.dialect import OpenAIDialect
from gateway.config.settings import AccountSettings, Config, FittenSettings, LogSettings
from gateway.fitten.chat import prompt
from gateway.fitten.chat.decoder import AnswerDecoder
from gateway.fitten.http.response_parser import ResponseParser
from gateway.fitten.model_catalog import DEFAULT_MODEL
from gateway.generation.outcome import AnswerResult, Outcome, Usage
from gateway.generation.pieces import Piece
from gateway.generation.request import Generation
from gateway.generation.stop_sequences import StopSequenceFilter
from gateway.http.error_handler import ErrorHandler
from gateway.http.in_flight import InFlightRequests
from gateway.keys.directory import KeyDirectory
from gateway.ledger.ledger import Ledger
from gateway.limits.expectation import Expectation
from gateway.limits.meter import LocalMeter
from gateway.limits.queue import AdmissionQueue
from gateway.middleware import (
    GENERATION,
    OUTCOME,
    RESPONSE_HEADERS,
    TRUSTED_PROXIES,
    Handler,
    read_middlewares,
    set_principal,
)
from gateway.observability import logging as log
from gateway.principal import Principal
from gateway.redaction import Redactor
from gateway.trusted_proxies import TrustedProxies

_WORDS = ["Here", " is", " the", " plan:\n", "return ", 'f"{x}"', "，然后", " done"]
_TEXTS = _WORDS * 32
_REPEATS = 7
_LONG_ENOUGH = 0.04  # seconds of one repeat


@dataclass(frozen=True, slots=True)
class Case:
    """Describes something to time: `call` does `units` of it."""

    name: str
    unit: str
    units: int
    call: Callable[[], object]

    def cost(self) -> float:
        """Return the processor time for one unit, in seconds."""
        times = 1
        while (taken := self._take(times)) < _LONG_ENOUGH:
            times = max(times * 2, int(times * _LONG_ENOUGH / max(taken, 1e-6)))
        return min(self._take(times) for _ in range(_REPEATS)) / times / self.units

    def _take(self, times: int) -> float:
        call = self.call
        started = time.process_time()
        for _ in range(times):
            call()
        return time.process_time() - started


def http_cases() -> Iterator[Case]:
    """Yield cases: bytes of a connection -> the bytes of a chunked body."""
    plain = [_line(text, ascii_only=False, blank=False) for text in _TEXTS]
    chunks = [loads.chunk(line) for line in plain]
    head = loads.NATIVE_HEAD
    cases = {"http, one read": [head + b"".join(chunks)], "http, a read a chunk": [head, *chunks]}
    for name, reads in cases.items():

        def feed(reads: list[bytes] = reads) -> None:
            parser = ResponseParser()
            for data in reads:
                parser.feed(data)

        yield Case(name, "piece", len(_TEXTS), feed)


def wire_cases() -> Iterator[Case]:
    """Yield cases: bytes of the upstream -> pieces, however they are written and cut."""
    plain = [_line(text, ascii_only=False, blank=False) for text in _TEXTS]
    writings = {
        "wire, one read": [b"".join(plain)],
        "wire, a read a line": plain,
        "wire, blank after colon": [
            b"".join(_line(t, ascii_only=False, blank=True) for t in _TEXTS)
        ],
        "wire, \\u escapes": [b"".join(_line(t, ascii_only=True, blank=False) for t in _TEXTS)],
        "wire, reads of 1000 bytes": _cut(b"".join(plain), 1000),
    }

    def decode(reads: list[bytes]) -> None:
        decoder = AnswerDecoder()
        for read in reads:
            decoder.feed(read)

    for name, reads in writings.items():
        yield Case(name, "piece", len(_TEXTS), lambda reads=reads: decode(reads))  # type: ignore[misc]


def _line(text: str, *, ascii_only: bool, blank: bool) -> bytes:
    colon = ": " if blank else ":"
    member = json.dumps({"delta": text}, ensure_ascii=ascii_only, separators=(",", colon))
    return member.encode() + b"\n"


def _cut(data: bytes, size: int) -> list[bytes]:
    return [data[i : i + size] for i in range(0, len(data), size)]


def piece_cases() -> Iterator[Case]:
    """Yield cases: pieces -> pieces -> frames."""
    batch: list[Piece] = [("content", text) for text in _TEXTS]
    markers = prompt.ROLE_MARKERS
    reply = ChatCompletions().encoder(_generation())

    def frames_one_by_one() -> None:
        for piece in batch:
            reply.pieces((piece,))

    count = len(batch)
    yield Case("cutoff", "piece", count, lambda: StopSequenceFilter(markers=markers).feed(batch))
    yield Case(
        "cutoff, a stop string",
        "piece",
        count,
        lambda: StopSequenceFilter(stop=["###"], markers=markers).feed(batch),
    )
    yield Case("frames, one batch", "piece", count, lambda: reply.pieces(batch))
    yield Case("frames, a batch a piece", "piece", count, frames_one_by_one)


def request_cases() -> Iterator[Case]:
    """Yield cases: a body -> a request -> a prompt, and the ends of an answer."""
    api = ChatCompletions()
    bodies = {load.name: load.body for load in loads.CLOSED}
    generation = _generation()
    for name in ("small", "prompt"):
        body = bodies[name]
        asked = api.parse(body)
        size = f"{len(body) // 1000} KB"
        yield Case(f"parse, {size}", "request", 1, lambda body=body: api.parse(body))  # type: ignore[misc]
        yield Case(
            f"prompt, {size}",
            "request",
            1,
            lambda asked=asked: prompt.render(asked.messages, default_system="Be brief."),  # type: ignore[misc]
        )

    def ends() -> None:
        reply = api.encoder(generation)
        reply.begin()
        reply.end()

    yield Case("reply, first and last frames", "request", 1, ends)


def chain_cases(folder: Path) -> Iterator[Case]:
    """Yield each middleware of config.yaml's chain, with a handler that does nothing."""
    settings = LogSettings(level="info", format="json", file=str(folder / "micro.log"))
    with (folder / "stderr").open("w") as stream:
        outputs = log.configure_logging(
            settings,
            Redactor(["sk-bench-4f1c9a7e2d8b6035c1e7a94d-1", "bench password"]),
            stream,
        )
        keys = [
            {"name": f"key{i}", "key": f"sk-bench-4f1c9a7e2d8b6035c1e7a94d-{i}"}
            for i in range(1, 9)
        ]
        chain = [
            "request_id",
            "request_log",
            {"cors": {"allow_origins": []}},
            {"api_key": {"keys": keys}},
            {"rate_limit": {"requests_per_minute": 100}},
        ]
        mistakes = options.Mistakes()
        middlewares = read_middlewares(chain, "middlewares", mistakes)
        if mistakes:
            raise SystemExit(f"The chain is not understood: {mistakes}")
        dialect = OpenAIDialect()
        error_handler = ErrorHandler(lambda _: dialect, InFlightRequests(), frozenset())
        handler, request = _handler(), _request()
        yield Case("error_handler", "request", 1, lambda: _finish(error_handler(request, handler)))
        for middleware in middlewares:
            built: Any = middleware.build()
            yield Case(
                middleware.name,
                "request",
                1,
                lambda built=built: _finish(built(request, handler)),  # type: ignore[misc]
            )
        outputs.close()
    yield _admission_case()


def _admission_case() -> Case:
    """Return the look, the claim and the settling of a chat under six limits, without a ledger."""
    ticks = itertools.count()  # so fast that no limit is reached
    meter = LocalMeter(lambda: float(next(ticks)), lambda: float(next(ticks)), UTC)
    config = Config(FittenSettings(accounts=(AccountSettings("bench", options.Secret("bench")),)))
    queue = AdmissionQueue(meter, 10.0)
    control = AdmissionControl(config, queue, Ledger(), Expectation(), lambda _: 42, KeyDirectory())
    request = _request()
    names = ("chats_per_minute", "tokens_per_minute", "concurrency", "tokens_per_day")
    limits = dict.fromkeys((*names, "tokens_per_7d", "requests_per_day"), 10**9)
    set_principal(request, Principal(id="bench", name="bench", limits=limits))
    asked = request[GENERATION].request

    async def handler(request: web.Request) -> web.StreamResponse:
        await control.admit(request, asked, DEFAULT_MODEL)
        control.settle(request)
        return web.Response()

    control.routes[request.match_info.handler] = InferenceRoute("chat", "chat")
    return Case("admission", "request", 1, lambda: _finish(control(request, handler)))


def _handler() -> Handler:
    response = web.Response()

    async def handler(_: web.Request) -> web.StreamResponse:
        return response

    return handler


def _request() -> web.Request:
    request = make_mocked_request(
        "POST",
        "/v1/chat/completions",
        headers={"Authorization": "Bearer sk-bench-4f1c9a7e2d8b6035c1e7a94d-1"},
    )
    app = web.Application()
    app[TRUSTED_PROXIES] = TrustedProxies([])
    route = app.router.add_post("/v1/chat/completions", _handler())
    request._match_info = match = UrlMappingMatchInfo({}, route)
    match.add_app(app)
    request[RESPONSE_HEADERS] = CIMultiDict()
    request[GENERATION] = generation = _generation()
    request[OUTCOME] = generation.outcome
    set_principal(request, Principal(id="bench", name="bench"))
    return request


def _generation() -> Generation:
    asked = ChatCompletions().parse(loads.CLOSED[0].body)
    outcome = Outcome()
    outcome.receive_first_piece()
    outcome.receive_result(AnswerResult(Usage(42, 8), ("stop",)))
    outcome.complete(200, None)
    return Generation(asked, DEFAULT_MODEL, outcome)


def _finish(work: Any) -> None:
    """Run a coroutine that never waits to its end, without a task of its own."""
    try:
        work.send(None)
    except StopIteration:
        return
    raise AssertionError("the middleware waited for something")


async def _measure(part: str) -> None:
    """In a task, since some middlewares ask for the current one."""
    with tempfile.TemporaryDirectory(prefix="bench-") as folder:
        chain = chain_cases(Path(folder))
        for cases in (http_cases(), wire_cases(), piece_cases(), request_cases(), chain):
            for case in cases:
                if part in case.name:
                    cost = case.cost()
                    shown = f"{cost * 1e9:9.0f} ns" if cost < 1e-5 else f"{cost * 1e6:9.1f} us"
                    print(f"{case.name:32} {shown} a {case.unit}", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description="Processor time of each part's own work.")
    parser.add_argument("part", nargs="?", default="", help="only what has this in its name")
    asyncio.run(_measure(parser.parse_args().part))


if __name__ == "__main__":
    main()

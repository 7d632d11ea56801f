"""Sends what the plan says and records what the client sees."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Literal

import aiohttp

from chaos.frames import Frames, text_of
from chaos.plan import PlannedRequest

KEY = "chaos-key-0123456789"

# refused: there was no connection; no answer: it broke before a status; broken: behind it.
Kind = Literal[
    "complete", "error frame", "error status", "left", "refused", "no answer", "broken", "stuck"
]
_LONGEST = 40.0  # seconds; whatever takes longer hangs


@dataclass
class ChatOutcome:
    """Records what a client saw of its request.

    began, ended: monotonic seconds. size: bytes of the body. finish: the `finish_reason`.
    faults: one sentence for each thing that no answer may have.
    """

    request: PlannedRequest
    began: float
    ended: float = 0.0
    kind: Kind = "stuck"
    status: int = 0
    code: str | None = None
    text: str = ""
    size: int = 0
    finish: str | None = None
    faults: list[str] = field(default_factory=list)


class Client:
    """Sends requests to one address and keeps the outcomes; an async context manager."""

    def __init__(self, port: int, outcomes: list[ChatOutcome]) -> None:
        self._url = f"http://127.0.0.1:{port}"
        self._http: aiohttp.ClientSession
        self._outcomes = outcomes

    async def __aenter__(self) -> Client:
        self._http = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(limit=0),
            timeout=aiohttp.ClientTimeout(total=None),
            headers={"Authorization": f"Bearer {KEY}"},
        )
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._http.close()

    async def send_all(self, requests: Iterable[PlannedRequest]) -> None:
        """Send each at its time and wait for all of them."""
        begin = time.monotonic()
        async with asyncio.TaskGroup() as group:
            for request in sorted(requests, key=lambda request: request.at):
                await asyncio.sleep(max(0.0, begin + request.at - time.monotonic()))
                group.create_task(self.send(request))

    async def keep_streaming(self, make: Callable[[], PlannedRequest], until: float) -> None:
        """Send one request after the other until a moment (monotonic)."""
        while time.monotonic() < until:
            outcome = await self.send(make())
            if outcome.kind == "refused":
                await asyncio.sleep(0.1)

    async def send(self, request: PlannedRequest) -> ChatOutcome:
        """Send one request; its outcome is kept as well."""
        outcome = ChatOutcome(request, time.monotonic())
        self._outcomes.append(outcome)
        try:
            async with asyncio.timeout(request.leaves or _LONGEST):
                await self._ask(request, outcome)
        except TimeoutError:
            outcome.kind = "stuck" if request.leaves is None else "left"
        except aiohttp.ClientConnectorError:
            outcome.kind = "refused"
        except (aiohttp.ClientError, OSError) as error:
            outcome.kind = "broken" if outcome.status else "no answer"
            outcome.code = type(error).__name__
        outcome.ended = time.monotonic()
        return outcome

    async def _ask(self, request: PlannedRequest, outcome: ChatOutcome) -> None:
        headers = {"x-request-id": request.tag}
        async with self._http.post(
            self._url + request.path, json=request.body, headers=headers
        ) as response:
            outcome.status = response.status
            if response.headers.get("x-request-id", request.tag) != request.tag:
                outcome.faults.append("another request's id came back")
            if response.content_type == "text/event-stream":
                await _read_stream(response, outcome)
            else:
                await _read_whole(response, outcome)


async def _read_stream(response: aiohttp.ClientResponse, outcome: ChatOutcome) -> None:
    frames = Frames()
    try:
        async for data in response.content.iter_any():
            outcome.size += len(data)
            frames.feed(data)
        frames.end()
        outcome.kind = "complete" if frames.done else "error frame"
    finally:  # also of a stream that breaks, or is left
        outcome.text, outcome.code, outcome.finish = frames.text, frames.code, frames.finish
        outcome.faults += frames.faults


async def _read_whole(response: aiohttp.ClientResponse, outcome: ChatOutcome) -> None:
    raw = await response.read()
    outcome.size = len(raw)
    answer = json.loads(raw)
    if outcome.status == 200:
        (choice,) = answer["choices"]
        outcome.kind, outcome.text = "complete", text_of(choice)
        outcome.finish = choice["finish_reason"]
    else:
        outcome.kind, outcome.code = "error status", answer["error"]["code"]

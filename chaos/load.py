"""The client: sends what the plan says and writes down what it saw, nothing more."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any, Literal

import aiohttp

from chaos.plan import Request

KEY = "chaos-key-0123456789"

# refused: there was no connection; no answer: it broke before a status; broken: behind it.
Kind = Literal[
    "complete", "error frame", "error status", "left", "refused", "no answer", "broken", "stuck"
]
_PATIENCE = 40.0  # seconds; whatever takes longer hangs


@dataclass
class Outcome:
    """What a client saw of its request. began, ended: monotonic seconds."""

    request: Request
    began: float
    ended: float = 0.0
    kind: Kind = "stuck"
    status: int = 0
    code: str | None = None
    text: str = ""
    faults: list[str] = field(default_factory=list)


class Client:
    """Sends requests to one address; an async context manager."""

    def __init__(self, port: int) -> None:
        self._url = f"http://127.0.0.1:{port}"
        self._http: aiohttp.ClientSession
        self.outcomes: list[Outcome] = []

    async def __aenter__(self) -> Client:
        self._http = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(limit=0),
            timeout=aiohttp.ClientTimeout(total=None),
            headers={"Authorization": f"Bearer {KEY}"},
        )
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._http.close()

    async def send_all(self, requests: Iterable[Request]) -> None:
        """Send each at its time and wait for all of them."""
        begin = time.monotonic()
        async with asyncio.TaskGroup() as group:
            for request in sorted(requests, key=lambda request: request.at):
                await asyncio.sleep(max(0.0, begin + request.at - time.monotonic()))
                group.create_task(self.send(request))

    async def keep_streaming(self, make: Callable[[], Request], until: float) -> None:
        """One request after the other until a moment (monotonic)."""
        while time.monotonic() < until:
            outcome = await self.send(make())
            if outcome.kind == "refused":
                await asyncio.sleep(0.1)

    async def send(self, request: Request) -> Outcome:
        """Send one request; its outcome is kept as well."""
        outcome = Outcome(request, time.monotonic())
        self.outcomes.append(outcome)
        try:
            async with asyncio.timeout(request.leaves or _PATIENCE):
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

    async def _ask(self, request: Request, outcome: Outcome) -> None:
        headers = {"x-request-id": request.tag}
        async with self._http.post(
            self._url + request.path, json=request.body, headers=headers
        ) as response:
            outcome.status = response.status
            if response.headers.get("x-request-id", request.tag) != request.tag:
                outcome.faults.append("another request's id came back")
            if response.content_type == "text/event-stream":
                reader = Frames(outcome)
                async for data in response.content.iter_any():
                    reader.feed(data)
                reader.end()
                return
            answer = json.loads(await response.read())
        if outcome.status == 200:
            outcome.text = "".join(_text(choice) for choice in answer["choices"])
            outcome.kind = "complete"
        else:
            outcome.kind, outcome.code = "error status", answer["error"]["code"]


class Frames:
    """Reads an event stream into an outcome."""

    def __init__(self, outcome: Outcome) -> None:
        self._outcome = outcome
        self._rest = b""
        self._done = False
        self._failed = False
        self._parts: list[str] = []

    def feed(self, data: bytes) -> None:
        *frames, self._rest = (self._rest + data).split(b"\n\n")
        for frame in frames:
            if not frame.startswith(b":"):
                self._frame(frame)

    def _frame(self, frame: bytes) -> None:
        faults = self._outcome.faults
        if self._done:
            faults.append("a frame after [DONE]")
        if not frame.startswith(b"data: "):
            faults.append("something that is no frame")
        elif frame == b"data: [DONE]":
            self._done = True
            if self._failed:
                faults.append("[DONE] after an error")
        else:
            value = json.loads(frame[6:])
            if "error" in value:
                self._failed = True
                self._outcome.code = value["error"]["code"]
            self._parts += [_text(choice) for choice in value.get("choices", ())]

    def end(self) -> None:
        """The body has ended as HTTP wants it."""
        self._outcome.text = "".join(self._parts)
        if self._rest:
            self._outcome.faults.append("half a frame at the end")
        if not (self._done or self._failed):
            self._outcome.faults.append("an end without [DONE] or an error")
        self._outcome.kind = "complete" if self._done else "error frame"


def _text(choice: dict[str, Any]) -> str:
    """The text of a choice in any form, or the arguments of its tool calls."""
    inner = choice.get("delta") or choice.get("message") or choice
    calls = inner.get("tool_calls") or ()
    arguments = "".join(call["function"].get("arguments") or "" for call in calls)
    return (inner.get("content") or inner.get("text") or "") + arguments

"""Records what clients sent and how each exchange ended."""

from __future__ import annotations

import asyncio
import json
from collections import deque
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any


class Signal:
    """Represents something that happens once: `await signal.wait()`, `signal.at`, `if signal:`.

    It is like `asyncio.Event`, but it knows when it happened and is false until then. It costs next
    to nothing while nothing waits for it: a benchmark keeps many thousands of them.
    """

    __slots__ = ("_waiters", "at")

    def __init__(self) -> None:
        self.at: float | None = None
        self._waiters: list[asyncio.Future[None]] = []

    def __bool__(self) -> bool:
        return self.at is not None

    def is_set(self) -> bool:
        """Return whether it has happened."""
        return self.at is not None

    def set(self) -> None:
        """Set the signal; a second call changes nothing."""
        if self.at is not None:
            return
        self.at = asyncio.get_running_loop().time()
        for waiter in self._waiters:
            if not waiter.done():
                waiter.set_result(None)
        self._waiters.clear()

    async def wait(self) -> None:
        """Return when it happened; at once if it already did."""
        if self.at is None:
            waiter = asyncio.get_running_loop().create_future()
            self._waiters.append(waiter)
            await waiter


@dataclass(slots=True, eq=False)
class WrittenCall:
    """Records one request and what became of its answer.

    Input: method, path and query (after malformed URLs are corrected), headers (case-insensitive),
    `raw` body bytes, `at` (loop time).
    Output: `status` (0 until the answer begins) and `bytes_sent` (body, before compression).
    `done`: the whole intended answer was sent, a deliberate cut included. `closed`: the client left
    before that.
    """

    method: str
    path: str
    query: dict[str, str]
    headers: Mapping[str, str]
    at: float
    raw: bytes = b""
    status: int = 0
    bytes_sent: int = 0
    closed: Signal = field(default_factory=Signal)
    done: Signal = field(default_factory=Signal)

    @property
    def body(self) -> Any:
        """Return the JSON value of the body, or None if there is none or it is not JSON."""
        # Parsed on demand: keeping both forms of large prompts would double the memory.
        try:
            return json.loads(self.raw)
        except ValueError:
            return None

    @property
    def closed_at(self) -> float | None:
        """Return the loop time at which the client left, or None."""
        return self.closed.at

    @property
    def done_at(self) -> float | None:
        """Return the loop time at which the answer was complete, or None."""
        return self.done.at

    def to_json(self) -> dict[str, Any]:
        """Return all members as JSON values, tokens included; `raw` only when it is not JSON."""
        body = self.body
        return {
            "method": self.method,
            "path": self.path,
            "query": self.query,
            "headers": dict(self.headers),
            "body": body,
            "raw": None if body is not None else self.raw.decode("utf-8", "replace"),
            "at": self.at,
            "status": self.status,
            "bytes_sent": self.bytes_sent,
            "closed_at": self.closed_at,
            "done_at": self.done_at,
            "done": self.done.is_set(),
        }


class CallLog:
    """Keeps the latest calls in order of arrival; readers see a list.

    It forgets the oldest beyond `limit` calls or `byte_limit` bytes of bodies.
    """

    def __init__(self, limit: int = 100_000, byte_limit: int = 256 * 1024 * 1024) -> None:
        self._calls: deque[WrittenCall] = deque()
        self._limit = limit
        self._byte_limit = byte_limit
        self._bytes = 0

    def append(self, call: WrittenCall) -> None:
        """Record a call whose body has not been read yet."""
        self._calls.append(call)
        self._forget()

    def add_body(self, call: WrittenCall, raw: bytes) -> None:
        """Record the body of a call."""
        call.raw = raw
        self._bytes += len(raw)
        self._forget()

    def clear(self) -> None:
        """Forget all calls."""
        self._calls.clear()
        self._bytes = 0

    def _forget(self) -> None:
        while len(self._calls) > self._limit or (
            self._bytes > self._byte_limit and len(self._calls) > 1
        ):
            self._bytes -= len(self._calls.popleft().raw)

    def __len__(self) -> int:
        return len(self._calls)

    def __iter__(self) -> Iterator[WrittenCall]:
        return iter(tuple(self._calls))

    def __getitem__(self, index: int) -> WrittenCall:
        return self._calls[index]

    def to(self, prefix: str) -> list[WrittenCall]:
        """Return the calls whose path begins with `prefix`."""
        return [call for call in self._calls if call.path.startswith(prefix)]

"""Resolves host names to addresses that cannot be reached, until the fault is repaired."""

from __future__ import annotations

import asyncio
import socket
import sys
from collections.abc import Callable
from contextlib import ExitStack
from typing import Any, Literal

import aiohttp
import pytest
from aiohttp.abc import AbstractResolver, ResolveResult

Kind = Literal["refused", "dns", "lookup", "tls", "handshake", "untrusted", "hang"]
TLS: tuple[Kind, ...] = ("tls", "handshake", "untrusted")

HOST = "fitten.invalid"


class EmptyResolver(AbstractResolver):
    """Finds nothing. `asked`: the names that were looked up; there should be none."""

    def __init__(self) -> None:
        self.asked: list[str] = []

    async def resolve(self, host: str, *_: Any, **__: Any) -> list[ResolveResult]:
        self.asked.append(host)
        raise socket.gaierror(socket.EAI_NONAME, "made up")

    async def close(self) -> None:
        """Do nothing: nothing is open."""


class FaultyResolver(AbstractResolver):
    """Resolves `HOST` in place of the usual resolver: to an address that fails.

    good: the port of a server; bad: the port of one without TLS or without a good certificate.
    Use it in a `with`. A look-up waits for `go`. It fails when `applies` returns true, and at
    most `times` times. `asked`: the number of look-ups.
    """

    def __init__(self, kind: Kind, good: int, bad: int, go: asyncio.Event) -> None:
        self.url = f"{'https' if kind in TLS else 'http'}://{HOST}"
        self.asked = 0
        self.times = sys.maxsize
        self.applies: Callable[[], bool] = lambda: True
        self._kind, self._good, self._bad, self._go = kind, good, bad, go
        self._stack = ExitStack()
        self._repaired = asyncio.Event()

    def __enter__(self) -> FaultyResolver:
        if self._kind in ("refused", "hang"):
            listener = self._stack.enter_context(socket.socket())
            listener.bind(("127.0.0.1", 0))
            self._bad = listener.getsockname()[1]
            if self._kind == "hang":
                self._fill(listener)
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def repair(self) -> None:
        """Resolve to the good port from now on. A look-up that hangs ends with nothing found."""
        self.times = 0
        self._repaired.set()

    def _fill(self, listener: socket.socket) -> None:
        """Fill the accept queue: then the kernel does not answer."""
        listener.listen(0)
        for _ in range(3):
            filler = self._stack.enter_context(socket.socket())
            filler.setblocking(False)
            filler.connect_ex(listener.getsockname())

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_INET
    ) -> list[ResolveResult]:
        assert host == HOST
        await self._go.wait()
        self.asked += 1
        bad = self.asked <= self.times and self.applies()
        if bad and self._kind == "lookup":
            await self._repaired.wait()
        if bad and self._kind in ("dns", "lookup"):
            raise socket.gaierror(socket.EAI_NONAME, "made up")
        port = self._bad if bad else self._good
        found: Any = {
            "hostname": host,
            "host": "127.0.0.1",
            "port": port,
            "family": socket.AF_INET,
            "proto": 0,
            "flags": socket.AI_NUMERICHOST,
        }
        return [found]

    async def close(self) -> None:
        """Do nothing: `__exit__` closes what it holds."""


def install(resolver: AbstractResolver, patch: pytest.MonkeyPatch) -> None:
    """Use this resolver in sessions that are made from now on, without a cache."""
    patch.setattr(aiohttp.connector, "DefaultResolver", lambda **_: resolver)
    patch.setattr(aiohttp.connector._DNSCacheTable, "expired", lambda *_: True)

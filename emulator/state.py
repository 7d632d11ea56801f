"""Holds what all endpoints of one running emulator share."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

from aiohttp import web

from emulator.accounts import AccountBook, EmulatedAccount, TokenKind
from emulator.calls import CallLog, WrittenCall
from emulator.tokens import BAD_SIGNATURE, EmulatorClock, TokenRefused

_MAX_TEXTS = 100


@dataclass
class EmulatorState:
    """Holds accounts, clock, options and the record of calls of one emulator."""

    accounts: AccountBook
    clock: EmulatorClock
    calls: CallLog
    models: dict[str, Any]
    lifetimes: dict[TokenKind, float]
    pace: float
    slow: float
    max_inputs_chars: int | None
    match_user_id: bool
    attempts: Counter[str] = field(default_factory=Counter)
    completion_version: str = "1"
    unknown_text: str = "error"
    completions: int = 0
    sign_ins: dict[str, int] = field(default_factory=dict)  # by client token: how often asked for
    texts: dict[tuple[str, str], str] = field(default_factory=dict)
    pauses: int = 0  # under way
    released: asyncio.Event = field(default_factory=asyncio.Event)

    async def pause(self, seconds: float) -> None:
        """Wait so long, or until `release`."""
        self.pauses += 1
        try:
            with suppress(TimeoutError):
                async with asyncio.timeout(seconds):
                    await self.released.wait()
        finally:
            self.pauses -= 1

    def release(self) -> None:
        """End the pauses under way."""
        self.released.set()
        self.released = asyncio.Event()

    def bearer(self, call: WrittenCall, kind: TokenKind) -> EmulatedAccount:
        """Return the account of the call's bearer token. Raises Unauthorized."""
        scheme, _, token = call.headers.get("Authorization", "").partition(" ")
        if scheme.lower() != "bearer" or not token.strip():
            raise TokenRefused(BAD_SIGNATURE)
        return self.accounts.check(token.strip(), kind)

    def text(self, user_id: str, filename: str) -> str | None:
        """Return the last text of a file, as completion knows it."""
        return self.texts.get((user_id, filename))

    def keep_text(self, user_id: str, filename: str, text: str) -> None:
        """Remember a file's text; of many files the oldest is forgotten."""
        self.texts.pop((user_id, filename), None)
        self.texts[user_id, filename] = text
        if len(self.texts) > _MAX_TEXTS:
            del self.texts[next(iter(self.texts))]


Endpoint = Callable[[EmulatorState, web.Request, WrittenCall], Awaitable[web.StreamResponse]]

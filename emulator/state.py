"""What all endpoints of one running emulator share."""

from __future__ import annotations

from collections import Counter
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any

from aiohttp import web

from emulator.accounts import Account, AccountBook, TokenKind
from emulator.calls import Call, CallLog
from emulator.tokens import BAD_SIGNATURE, Clock, Unauthorized


@dataclass
class State:
    """Accounts, clock, options and the record of calls of one emulator."""

    accounts: AccountBook
    clock: Clock
    calls: CallLog
    models: dict[str, Any]
    lifetimes: dict[TokenKind, float]
    pace: float
    slow: float
    max_inputs_chars: int | None
    match_user_id: bool
    attempts: Counter[str] = field(default_factory=Counter)

    def bearer(self, call: Call, kind: TokenKind) -> Account:
        """The account of the call's bearer token; raises Unauthorized."""
        scheme, _, token = call.headers.get("Authorization", "").partition(" ")
        if scheme.lower() != "bearer" or not token.strip():
            raise Unauthorized(BAD_SIGNATURE)
        return self.accounts.check(token.strip(), kind)


Endpoint = Callable[[State, web.Request, Call], Awaitable[web.StreamResponse]]

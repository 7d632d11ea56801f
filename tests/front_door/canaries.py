"""Secrets that would be recognised anywhere, and the nets in which they are looked for."""

from __future__ import annotations

import base64
import contextlib
import io
import json
import logging
from collections.abc import Iterator
from dataclasses import dataclass, field
from urllib.parse import quote

import pytest
import structlog

from emulator.accounts import Account, AccountBook, TokenKind
from gateway import log
from gateway.config import Log
from gateway.log import Redactor

PASSWORD = 'canary pass"w/rd&é 7c1d'
USERNAME = "demo_user"
USER_ID = "u_canary_5f02"
API_KEY = "sk-canary-gateway-41d8cd98f00b"
WRONG_KEY = "sk-canary-wrong-9e107d9d372b"
PROMPT = "canary prompt: the merger is on Friday"
CODE = "canary_code = 'the launch is at nine'"

CONFIGURED = {"password": PASSWORD, "user id": USER_ID, "API key": API_KEY}
SAID = {"prompt": PROMPT, "code": CODE, "wrong key": WRONG_KEY[:-4]}


@dataclass
class Net:
    """Everything that came out of a gateway, and what must not be in it."""

    secrets: dict[str, str] = field(default_factory=lambda: {**CONFIGURED, **SAID})
    catch: list[tuple[str, str]] = field(default_factory=list)
    failures: set[str] = field(default_factory=set)

    def put(self, place: str, text: str | bytes) -> None:
        """Keep what came out at some place."""
        self.catch.append((place, text if isinstance(text, str) else text.decode("latin-1")))

    def failed(self, scenario: str, *answers: str | bytes) -> None:
        """A scenario that ended in a failure, and what its caller was shown of it."""
        self.failures.add(scenario)
        for answer in answers:
            self.put(f"answer to {scenario}", answer)

    def leaks(self) -> list[str]:
        """Which secret was found where, in any form that it is likely to take."""
        return [
            f"{name} in {place}: {text[:300]}"
            for name, secret in self.secrets.items()
            for place, text in self.catch
            if any(form in text for form in _forms(secret))
        ]


def _forms(secret: str) -> set[str]:
    raw = secret.encode()
    return {
        secret,
        raw.decode("latin-1"),
        json.dumps(secret)[1:-1],
        json.dumps(secret, ensure_ascii=False)[1:-1],
        repr(secret)[1:-1],
        quote(secret, safe=""),
        base64.b64encode(raw).decode().rstrip("="),
    }


@pytest.fixture
def net(monkeypatch: pytest.MonkeyPatch) -> Net:
    """A net that knows every token which the emulator issues."""
    net = Net()
    issue = AccountBook.issue

    def recorded(self: AccountBook, account: Account, kind: TokenKind) -> str:
        token = issue(self, account, kind)
        net.secrets[f"{kind} token {len(net.secrets)}"] = token
        return token

    monkeypatch.setattr(AccountBook, "issue", recorded)
    return net


@contextlib.contextmanager
def everything_logged(net: Net, place: str, redactor: Redactor) -> Iterator[None]:
    """Logs at level debug, as `serve` sets them up, into the net."""
    root = logging.getLogger()
    handlers, level = root.handlers, root.level
    stream = io.StringIO()
    outputs = log.configure(Log(level="debug", format="json"), redactor, stream)
    root.setLevel(logging.DEBUG)
    try:
        yield
    finally:
        outputs.close()
        root.handlers = handlers
        root.setLevel(level)
        structlog.reset_defaults()
        net.put(f"log of {place}", stream.getvalue())

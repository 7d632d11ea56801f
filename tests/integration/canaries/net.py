"""Defines recognisable secrets, and collects all output to search it for them."""

from __future__ import annotations

import base64
import contextlib
import functools
import io
import json
import logging
from collections.abc import Iterator
from dataclasses import dataclass, field
from urllib.parse import quote, quote_plus

import pytest
import structlog

from emulator import EmulatedAccount
from emulator.accounts import AccountBook, TokenKind
from gateway.config.settings import LogSettings
from gateway.observability import logging as log
from gateway.redaction import Redactor
from tests.integration.peer import PeerAnswer

PASSWORD = 'canary pass"w/rd&é 7c1d'
USERNAME = "demo_user"
USER_ID = "u_canary_5f02"
OTHER_PASSWORD = "canary's other \\ pass\tword"
OTHER_USERNAME = "other_user"
OTHER_USER_ID = "u_canary_93ab"
API_KEY = "sk-canary-gateway-41d8cd98f00b"
PROXY_PASSWORD = "canary/proxy 2b8e"
WRONG_KEY = "sk-canary-wrong-9e107d9d372b"
PROMPT = "canary prompt: the merger is on Friday"
CODE = "canary_code = 'the launch is at nine'"
SAID = "canary answer, which only its caller may read"
ARGUMENT = "canary argument of a tool"
IMAGE = base64.b64encode(b"canary picture, no PNG at all").decode()
IMAGE_URL = "https://canary-picture.example.invalid/holiday.png"

CONFIGURED = {
    "password": PASSWORD,
    "other password": OTHER_PASSWORD,
    "user id": USER_ID,
    "other user id": OTHER_USER_ID,
    "API key": API_KEY,
    "proxy's password": PROXY_PASSWORD,
}
SPOKEN = {
    "prompt": PROMPT,
    "code": CODE,
    "answer": SAID,
    "argument": ARGUMENT,
    "image": IMAGE,
    "address of an image": IMAGE_URL,
    "wrong key": WRONG_KEY[:-4],  # by the rest the key's owner may recognise it
}

_PART = 14  # characters of a secret that are too many already


@dataclass
class Net:
    """Collects everything that a gateway put out, and searches it for secrets."""

    secrets: dict[str, str] = field(default_factory=lambda: {**CONFIGURED, **SPOKEN})
    catch: list[tuple[str, str]] = field(default_factory=list)
    failures: set[str] = field(default_factory=set)

    def put(self, place: str, text: str | bytes) -> None:
        """Add output and the name of the place where it was seen."""
        self.catch.append((place, text if isinstance(text, str) else text.decode("latin-1")))

    def failed(self, scenario: str, *answers: str | bytes) -> None:
        """Add a scenario that ended in a failure, and what its client saw of it."""
        self.failures.add(scenario)
        for answer in answers:
            self.put(f"answer to {scenario}", answer)

    def judge(self, scenario: str, answer: PeerAnswer) -> None:
        """Check a scenario that must have ended in a failure with an error for its client."""
        error_text = shown(answer)
        assert error_text, f"{scenario} did not fail: {answer}"
        self.failed(scenario, str(answer.headers), *error_text)

    def leaks(self) -> list[str]:
        """Return which secret was found where, in any of its likely forms."""
        return [
            f"{name} in {place}: {text[:2000]}"
            for name, secret in self.secrets.items()
            for forms in [_all_forms(secret)]
            for place, text in self.catch
            if any(form in text for form in forms)
        ]


@functools.cache
def _all_forms(secret: str) -> set[str]:
    parts = [secret]
    if len(secret) > _PART:  # cut short it is a leak as well
        parts = [secret[at : at + _PART] for at in range(0, len(secret) - _PART + 1, 4)]
    return {form for part in parts for form in _forms(part)}


def _forms(secret: str) -> set[str]:
    raw = secret.encode()
    quoted = [quote(secret, safe=""), quote(secret), quote_plus(secret)]
    quoted += [quote(secret, safe="!$'()*,;:@/?"), quoted[0].lower()]
    written = {
        secret,
        raw.decode("latin-1"),
        json.dumps(secret)[1:-1],
        json.dumps(secret, ensure_ascii=False)[1:-1],
        repr(secret)[1:-1],
        ascii(secret)[1:-1],
        repr(raw)[2:-1],
        raw.hex(),
        *quoted,
    }
    written |= {json.dumps(form)[1:-1] for form in written}
    return written | {repr(form)[1:-1] for form in written} | _base64(raw)


def _base64(raw: bytes) -> set[str]:
    """Wherever it begins in a group of three bytes, and without what it shares with others."""
    found = set()
    for before in range(3):
        encoded = base64.b64encode(b"." * before + raw + b"." * (-(before + len(raw)) % 3))
        inner = encoded.decode()[4 if before else 0 : -4 if (before + len(raw)) % 3 else None]
        if len(inner) >= 12:
            found |= {inner, inner.replace("+", "-").replace("/", "_")}
    return found


@pytest.fixture
def net(monkeypatch: pytest.MonkeyPatch) -> Net:
    """A net that knows every token which the emulator issues."""
    net = Net()
    issue = AccountBook.issue

    def recorded(self: AccountBook, account: EmulatedAccount, kind: TokenKind) -> str:
        token = issue(self, account, kind)
        net.secrets[f"{kind} token {len(net.secrets)}"] = token
        return token

    monkeypatch.setattr(AccountBook, "issue", recorded)
    return net


@contextlib.contextmanager
def everything_logged(net: Net, place: str, redactor: Redactor) -> Iterator[None]:
    """Put all logs at level debug, configured as by `serve`, into the net."""
    root = logging.getLogger()
    handlers, level = root.handlers, root.level
    loop_log = logging.getLogger("asyncio")
    loop_level = loop_log.level
    stream = io.StringIO()
    outputs = log.configure_logging(LogSettings(level="debug", format="json"), redactor, stream)
    root.setLevel(logging.DEBUG)
    loop_log.setLevel(logging.DEBUG)
    try:
        yield
    finally:
        root.handlers = handlers
        root.setLevel(level)
        loop_log.setLevel(loop_level)
        structlog.reset_defaults()
        outputs.close()
        net.put(f"log of {place}", stream.getvalue())


def shown(answer: PeerAnswer) -> list[str | bytes]:
    """Return what a failed answer says of the failure, without the pieces before it."""
    if answer.status >= 400:
        return [answer.body]
    return [f for f in answer.body.split(b"\n\n") if b'"error"' in f and b'"choices"' not in f]

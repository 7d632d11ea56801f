"""What the log says of clients: `log.client`."""

from __future__ import annotations

import io
import json
import logging
from collections.abc import Iterator
from typing import Any

import pytest
import structlog

from gateway.config.settings import LogSettings
from gateway.observability.client_fields import user_agent_family
from gateway.observability.logging import configure_logging
from gateway.redaction import Redactor

CLIENT = {"address": "198.51.100.7", "user_agent": "curl/8.5.0 (alice's laptop)"}
SERVED: dict[str, Any] = {**CLIENT, "cause": None}
LEFT = {**CLIENT, "cause": "client_closed_request"}
FAILED = {**CLIENT, "cause": "upstream_error"}


@pytest.fixture(autouse=True)
def _restored() -> Iterator[None]:
    root = logging.getLogger()
    handlers, level = root.handlers, root.level
    yield
    root.handlers = handlers
    root.setLevel(level)
    structlog.reset_defaults()


def logged(settings: LogSettings, event: str = "request", **fields: Any) -> dict[str, Any]:
    """Return the fields of a line about a client, as they are written."""
    stream = io.StringIO()
    outputs = configure_logging(settings, Redactor(), stream)
    structlog.get_logger("test").info(event, **fields)
    outputs.close()
    line = json.loads(stream.getvalue())
    return {n: line[n] for n in ("address", "addresses", "user_agent") if n in line}


ADDRESS = {"address": "198.51.100.7"}


@pytest.mark.parametrize(
    ("client", "fields", "expected"),
    [
        ("full", SERVED, CLIENT),
        ("full", FAILED, CLIENT),
        ("family", SERVED, {"user_agent": "curl"}),
        ("family", LEFT, {"user_agent": "curl"}),
        ("family", FAILED, {**ADDRESS, "user_agent": "curl"}),
        ("none", SERVED, {}),
        ("none", FAILED, {}),
    ],
)
def test_the_line_of_a_request_says_of_its_client_what_the_operator_allows(
    client: Any, fields: dict[str, Any], expected: dict[str, Any]
) -> None:
    assert logged(LogSettings(format="json", client=client), **fields) == expected


@pytest.mark.parametrize(("client", "kept"), [("full", True), ("family", True), ("none", False)])
def test_addresses_that_guess_keys_are_logged_unless_none_may_be(client: Any, kept: bool) -> None:
    guessing = {"addresses": ["198.51.100.7"]}
    settings = LogSettings(format="json", client=client)
    assert logged(settings, "wrong_keys_refused", **guessing) == (guessing if kept else {})


def test_family_is_the_default() -> None:
    assert LogSettings().client == "family"


def test_a_very_long_user_agent_is_cut() -> None:
    settings = LogSettings(format="json", client="full")
    assert logged(settings, user_agent="x" * 5000) == {"user_agent": "x" * 200 + "..."}


CHROME = "Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 Chrome/131.0.0.0 Safari/537.36"


@pytest.mark.parametrize(
    ("text", "family"),
    [
        ("curl/8.5.0", "curl"),
        ("CURL", "curl"),
        ("OpenAI/Python 1.54.0", "OpenAI/Python"),
        ("AsyncOpenAI/Python 1.54.0", "AsyncOpenAI/Python"),
        ("OpenAI/JS 6.49.0", "OpenAI/JS"),
        ("AsyncAnthropic/Python 0.71.0", "AsyncAnthropic/Python"),
        ("claude-cli/2.1.197 (external, cli)", "claude-cli"),
        ("codex_exec/0.171.0 (Debian 12.0.0; x86_64)", "codex_exec"),
        ("opencode/1.18.33 ai-sdk/provider-utils/4.0.23", "opencode"),
        ("Kilo-Code/7.7.9 ai-sdk/provider-utils/4.0.27", "Kilo-Code"),
        ("QwenCode/0.15.10 (linux; x64)", "QwenCode"),
        ("ollama-python/0.6.0 (x86_64 linux) Python/3.11", "ollama-python"),
        ("ai-sdk/openai-compatible/2.0.92 runtime/node.js/v20", "ai-sdk"),
        ("RooCode/3.36.0", "RooCode"),
        ("litellm/1.75.0", "litellm"),
        ("axios/1.8.4", "axios"),
        ("Zed/0.210.0", "Zed"),
        ("Python/3.11 aiohttp/3.14.5", "aiohttp"),
        (CHROME, "Chrome"),
        (f"{CHROME} Edg/131.0.0.0", "Edg"),
        ("Mozilla/5.0 (Macintosh) AppleWebKit/605.1.15 Version/17.4 Safari/605.1.15", "Safari"),
        ("Mozilla/5.0 (X11; rv:133.0) Gecko/20100101 Firefox/133.0", "Firefox"),
        ("Mozilla/5.0", "other"),
        ("curly/1.0", "other"),
        ("alice-private-tool/1.0", "other"),
        ("my secret curl/8", "other"),
        ("", "other"),
    ],
)
def test_a_family_is_a_name_of_a_known_program_and_nothing_of_the_client(
    text: str, family: str
) -> None:
    assert user_agent_family(text) == family

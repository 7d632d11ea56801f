"""Decides what log lines say of clients: `log.client`."""

from __future__ import annotations

import re
from functools import lru_cache
from typing import Any, Literal

from structlog.typing import EventDict, Processor

from gateway.redaction import HIDDEN

_NO_FAILURE = (None, "client_closed_request")

# Names of programs that clients use; the first that a User-Agent begins with counts.
_PRODUCTS = (
    *("OpenAI/Python", "AsyncOpenAI/Python", "OpenAI/JS", "OpenAI/Go", "OpenAI/Java"),
    *("claude-cli", "codex_exec", "codex_cli_rs", "codex-tui", "opencode", "Kilo-Code", "QwenCode"),
    *("Anthropic/Python", "AsyncAnthropic/Python", "Anthropic/JS", "ollama-python", "ollama"),
    *("ai-sdk", "litellm", "langchain", "RooCode", "Cline", "Zed", "Continue", "aider", "twinny"),
    *("ProxyAI", "JetBrains", "llama.vscode", "Code", "CherryStudio", "Chatbox", "Open-WebUI"),
    *("axios", "node-fetch", "node", "undici", "Bun", "Deno", "Electron"),
    *("python-requests", "python-httpx", "Python-urllib", "curl", "Wget", "HTTPie"),
    *("Go-http-client", "okhttp", "Java-http-client", "Apache-HttpClient", "Dart", "reqwest"),
    *("Ruby", "GuzzleHttp", "PostmanRuntime", "insomnia", "Prometheus", "kube-probe"),
)
_BY_PRODUCT = {name.lower(): name for name in _PRODUCTS}
_PRODUCT = re.compile(rf"(?:{'|'.join(map(re.escape, _PRODUCTS))})(?![\w-])", re.IGNORECASE)
# Browsers and aiohttp begin with another name. Chrome is also in Edge's, Safari in Chrome's.
_LATER_PRODUCTS = {"mozilla/": ("Edg", "Firefox", "Chrome", "Safari"), "python/": ("aiohttp",)}
_MAX_USER_AGENT = 200  # characters


def client_processor(shown: Literal["full", "family", "none"]) -> Processor:
    """Return the processor that keeps, shortens or removes what a line says of its client.

    It sees the fields `address`, `addresses` and `user_agent` of any line, also of lines of
    other middlewares.
    """
    return {"full": _full, "family": _family, "none": _none}[shown]


@lru_cache(maxsize=256)
def user_agent_family(text: str) -> str:
    """Return the program that a User-Agent names, without version; "other" if it is not known.

    Other names than the known ones are client text, perhaps of one person.
    """
    text = text[:_MAX_USER_AGENT]
    if found := _PRODUCT.match(text):
        return _BY_PRODUCT[found[0].lower()]
    for beginning, names in _LATER_PRODUCTS.items():
        if text.lower().startswith(beginning):
            return next((name for name in names if f" {name}/" in text), "other")
    return "other"


def _cut(text: str) -> str:
    """Return a User-Agent as the log shows it when the operator asks for the whole of it."""
    return text if len(text) <= _MAX_USER_AGENT else text[:_MAX_USER_AGENT] + HIDDEN


def _full(_: Any, __: str, event: EventDict) -> EventDict:
    agent = event.get("user_agent")
    if agent is not None:
        event["user_agent"] = _cut(agent)
    return event


def _family(_: Any, __: str, event: EventDict) -> EventDict:
    agent = event.get("user_agent")
    if agent is not None:
        event["user_agent"] = user_agent_family(agent)
    if event.get("cause", "no request") in _NO_FAILURE:
        event.pop("address", None)
    return event


def _none(_: Any, __: str, event: EventDict) -> EventDict:
    for name in ("address", "addresses", "user_agent"):
        event.pop(name, None)
    return event

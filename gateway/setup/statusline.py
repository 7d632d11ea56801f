"""Prints one line of what is left of the key's limits, for the status line of Claude Code.

Agents run the command at each turn. So it imports little, asks the gateway once a minute at most,
and says nothing when anything fails.
"""

from __future__ import annotations

import hashlib
import json
import os
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from gateway.setup.target import DEFAULT_URL, KEY_VARIABLE, is_loopback

_OWN_KEY = (KEY_VARIABLE,)
_AGENT_KEYS = ("ANTHROPIC_AUTH_TOKEN", "ANTHROPIC_API_KEY")
_URL_VARIABLE = "ANTHROPIC_BASE_URL"

_FRESH = 60.0  # seconds
_TIMEOUT = 2.0  # seconds
_MOST = 1024 * 1024  # bytes of an answer
_SHOWN = 3  # limits, the tightest first

_WORDS = {
    "chats_per_minute": ("chats", "min"),
    "completions_per_minute": ("completions", "min"),
    "tokens_per_minute": ("tokens", "min"),
    "requests_per_day": ("requests", "day"),
    "requests_per_month": ("requests", "month"),
    "tokens_per_5h": ("tokens", "5h"),
    "tokens_per_day": ("tokens", "day"),
    "tokens_per_7d": ("tokens", "7d"),
    "tokens_per_month": ("tokens", "month"),
}
_GROUPS = ("team", "gateway")
_UNITS = ((10**9, "b"), (10**6, "m"), (10**3, "k"))


def print_statusline(
    url: str | None, key_file: Path | None, config: Path, environ: Mapping[str, str]
) -> int:
    """Print the line, or nothing; return 0 in any case.

    url, key_file: of the command line. config: the configuration of a gateway on this machine.
    """
    try:
        if sys.stdin is not None and not sys.stdin.isatty():
            sys.stdin.buffer.read(_MOST)  # what the agent tells; nothing of it is needed
        line = statusline(url, key_file, config, environ, time.time())
        if line:
            print(line, flush=True)
    except Exception:  # a line that is missing disturbs less than a traceback in its place
        return 0
    return 0


def statusline(
    url: str | None, key_file: Path | None, config: Path, environ: Mapping[str, str], now: float
) -> str:
    """Return what is left of the limits, from a file of the last minute or from the gateway."""
    base = _address(url or environ.get(_URL_VARIABLE), config)
    # The key of the gateway goes to its own address before the agent's, and the other way round.
    names = (
        _OWN_KEY + _AGENT_KEYS if url or not environ.get(_URL_VARIABLE) else _AGENT_KEYS + _OWN_KEY
    )
    key = _key(key_file, names, environ)
    file = _cache_folder(environ) / f"statusline-{_name(base, key)}.txt"
    kept = _fresh(file, now)
    if kept is not None:
        return kept
    try:
        line = line_of(_usage(base, key))
    except Exception:
        line = ""  # kept too: a gateway that is away is not asked at each turn
    _keep(file, line)
    return line


def line_of(usage: Mapping[str, Any]) -> str:
    """Return the line of an answer of `GET /v1/usage`: the limits with the smallest shares left."""
    limits = [one for one in usage["limits"] if one["limit"] in _WORDS and one["maximum"] > 0]
    limits.sort(key=lambda one: one["left"] / one["maximum"])
    return " | ".join(_text(one) for one in limits[:_SHOWN])


def _text(limit: Mapping[str, Any]) -> str:
    what, period = _WORDS[limit["limit"]]
    text = f"{_amount(limit['left'])}/{_amount(limit['maximum'])} {what}/{period}"
    whose = next((name for name in _GROUPS if limit["scope"].startswith(name)), "")
    if whose:
        text += f" ({whose})"
    if limit["left"] == 0:
        text += f", resets in {_wait(limit['resets_in'])}"
    return text


def _amount(number: int) -> str:
    for size, unit in _UNITS:
        if number >= size:
            tenths = number * 10 // size  # never more than there is
            return f"{tenths / 10:g}{unit}"
    return str(number)


def _wait(seconds: float) -> str:
    minutes = -(-int(seconds + 0.999) // 60)
    if minutes < 60:
        return f"{minutes}m"
    hours, minutes = divmod(minutes, 60)
    return f"{hours}h{minutes}m" if hours < 48 else f"{hours // 24}d"


def _address(url: str | None, config: Path) -> str:
    if url:
        return url.rstrip("/").removesuffix("/v1")
    if not config.is_file():
        return DEFAULT_URL
    from gateway.setup.arguments import configured_url

    return configured_url(config)


def _key(key_file: Path | None, names: Sequence[str], environ: Mapping[str, str]) -> str:
    if key_file is not None:
        return key_file.read_text("utf-8").strip()
    return next((environ[name] for name in names if environ.get(name)), "")


def _usage(base: str, key: str) -> Mapping[str, Any]:
    from urllib import request

    class NoRedirect(request.HTTPRedirectHandler):
        """Follows no redirect: the key would go to another server."""

        def redirect_request(self, *_: Any) -> None:
            return None

    handlers: list[request.BaseHandler] = [NoRedirect()]
    if is_loopback(base):  # a proxy of the environment does not reach this machine
        handlers.append(request.ProxyHandler({}))
    asked = request.Request(f"{base}/v1/usage", headers={"User-Agent": "fitten-gateway"})
    if key:
        asked.add_header("Authorization", f"Bearer {key}")
    with request.build_opener(*handlers).open(asked, timeout=_TIMEOUT) as response:
        answer: Mapping[str, Any] = json.loads(response.read(_MOST))
    return answer


def _cache_folder(environ: Mapping[str, str]) -> Path:
    base = environ.get("XDG_CACHE_HOME")
    return (Path(base) if base else Path.home() / ".cache") / "fitten-gateway"


def _name(base: str, key: str) -> str:
    """Return a name for gateway and key, from which nobody can find the key."""
    return hashlib.scrypt(key.encode(), salt=base.encode(), n=2**10, r=8, p=1, dklen=8).hex()


def _fresh(file: Path, now: float) -> str | None:
    try:
        age = now - file.stat().st_mtime
        return file.read_text("utf-8") if 0 <= age < _FRESH else None
    except (OSError, UnicodeDecodeError):
        return None


def _keep(file: Path, line: str) -> None:
    """Replace the file as a whole: several agents may run at once."""
    new = file.with_name(f"{file.name}.{os.getpid()}")
    try:
        file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        descriptor = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with open(descriptor, "w", encoding="utf-8") as opened:
            opened.write(line)
        os.replace(new, file)
    except OSError:
        return  # it will be asked again

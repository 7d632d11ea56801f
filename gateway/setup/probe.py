"""Asks a running gateway about a model: whether the key is good, and how large the window is."""

from __future__ import annotations

import http.client
import json
import socket
import urllib.error
import urllib.request
from typing import Any
from urllib.parse import quote

from gateway.setup.target import KEY_VARIABLE, is_loopback

_TIMEOUT = 5.0  # seconds
_LARGEST = 1_000_000  # bytes of an answer that are read


class ProbeError(Exception):
    """Says why a gateway cannot be used, and what to do.

    answered: whether a gateway has answered.
    """

    def __init__(self, text: str, *, answered: bool = True) -> None:
        super().__init__(text)
        self.answered = answered


def probe_window(url: str, model: str, key: str | None) -> int | None:
    """Return the tokens of a model's context, as the gateway tells them; None if it does not.

    Raises ProbeError where there is no gateway, or it refuses the key or the model.
    """
    status, body = _get(f"{url}/v1/models/{quote(model, safe='')}", key)
    if status == 200 and body.get("object") == "model":
        window = body.get("context_length")
        return window if isinstance(window, int) and window > 0 else None
    error = body.get("error")
    if not isinstance(error, dict):
        raise ProbeError(
            f"What answers at {url} is no fitten-gateway (status {status}). Check --url; it has "
            "no /v1 at its end."
        )
    if status == 401:
        if key is None:
            raise ProbeError(f"There is no key. Set {KEY_VARIABLE}, or name a file by --key-file.")
        raise ProbeError(
            f"The gateway at {url} does not know the key. Check {KEY_VARIABLE} or the file of "
            "--key-file; the operator of the gateway gives out keys."
        )
    said = error.get("message")
    raise ProbeError(f"The gateway at {url} refuses: {said} (status {status})")


def _get(url: str, key: str | None) -> tuple[int, dict[str, Any]]:
    """Return the status and the JSON object of an answer; an empty one for anything else."""
    # A proxy of the environment does not reach this machine.
    proxies = [urllib.request.ProxyHandler({})] if is_loopback(url.partition("/v1/")[0]) else []
    request = urllib.request.Request(url, headers={"User-Agent": "fitten-gateway"})
    if key is not None:
        request.add_header("Authorization", f"Bearer {key}")
    try:
        with urllib.request.build_opener(*proxies).open(request, timeout=_TIMEOUT) as answer:
            return answer.status, _object(answer.read(_LARGEST))
    except urllib.error.HTTPError as error:
        with error:
            return error.code, _object(error.read(_LARGEST))
    except (OSError, http.client.HTTPException) as error:
        raise ProbeError(
            f"No gateway answers at {url.partition('/v1/')[0]}: {_reason(error)}. Start it, or "
            "name its address by --url.",
            answered=False,
        ) from None


def _object(body: bytes) -> dict[str, Any]:
    try:
        value = json.loads(body)
    except ValueError:
        return {}
    return value if isinstance(value, dict) else {}


def _reason(error: Exception) -> str:
    cause = getattr(error, "reason", error)
    if isinstance(cause, TimeoutError):
        return "it is silent"
    if isinstance(cause, socket.gaierror):
        return "there is no such host"
    return getattr(cause, "strerror", None) or type(cause).__name__

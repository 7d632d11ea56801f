"""Reads what the commands "setup" and "run" are given: address, model and key."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from urllib.parse import urlsplit

from gateway.fitten.prompt_limit import window
from gateway.generation import token_estimate
from gateway.setup.probe import ProbeError, probe_window
from gateway.setup.target import DEFAULT_MODEL, DEFAULT_URL, KEY_VARIABLE, SetupTarget

_EVERYWHERE = ("0.0.0.0", "::", "127.0.0.1", "::1", "localhost")
_DEFAULT_PORT = 5000


class ArgumentError(Exception):
    """Says what is wrong with the command line."""


@dataclass(frozen=True, slots=True)
class SetupArguments:
    """Holds the options of both commands, as they were given.

    config: the configuration of a gateway on this machine, which may not exist.
    """

    config: Path
    url: str | None = None
    model: str | None = None
    key_file: Path | None = None
    lean: bool = False


def target_of(
    given: SetupArguments, environ: Mapping[str, str], on_note: Callable[[str], None]
) -> SetupTarget:
    """Return what snippets are filled in with. Raises ArgumentError.

    on_note: called with a line if the gateway did not tell the size of the context.
    """
    target = addressed_target(given)
    key = key_of(given, environ)
    try:
        tokens = probe_window(target.url, target.model, key)
    except ProbeError as error:
        tokens = None
        on_note(f"{error}")
    if tokens is None:
        tokens = estimated_window()
        on_note(f"The size of the context, {tokens} tokens, is an estimate.")
    return with_window(target, tokens)


def checked_target(
    given: SetupArguments, environ: Mapping[str, str]
) -> tuple[SetupTarget, str | None]:
    """Return the same for a gateway that was asked, and the key.

    Raises ArgumentError, and ProbeError if the gateway cannot be used.
    """
    target = addressed_target(given)
    key = key_of(given, environ)
    tokens = probe_window(target.url, target.model, key)
    return with_window(target, tokens or estimated_window()), key


def with_window(target: SetupTarget, tokens: int) -> SetupTarget:
    """Return a target with the size of the context."""
    return replace(target, window=tokens)


def estimated_window() -> int:
    """Return what `GET /v1/models` says before any answer of Fitten, in tokens."""
    return window(token_estimate.BYTES_PER_TOKEN)


def key_of(given: SetupArguments, environ: Mapping[str, str]) -> str | None:
    """Return the key of the file, or of the environment. Raises ArgumentError."""
    if given.key_file is None:
        return environ.get(KEY_VARIABLE) or None
    try:
        key = given.key_file.read_text("utf-8").strip()
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or "it is not text"
        raise ArgumentError(f"--key-file: {given.key_file} cannot be read: {reason}") from None
    if not key or not key.isprintable() or " " in key:
        raise ArgumentError(f"--key-file: {given.key_file} must have one line, the key")
    return key


def addressed_target(given: SetupArguments) -> SetupTarget:
    """Return the address, the model and the key, without the window. Raises ArgumentError."""
    model = given.model or DEFAULT_MODEL
    if model.startswith("claude-"):
        raise ArgumentError(
            "--model: Claude Code does not use the window for a name that begins with claude-; "
            f"name a model of Fitten, such as {DEFAULT_MODEL}"
        )
    if not model.isprintable():
        raise ArgumentError("--model: has a character that cannot be printed")
    return SetupTarget(
        url=_checked_url(given.url) if given.url else configured_url(given.config),
        model=model,
        key=None if given.key_file is None else key_of(given, {}),
        key_file=None if given.key_file is None else str(given.key_file.absolute()),
        lean=given.lean,
    )


def _checked_url(url: str) -> str:
    try:
        parts = urlsplit(url)
        usable = parts.scheme in ("http", "https") and parts.hostname and parts.port != 0
    except ValueError:
        usable = False
    if not usable or not re.fullmatch(r"[!-~]+", url) or re.search(r"[\"'`\\?#@$]", url):
        raise ArgumentError("--url: expected an address such as https://gateway.example.org")
    return re.sub(r"(?:/v1)?/*$", "", url)


def configured_url(config: Path) -> str:
    """Return the address of `server` in a configuration file, or the default one.

    The file may have mistakes and variables that only its service has: they do not matter here.
    """
    server = _server_of(config)
    host, port = server.get("host"), server.get("port")
    if not isinstance(host, str) or host in _EVERYWHERE:
        host = "localhost"
    if not isinstance(port, int) or not 0 < port < 65_536:
        port = _DEFAULT_PORT
    return f"http://{f'[{host}]' if ':' in host else host}:{port}" if server else DEFAULT_URL


def _server_of(config: Path) -> Mapping[str, object]:
    from gateway.config.file import read_yaml

    if config.suffix == ".ini":  # such a file has no address
        return {}
    try:
        document = read_yaml(config.read_text("utf-8"), {}, without_secrets=True)
    except (OSError, UnicodeDecodeError):
        return {}
    data = document.data if document.readable else None
    server = data.get("server") if isinstance(data, dict) else None
    return server if isinstance(server, dict) else {}

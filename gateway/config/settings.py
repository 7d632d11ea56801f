"""config.yaml -> frozen, typed settings; every mistake reported at once, with its place.

The names here are public. What each means is in docs/configuration.md, which a test
holds against this file.
"""

from __future__ import annotations

import ipaddress
import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Annotated, Any, Literal
from urllib.parse import unquote, urlsplit

from gateway import options
from gateway.config import file
from gateway.middleware import MiddlewareEntry, read_middlewares
from gateway.options import Between, Distinct, HttpUrl, Mistakes, Secret

Seconds = Annotated[float, Between(0.01, 86_400)]
_MIN_MASKED = 4  # characters; hiding shorter secrets would garble the rest
Concurrency = Annotated[int, Between(1, 100_000)]


class ConfigError(Exception):
    """The configuration is wrong; `mistakes` has a line for each fault."""

    def __init__(self, mistakes: list[str]) -> None:
        super().__init__("\n".join(mistakes))
        self.mistakes = mistakes


@dataclass(frozen=True, slots=True)
class ServerSettings:
    """Where the gateway listens, with how many processes, and what it bears from its callers."""

    host: str = "127.0.0.1"
    port: Annotated[int, Between(0, 65_535)] = 5000
    workers: Annotated[int, Between(1, 256)] = 1
    allow_open: bool = False
    max_body_bytes: Annotated[int, Between(1024, 2**31)] = 20 * 1024 * 1024
    large_bodies: Annotated[int, Between(1, 10_000)] = 8
    header_timeout: Seconds = 10.0
    body_timeout: Seconds = 30.0
    max_connections: Annotated[int, Between(1, 1_000_000)] | None = None
    send_buffer: Annotated[int, Between(4096, 2**24)] = 128 * 1024
    drain_timeout: Seconds = 30.0


@dataclass(frozen=True, slots=True)
class StreamSettings:
    """How an answer is streamed to a caller."""

    grace: Seconds = 3.0
    keep_alive: Seconds = 10.0
    write_timeout: Seconds = 30.0


@dataclass(frozen=True, slots=True)
class AccountSettings:
    """A Fitten account. `max_concurrent` is that of the pool unless set."""

    username: str
    password: Secret
    max_concurrent: Concurrency | None = None


@dataclass(frozen=True, slots=True)
class PoolSettings:
    """How requests share the accounts, and when an account is left alone for a while.

    max_concurrent, max_completions: chats, and code completions, at once with one account.
    queue_length, queue_wait: requests that wait for a slot, and the seconds they do.
    retry_ratio: calls to Fitten beyond the first, for each request on the average.
    breaker_failures, breaker_pause: failures in a row after which an account pauses (0 for
        never), and the seconds of the first pause.
    """

    max_concurrent: Concurrency = 4
    max_completions: Concurrency = 8
    queue_length: Annotated[int, Between(0, 100_000)] = 64
    queue_wait: Seconds = 30.0
    retry_ratio: Annotated[float, Between(0, 1)] = 0.2
    breaker_failures: Annotated[int, Between(0, 1000)] = 5
    breaker_pause: Seconds = 5.0


@dataclass(frozen=True, slots=True)
class TimeoutSettings:
    """The longest waits for the upstream; `answer` is for a whole answer, from its asking."""

    connect: Seconds = 10.0
    call: Seconds = 20.0
    first_piece: Seconds = 120.0
    between_pieces: Seconds = 120.0
    answer: Seconds = 600.0


@dataclass(frozen=True, slots=True)
class CompletionSettings:
    """Code completion at the cursor.

    timeout: the longest wait for a completion, in seconds. filename: what Fitten is told of
    a file whose name the editor does not send. diff: whether only what changed is sent of a
    file that Fitten has seen.
    """

    timeout: Seconds = 15.0
    filename: str = "untitled"
    diff: bool = True


@dataclass(frozen=True, slots=True)
class FittenSettings:
    """The upstream."""

    accounts: Annotated[tuple[AccountSettings, ...], Distinct("account", "username")]
    base_url: Annotated[str, HttpUrl()] = "https://fc.fittenlab.cn"
    models_url: Annotated[str, HttpUrl()] = "https://api.fittentech.com"
    models_refresh: Seconds = 600.0
    state_file: str | None = None
    default_system: str = "Reply same language as the user's input."
    timeouts: TimeoutSettings = field(default_factory=TimeoutSettings)
    pool: PoolSettings = field(default_factory=PoolSettings)
    completion: CompletionSettings = field(default_factory=CompletionSettings)
    max_answer_bytes: Annotated[int, Between(1024, 2**31)] = 64 * 1024 * 1024
    stop_repetition: bool = False
    accept_unproven_end: bool = False
    chat_client: Literal["lean", "aiohttp"] = "lean"
    ca_file: str | None = None
    proxy: Annotated[Secret, HttpUrl()] | None = None  # it may hold a password


@dataclass(frozen=True, slots=True)
class ImageSettings:
    """Pictures in chats.

    max_bytes, max_pixels: of one. remote: whether those at an https address are fetched, and
    with remote_http those at http too. timeout: the longest fetch, in seconds.
    """

    max_bytes: Annotated[int, Between(1, 64 * 1024 * 1024)] = 5 * 1024 * 1024
    max_pixels: Annotated[int, Between(1, 1_000_000_000)] = 50_000_000
    remote: bool = False
    remote_http: bool = False
    timeout: Seconds = 10.0


@dataclass(frozen=True, slots=True)
class LogSettings:
    """Where log lines go and how they look."""

    level: Literal["debug", "info", "warning", "error"] = "info"
    format: Literal["console", "json"] = "console"
    file: str | None = None


@dataclass(frozen=True, slots=True)
class Config:
    """Everything that can be set."""

    fitten: FittenSettings
    server: ServerSettings = field(default_factory=ServerSettings)
    stream: StreamSettings = field(default_factory=StreamSettings)
    images: ImageSettings = field(default_factory=ImageSettings)
    log: LogSettings = field(default_factory=LogSettings)
    middlewares: tuple[MiddlewareEntry, ...] = ()

    @property
    def state_file(self) -> Path:
        """Where tokens survive a restart; systemd's state directory unless set."""
        if self.fitten.state_file:
            return Path(self.fitten.state_file)
        return Path(os.environ.get("STATE_DIRECTORY", "state").split(":")[0]) / "fitten.json"

    def listening_on(self, *, host: str | None, port: int | None) -> Config:
        """The same, with the address that the command line asks for.

        Raises ConfigError for what is no port, or would open an unprotected gateway.
        """
        if port is not None and (fault := Between(0, 65_535).fault(port)):
            raise ConfigError([f"--port: {fault}"])
        server = replace(
            self.server,
            host=self.server.host if host is None else host,
            port=self.server.port if port is None else port,
        )
        changed = replace(self, server=server)
        if fault := _exposure(server, self.middlewares):
            raise ConfigError([f"--host: {fault}"])
        return changed

    def as_data(self) -> dict[str, Any]:
        """The effective settings as plain data, secrets masked."""
        data = {
            name: options.as_plain_data(getattr(self, name))
            for name in ("server", "stream", "fitten", "images", "log")
        }
        data["fitten"]["state_file"] = str(self.state_file)
        data["middlewares"] = [
            {step.name: options.as_plain_data(step.options)} if step.options else step.name
            for step in self.middlewares
        ]
        return data

    def secrets(self) -> list[str]:
        """Every secret that stands in the settings."""
        found = [s.value for s in _secrets((self.fitten, [s.options for s in self.middlewares]))]
        return found + [part for secret in found for part in _passwords_in(secret)]

    def masked(self, text: str) -> str:
        """A text without the secrets of these settings."""
        return _without(self.secrets(), text)


def load_config(
    path: Path, environ: Mapping[str, str] | None = None, *, without_secrets: bool = False
) -> Config:
    """The settings in a file, YAML or the original's INI by its ending.

    environ: what `${NAME}` stands for; the process's environment unless given.
    without_secrets: do not read what `${credential:NAME}` and `${file:PATH}` stand for.
    Raises ConfigError with every mistake.
    """
    environ = os.environ if environ is None else environ
    try:
        text = path.read_text("utf-8-sig")
    except OSError as error:
        raise ConfigError([f"{path}: cannot be read: {error.strerror}"]) from None
    except UnicodeDecodeError:
        raise ConfigError([f"{path}: is not text in UTF-8"]) from None
    read = file.read_ini if path.suffix == ".ini" else file.read_yaml
    document = read(text, environ, without_secrets=without_secrets)
    mistakes = document.mistakes
    config = _settings(document.data, mistakes) if document.readable else None
    if mistakes:
        said = [_location(path, document, where) + mistakes[where] for where in mistakes]
        raise ConfigError([_without(document.secrets, line) for line in said])
    assert config is not None
    return config


_SECTIONS = {
    "server": ServerSettings,
    "stream": StreamSettings,
    "fitten": FittenSettings,
    "images": ImageSettings,
    "log": LogSettings,
}


def _settings(data: Any, mistakes: Mistakes) -> Config | None:
    """The settings, or None when there are mistakes; each part is read whatever the others are."""
    data = {} if data is None else data
    known = (*_SECTIONS, "middlewares")
    if not isinstance(data, dict):
        mistakes[""] = f"expected a mapping with {', '.join(known)}"
        return None
    for name in data.keys() - set(known):
        mistakes[options.masked_name(name)] = f"unknown option; known: {', '.join(known)}"
    values = {
        name: options.read_value(kind, data.get(name, {}), name, mistakes)
        for name, kind in _SECTIONS.items()
    }
    if data.get("middlewares") is None:
        mistakes["middlewares"] = "is missing; see config.yaml for the usual list"
    chain = read_middlewares(data.get("middlewares") or [], "middlewares", mistakes)
    server = values["server"]
    if server is not options.UNSET and (fault := _exposure(server, chain)):
        mistakes.setdefault("server.host", fault)
    return None if mistakes else Config(middlewares=chain, **values)


def _exposure(server: ServerSettings, chain: tuple[MiddlewareEntry, ...]) -> str | None:
    """Why the gateway must not listen on its address, if so."""
    try:
        loopback = ipaddress.ip_address(server.host).is_loopback
    except ValueError:
        loopback = server.host == "localhost"
    if loopback or server.allow_open or any(step.name == "api_key" for step in chain):
        return None
    return (
        f"{server.host} can be reached from outside and no api_key middleware asks for a key; add "
        "api_key, or listen on 127.0.0.1, or say server.allow_open: true"
    )


def _location(path: Path, document: file.ConfigDocument, where: str) -> str:
    line = document.line(where)
    place = f"{path}:{line}: " if line else f"{path}: "
    return f"{place}{where}: " if where else place


def _without(secrets: Iterable[str], text: str) -> str:
    for secret in sorted(secrets, key=len, reverse=True):
        text = text.replace(secret, "****") if len(secret) >= _MIN_MASKED else text
    return text


def _passwords_in(secret: str) -> list[str]:
    """The password within an address, which may be written in other ways than the whole."""
    if "://" not in secret or "@" not in secret:
        return []
    try:
        written = urlsplit(secret).password or ""
    except ValueError:
        return []
    return [form for form in {written, unquote(written)} if form]


def _secrets(value: Any) -> list[Secret]:
    if isinstance(value, Secret):
        return [value]
    if isinstance(value, dict):
        value = list(value.values())
    elif hasattr(value, "__dataclass_fields__"):
        value = [getattr(value, name) for name in value.__dataclass_fields__]
    if isinstance(value, (list, tuple)):
        return [secret for item in value for secret in _secrets(item)]
    return []

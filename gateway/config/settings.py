"""Defines the typed settings.

The names of the fields are the names of the options. docs/configuration.md describes each
option; a test compares it with this file.
"""

from __future__ import annotations

import fnmatch
import ipaddress
import os
import re
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from datetime import tzinfo
from pathlib import Path
from typing import Annotated, Any, Literal
from urllib.parse import unquote, urlsplit

from gateway import options
from gateway.config.admin import AdminSettings
from gateway.config.store import AuditSettings as AuditSettings
from gateway.config.store import LedgerSettings as LedgerSettings
from gateway.config.store import StoreSettings as StoreSettings
from gateway.config.store import state_file
from gateway.config.time_zone import TimeZoneName, system_zone
from gateway.limits.options import LimitOptions
from gateway.limits.periods import zone_named
from gateway.middleware import MiddlewareEntry
from gateway.options import Between, Distinct, HttpUrl, IpNetwork, Secret
from gateway.options import ConfigError as ConfigError
from gateway.redaction import MASK

Seconds = Annotated[float, Between(0.01, 86_400, "seconds", 30)]
Concurrency = Annotated[int, Between(1, 100_000)]


# Of examples in documents, also those of the original program.
_PLACEHOLDER = re.compile(
    r"\.{3,}|…|x{3,12}|<[^<>]*(name|word|your)[^<>]*>|change[-_ ]?me"
    r"|your[\w-]*(user[-_]?name|pass[-_]?word)",
    re.IGNORECASE,
)


class _NoPlaceholder:
    """Requires a name or a password that is not one of an example."""

    def fault(self, value: Any) -> str | None:
        text = value.value if isinstance(value, Secret) else value
        if not _PLACEHOLDER.fullmatch(text):
            return None
        return "is the placeholder of an example; write your own, or ${NAME} for a variable"


class _HostAddress:
    """Requires an address or a name without brackets, a port or a scheme."""

    def fault(self, value: str) -> str | None:
        if value.startswith("[") and value.endswith("]"):
            return "write an IPv6 address without brackets, such as '::1'"
        if "/" in value or value.count(":") == 1:
            return "expected an address such as 127.0.0.1; the port is server.port"
        if value != value.strip():
            return "has blanks around it"
        return None


@dataclass(frozen=True, slots=True)
class ServerSettings:
    """Sets where the gateway listens, with how many processes, and the limits of a client."""

    host: Annotated[str, _HostAddress()] = "127.0.0.1"
    port: Annotated[int, Between(0, 65_535)] = 5000
    workers: Annotated[int, Between(1, 256)] = 1
    allow_open: bool = False
    max_body_bytes: Annotated[int, Between(1024, 2**31, "bytes", 20_971_520)] = 20 * 1024 * 1024
    large_bodies: Annotated[int, Between(1, 10_000)] = 4
    header_timeout: Seconds = 10.0
    body_timeout: Seconds = 30.0
    max_connections: Annotated[int, Between(1, 1_000_000)] | None = None
    send_buffer: Annotated[int, Between(4096, 2**24, "bytes", 131_072)] = 128 * 1024
    drain_timeout: Seconds = 30.0
    trusted_proxies: tuple[Annotated[str, IpNetwork()], ...] = ()
    time_zone: Annotated[str, TimeZoneName()] | None = None


@dataclass(frozen=True, slots=True)
class StreamSettings:
    """Sets how an answer is streamed to a client."""

    grace: Seconds = 3.0
    keep_alive: Seconds = 10.0
    write_timeout: Seconds = 30.0


@dataclass(frozen=True, slots=True)
class AccountSettings:
    """Describes a Fitten account. `max_concurrent` is that of the pool unless set."""

    username: Annotated[str, _NoPlaceholder()]
    password: Annotated[Secret, _NoPlaceholder()]
    max_concurrent: Concurrency | None = None


@dataclass(frozen=True, slots=True)
class PoolSettings:
    """Sets how requests share the accounts, and when an account pauses.

    max_concurrent, max_completions: chats, and code completions, at once on one account.
    queue_length, queue_wait: how many requests may wait for a slot, and how many seconds.
    retry_ratio: how many more calls to Fitten than one a request may need on average.
    breaker_failures: failures in a row after which an account pauses; 0 for never.
    breaker_pause: seconds of the first pause.
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
    """Sets the longest waits for Fitten; `answer` is the time of a whole answer."""

    connect: Seconds = 10.0
    call: Seconds = 20.0
    first_piece: Seconds = 120.0
    between_pieces: Seconds = 120.0
    answer: Seconds = 600.0

    def within(self, seconds: float) -> TimeoutSettings:
        """Return the limits for an answer that has only so many seconds left."""
        first, answer = min(self.first_piece, seconds), min(self.answer, seconds)
        return replace(self, first_piece=first, answer=answer)


@dataclass(frozen=True, slots=True)
class CompletionSettings:
    """Sets how code is completed at the cursor.

    timeout: the longest wait for a completion, in seconds.
    filename: the name that Fitten gets when the editor sends none.
    diff: whether only the changes are sent of a file that Fitten already has.
    """

    timeout: Seconds = 15.0
    filename: str = "untitled"
    diff: bool = True


@dataclass(frozen=True, slots=True)
class FittenSettings:
    """Sets the accounts at Fitten, its addresses, and how it is called."""

    accounts: Annotated[tuple[AccountSettings, ...], Distinct("account", "username")]
    base_url: Annotated[str, HttpUrl()] = "https://fc.fittenlab.cn"
    models_url: Annotated[str, HttpUrl()] = "https://api.fittentech.com"
    models_refresh: Seconds = 600.0
    state_file: str | None = None
    default_system: str = "Reply same language as the user's input."
    timeouts: TimeoutSettings = field(default_factory=TimeoutSettings)
    pool: PoolSettings = field(default_factory=PoolSettings)
    completion: CompletionSettings = field(default_factory=CompletionSettings)
    max_answer_bytes: Annotated[int, Between(1024, 2**31, "bytes", 67_108_864)] = 64 * 1024 * 1024
    stop_repetition: bool = False
    accept_unproven_end: bool = False
    chat_client: Literal["lean", "aiohttp"] = "lean"
    ca_file: str | None = None
    proxy: Annotated[Secret, HttpUrl()] | None = None  # it may hold a password


@dataclass(frozen=True, slots=True)
class ImageSettings:
    """Sets which images a chat may have.

    max_bytes, max_pixels: the limits of one image.
    remote: whether images at an https address are fetched; with remote_http at http too.
    timeout: the longest fetch, in seconds.
    """

    max_bytes: Annotated[int, Between(1, 64 * 1024 * 1024, "bytes", 5_242_880)] = 5 * 1024 * 1024
    max_pixels: Annotated[int, Between(1, 1_000_000_000)] = 50_000_000
    remote: bool = False
    remote_http: bool = False
    timeout: Seconds = 10.0


Notation = Literal["auto", "hybrid", "json"]


@dataclass(frozen=True, slots=True)
class LoopSettings:
    """Sets what happens when an agent makes the same call again and again with the same result.

    remind: at so many, a sentence behind the last result says so; None for never.
    stop: at so many, no tools are offered, and the model is asked to answer in text.
    """

    remind: Annotated[int, Between(3, 1000)] | None = None
    stop: Annotated[int, Between(3, 1000)] | None = None


@dataclass(frozen=True, slots=True)
class RecorderSettings:
    """Sets where answers that could not be read are kept.

    folder: the folder of the files; None to keep nothing.
    days: how long a file is kept.
    max_bytes: the most bytes of all files together; the oldest files make room.
    """

    folder: str | None = None
    days: Annotated[int, Between(1, 365, "days", 7)] = 7
    max_bytes: Annotated[int, Between(2**23, 2**40, "bytes", 52_428_800)] = 50 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class ToolSettings:
    """Sets how tools are offered to models, which know text only.

    notation: by pattern of the model's name, the notation that the prompt asks for.
    budget: characters of the list of tools in a prompt beyond which descriptions are shortened.
    repair: whether a broken or an empty answer is asked for once more.
    loop: what happens when an agent goes round in circles.
    recorder: where answers that could not be read are kept.
    """

    notation: dict[str, Notation] = field(default_factory=lambda: {"*": "auto"})
    budget: Annotated[int, Between(1000, 300_000, "characters", 40_000)] = 40_000
    repair: bool = True
    loop: LoopSettings = field(default_factory=LoopSettings)
    recorder: RecorderSettings = field(default_factory=RecorderSettings)

    def notation_of(self, model: str) -> Notation:
        """Return the notation for a model: that of the longest pattern which its name fits.

        Without such a pattern it is `auto`. Upper and lower case do not count, and a blank in the
        name is a `-` as well: `deepseek-*` fits `DeepSeek V3`.
        """
        name = model.casefold()
        folded = {pattern.casefold(): pattern for pattern in self.notation}
        fitting = (longest_pattern(one, folded) for one in (name, name.replace(" ", "-")))
        found = max((one for one in fitting if one is not None), key=len, default=None)
        return "auto" if found is None else self.notation[folded[found]]


@dataclass(frozen=True, slots=True)
class ModelSettings:
    """Sets under which other names clients find the models.

    aliases: by pattern of an unknown name, the name of the model to use. `{}` for none.
    """

    aliases: dict[str, str] = field(
        default_factory=lambda: dict.fromkeys(
            ("claude-*", "codex-*", "gpt-*", "o[0-9]*"), "fitten-code"
        )
    )


@dataclass(frozen=True, slots=True)
class LimitSettings(LimitOptions):
    """Sets the limits of the whole gateway.

    queue_wait: how many seconds a request waits when its key has reached its own concurrency.
    """

    queue_wait: Annotated[float, Between(0, 600, "seconds", 10)] = 10.0


@dataclass(frozen=True, slots=True)
class TeamSettings(LimitOptions):
    """Describes a team: limits that its keys share."""

    name: str


Teams = Annotated[tuple[TeamSettings, ...], Distinct("team", "name", may_be_empty=True)]


@dataclass(frozen=True, slots=True)
class LogSettings:
    """Sets where log lines go and their format."""

    level: Literal["debug", "info", "warning", "error"] = "info"
    format: Literal["console", "json"] = "console"
    file: str | None = None
    client: Literal["full", "family", "none"] = "family"


@dataclass(frozen=True, slots=True)
class Config:
    """Holds all settings."""

    fitten: FittenSettings
    server: ServerSettings = field(default_factory=ServerSettings)
    stream: StreamSettings = field(default_factory=StreamSettings)
    images: ImageSettings = field(default_factory=ImageSettings)
    tools: ToolSettings = field(default_factory=ToolSettings)
    models: ModelSettings = field(default_factory=ModelSettings)
    limits: LimitSettings = field(default_factory=LimitSettings)
    teams: Teams = ()
    log: LogSettings = field(default_factory=LogSettings)
    store: StoreSettings = field(default_factory=StoreSettings)
    ledger: LedgerSettings = field(default_factory=LedgerSettings)
    audit: AuditSettings = field(default_factory=AuditSettings)
    admin: AdminSettings = field(default_factory=AdminSettings)
    middlewares: tuple[MiddlewareEntry, ...] = ()

    @property
    def state_file(self) -> Path:
        """Return the file that keeps tokens over a restart.

        Unless set, it is in systemd's state directory, or in `state` without systemd.
        """
        return state_file(self.fitten.state_file, os.environ)

    @property
    def time_zone(self) -> tzinfo:
        """Return the zone in which a day begins; unless set, that of the system."""
        name = self.server.time_zone
        return system_zone() if name is None else zone_named(name)

    @property
    def store_file(self) -> Path | None:
        """Return the database of the ledger; None for no store and no ledger."""
        return self.store.file_beside(self.state_file)

    @property
    def admin_socket(self) -> Path:
        """Return the UNIX socket of the admin API.

        Unless set, it is in systemd's runtime directory, or beside the state file without one.
        """
        if self.admin.socket:
            return Path(self.admin.socket)
        folder = os.environ.get("RUNTIME_DIRECTORY", "").split(":")[0]
        return Path(folder) / "admin.sock" if folder else self.state_file.with_name("admin.sock")

    def listening_on(self, *, host: str | None, port: int | None) -> Config:
        """Return the settings with the address of the command line; None keeps the configured.

        Raises ConfigError for a wrong port, and for an address that other machines reach
        when no middleware authenticates requests.
        """
        if port is not None and (fault := Between(0, 65_535).fault(port)):
            raise ConfigError([f"--port: {fault}"])
        server = replace(
            self.server,
            host=self.server.host if host is None else host,
            port=self.server.port if port is None else port,
        )
        changed = replace(self, server=server)
        if fault := exposure_fault(server, self.middlewares):
            raise ConfigError([f"--host: {fault}"])
        return changed

    def as_data(self) -> dict[str, Any]:
        """Return the effective settings as plain data, secrets masked."""
        data = {
            name: options.as_plain_data(getattr(self, name))
            for name in (
                *("server", "stream", "fitten", "images", "tools", "models", "limits", "teams"),
                *("log", "store", "ledger", "audit", "admin"),
            )
        }
        data["server"]["time_zone"] = str(self.time_zone)
        data["fitten"]["state_file"] = str(self.state_file)
        file = self.store_file
        data["admin"]["socket"] = str(self.admin_socket)
        data["store"]["url"] = "none" if file is None else f"sqlite:///{file.absolute()}"
        for name in ("base_url", "models_url"):
            data["fitten"][name] = _without_password(data["fitten"][name])
        data["middlewares"] = [
            {entry.name: options.as_plain_data(entry.options)} if entry.options else entry.name
            for entry in self.middlewares
        ]
        return data

    def secrets(self) -> list[str]:
        """Return all secrets in the settings, and the passwords within addresses."""
        chain = [entry.options for entry in self.middlewares]
        found = [s.value for s in _find_secrets((self.fitten, self.admin, chain))]
        addresses = [*found, self.fitten.base_url, self.fitten.models_url]
        return found + [part for address in addresses for part in _passwords_in(address)]


def longest_pattern(name: str, patterns: Iterable[str]) -> str | None:
    """Return the longest pattern that a name fits; None if there is none."""
    fitting = [pattern for pattern in patterns if fnmatch.fnmatchcase(name, pattern)]
    return max(fitting, key=len) if fitting else None


def exposure_fault(server: ServerSettings, chain: tuple[MiddlewareEntry, ...]) -> str | None:
    """Return why the gateway must not listen on its address; None when it may."""
    try:
        loopback = ipaddress.ip_address(server.host).is_loopback
    except ValueError:
        loopback = server.host == "localhost"
    if loopback or server.allow_open or any(m.authenticates for m in chain):
        return None
    return (
        f"{server.host} can be reached from other machines, and no middleware authenticates "
        "requests. Add api_key, or listen on 127.0.0.1, or set server.allow_open: true"
    )


def _passwords_in(secret: str) -> list[str]:
    """Return the password within an address, as it is written there and decoded."""
    if "://" not in secret or "@" not in secret:
        return []
    try:
        written = urlsplit(secret).password or ""
    except ValueError:
        return []
    return [form for form in {written, unquote(written)} if form]


def _without_password(address: str) -> str:
    """Return an address with its password masked."""
    for password in _passwords_in(address):
        address = address.replace(f":{password}@", f":{MASK}@")
    return address


def _find_secrets(value: Any) -> list[Secret]:
    if isinstance(value, Secret):
        return [value]
    if isinstance(value, dict):
        value = list(value.values())
    elif hasattr(value, "__dataclass_fields__"):
        value = [getattr(value, name) for name in value.__dataclass_fields__]
    if isinstance(value, (list, tuple)):
        return [secret for item in value for secret in _find_secrets(item)]
    return []

"""A reload: other settings, checked first, then taken as a whole or not at all."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from typing import Protocol

import structlog

from gateway.app import ACCOUNTS, SHARED_STATE, build_app, copy_tokens, hand_over
from gateway.config.settings import Config, ConfigError
from gateway.server.entrypoint import Entrypoint
from gateway.server.listeners import check_exposure
from gateway.server.systemd import SystemdNotifier
from gateway.server.watchdog import StatusLine

_log = structlog.get_logger("reload")

_UPSTREAM_WAIT = 5.0  # seconds that the upstream has to get ready before requests come


class ConfigSource(Protocol):
    """Where settings come from, and what the process itself has to do with them."""

    def load(self) -> Config:
        """The settings as they are now; blocks. Raises ConfigError."""

    def adopt(self, config: Config) -> None:
        """Let the process's own affairs, its log, follow. Raises OSError, nothing changed."""

    def reopen(self) -> None:
        """Open log files anew."""

    def on_secret(self, secret: str) -> None:
        """Told every secret before it is used."""


class ReloadRefused(Exception):
    """A reload that changed nothing; the text says why, without values of the settings."""


async def reload_when_asked(
    asked: asyncio.Event,
    reload: Callable[[], Awaitable[object]],
    supervisor: SystemdNotifier,
    status: StatusLine,
) -> None:
    """Reload whenever the event is set; runs until cancelled. reload: raises Refused."""
    while True:
        await asked.wait()
        asked.clear()
        supervisor.reloading()
        status.note = ""
        try:
            await reload()
        except ReloadRefused as refused:
            status.note = f"reload refused, the former settings stay: {refused}"
        supervisor.ready(status())


@contextmanager
def refuse_on_failure() -> Iterator[None]:
    """Around the steps of a reload: raises Refused, and logs why, whatever goes wrong."""
    try:
        yield
    except ConfigError as error:
        _log.error("reload_refused", mistakes=error.mistakes)
        raise ReloadRefused(_first_location(error)) from None
    except OSError as error:
        _log.error("reload_refused", reason=str(error))
        raise ReloadRefused(error.strerror or str(error) or type(error).__name__) from None
    except Exception as error:  # steps of others are started here
        _log.error("reload_refused", exc_info=error)
        raise ReloadRefused(type(error).__name__) from None


async def reload_entrypoint(entrypoint: Entrypoint, source: ConfigSource) -> Config:
    """Put an application with the present settings behind the door. Raises Refused.

    Whatever fails, or is cancelled, leaves everything as it was.
    """
    source.reopen()
    started = time.monotonic()
    with refuse_on_failure():
        config = await asyncio.to_thread(source.load)
        check_exposure(config, entrypoint.addresses)
        await _swap(entrypoint, config, source)
    _log.info("reloaded", seconds=round(time.monotonic() - started, 3), leaving=entrypoint.leaving)
    return config


async def _swap(entrypoint: Entrypoint, config: Config, source: ConfigSource) -> None:
    for secret in config.secrets():
        source.on_secret(secret)
    app = build_app(
        config, entrypoint.in_flight, entrypoint.app[SHARED_STATE], on_secret=source.on_secret
    )
    copy_tokens(entrypoint.app, app)
    running_app = await entrypoint.start(app)
    try:
        await wait_for_upstream(app[ACCOUNTS].tried)
        source.adopt(config)
    except BaseException:
        await running_app.end()
        raise
    # No await from here: no request comes between the steps.
    hand_over(entrypoint.app, app)
    entrypoint.put(running_app)
    entrypoint.limit(config)


async def wait_for_upstream(tried: asyncio.Event) -> None:
    """Wait for the upstream's first login and list of models, but not for long."""
    try:
        async with asyncio.timeout(_UPSTREAM_WAIT):
            await tried.wait()
    except TimeoutError:
        _log.warning("upstream_not_ready")


def _first_location(error: ConfigError) -> str:
    """The place of the first mistake: what follows it may quote a value."""
    place, *_ = error.mistakes[0].partition(": ")
    more = len(error.mistakes) - 1
    return f"see {place} and the log" + (f" ({more} more mistakes)" if more else "")

"""Reloads the settings: checks and prepares the new ones, then applies all of them or none."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass

import structlog

from gateway.app import ACCOUNTS, CONFIG, SHARED_STATE, build_app, copy_sessions, hand_over
from gateway.config.difference import changed_options, options_for_restart
from gateway.config.settings import Config, ConfigError
from gateway.redaction import os_error_and_file, os_error_text
from gateway.server.entrypoint import Entrypoint
from gateway.server.listeners import check_exposure, limits_of
from gateway.server.systemd import SystemdNotifier
from gateway.server.watchdog import StatusLine

_log = structlog.get_logger("reload")

_SHOWN_OPTIONS = 20  # changed options that the log names
_UPSTREAM_WAIT = 5.0  # seconds to wait for the upstream before requests are accepted


@dataclass(frozen=True)
class ConfigSource:
    """Holds what a reload needs: where the settings come from, and the log of the process.

    load: reads the current settings. Blocks. Raises ConfigError.
    adopt: applies the settings of the log. Raises OSError and then has changed nothing.
    reopen: reopens the log files, for example after they were renamed.
    on_secret: registers a secret, so that logs mask it; called before the secret is used.
    """

    load: Callable[[], Config]
    adopt: Callable[[Config], None]
    reopen: Callable[[], None]
    on_secret: Callable[[str], None]


class ReloadRefused(Exception):
    """Reports that a reload failed and changed nothing.

    The text says why, without values of the settings.
    """


async def reload_on_request(
    requested: asyncio.Event,
    reload: Callable[[], Awaitable[object]],
    notifier: SystemdNotifier,
    status: StatusLine,
) -> None:
    """Reload each time the event is set. Runs until cancelled.

    reload: raises ReloadRefused; the reason goes to systemd with the status line.
    """
    while True:
        await requested.wait()
        requested.clear()
        notifier.reloading()
        status.note = ""
        try:
            await reload()
        except ReloadRefused as refused:
            status.note = f"reload refused, the former settings stay: {refused}"
        notifier.ready(status())


@contextmanager
def refuse_on_failure() -> Iterator[None]:
    """Convert any error within the context into ReloadRefused, and log the reason."""
    try:
        yield
    except ConfigError as error:
        _log.error("reload_refused", mistakes=error.mistakes)
        raise ReloadRefused(_first_location(error)) from None
    except OSError as error:
        _log.error("reload_refused", reason=os_error_and_file(error))
        raise ReloadRefused(os_error_text(error)) from None
    except Exception as error:  # a middleware may raise anything when it starts
        _log.error("reload_refused", exc_info=error)
        raise ReloadRefused(type(error).__name__) from None


async def reload_entrypoint(
    entrypoint: Entrypoint,
    source: ConfigSource,
    prepared: Callable[[Config], AbstractContextManager[None]] = lambda _: nullcontext(),
) -> Config:
    """Switch an entrypoint to an application with the current settings of the source.

    prepared: returns a context in which more is ready for new settings; it undoes that if the
        reload fails. Raises OSError if it cannot be made ready, and ConfigError.
    Raises ReloadRefused. A reload that fails or is cancelled changes nothing.
    """
    source.reopen()
    started = time.monotonic()
    former = entrypoint.app[CONFIG]
    with refuse_on_failure():
        config = await asyncio.to_thread(source.load)
        check_exposure(config, entrypoint.addresses)
        with prepared(config):
            await _swap(entrypoint, config, source)
    log_reload(former, config, time.monotonic() - started, leaving=entrypoint.draining_apps)
    return config


def log_reload(former: Config, config: Config, seconds: float, *, leaving: int) -> None:
    """Log what a reload has changed, and which changes have no effect before a restart.

    leaving: how many former applications have open requests.
    """
    changed = changed_options(former, config)
    _log.info(
        "reloaded",
        seconds=round(seconds, 3),
        leaving=leaving,
        changed=changed[:_SHOWN_OPTIONS],
        changes=len(changed),
    )
    if waiting := options_for_restart(former, config):
        _log.warning("restart_needed", options=waiting)


async def _swap(entrypoint: Entrypoint, config: Config, source: ConfigSource) -> None:
    for secret in config.secrets():
        source.on_secret(secret)
    app = build_app(
        config, entrypoint.in_flight, entrypoint.app[SHARED_STATE], on_secret=source.on_secret
    )
    copy_sessions(entrypoint.app, app)
    running_app = await entrypoint.start_app(app)
    try:
        await wait_for_upstream(app[ACCOUNTS].tried)
        source.adopt(config)
    except BaseException:
        await running_app.close()
        raise
    # No await from here on, so that no request can arrive in between.
    hand_over(entrypoint.app, app)
    entrypoint.switch_to(running_app)
    entrypoint.apply_limits(limits_of(config))


async def wait_for_upstream(tried: asyncio.Event) -> None:
    """Wait for the first login and the list of models, but at most 5 seconds.

    tried: set when the upstream was asked once, whatever the result.
    """
    try:
        async with asyncio.timeout(_UPSTREAM_WAIT):
            await tried.wait()
    except TimeoutError:
        _log.warning("upstream_not_ready")


def _first_location(error: ConfigError) -> str:
    """Return where the first mistake is, without its text, which may quote a value."""
    place, *_ = error.mistakes[0].partition(": ")
    more = len(error.mistakes) - 1
    return f"see {place} and the log" + (f" ({more} more mistakes)" if more else "")

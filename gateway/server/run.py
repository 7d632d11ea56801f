"""Runs a service until a signal ends it: serve, notify systemd, reload, drain, exit.

POSIX only, like the whole gateway: signals, Unix sockets and uvloop are needed.
"""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from functools import partial
from typing import Any, Protocol, TypeVar

import structlog
import uvloop

from gateway import __version__
from gateway.server.reload import ConfigSource, reload_on_request
from gateway.server.systemd import SystemdNotifier
from gateway.server.watchdog import ServiceNumbers, StatusLine, extend_stop_timeout, keep_alive

_log = structlog.get_logger("server")

R = TypeVar("R")


class Service(ServiceNumbers, Protocol):
    """Describes what serves requests: this process alone, or a master with workers."""

    @property
    def drain_timeout(self) -> float:
        """Return the seconds that open requests may take after a stop was requested."""
        ...

    async def start(self) -> str:
        """Start to serve, and return the URL.

        Raises OSError when the address cannot be listened on, ConfigError when listening there
        would leave the gateway unprotected.
        """
        ...

    async def wait_for_upstream(self) -> None:
        """Wait a few seconds for the first login to the upstream."""
        ...

    async def reload(self, source: ConfigSource) -> None:
        """Apply the current settings of the source.

        Raises ReloadRefused and then has changed nothing.
        """
        ...

    async def stop(self) -> None:
        """Accept no more requests, finish open ones within `drain_timeout`, and end."""
        ...

    async def close(self) -> None:
        """Close everything that is still open, also after a failed start."""
        ...

    def kill(self) -> None:
        """End all processes that were started, at once: this process is about to exit."""
        ...


async def serve_until_stopped(
    service: Service,
    *,
    source: ConfigSource | None = None,
    notifier: SystemdNotifier | None = None,
    on_ready: Callable[[str], None] = lambda _: None,
    before_exit: Callable[[], None] = lambda: None,
) -> None:
    """Serve until SIGTERM or SIGINT; a second signal ends the process at once.

    Raises the errors of `Service.start`.

    source: gives the settings for a reload by SIGHUP; without it there is no reload.
    notifier: reports the state of the process to systemd.
    on_ready: called with the URL once requests are accepted.
    before_exit: called before a second signal ends the process, which skips every `finally`.
    """
    notifier = notifier or SystemdNotifier()
    stop_requested, reload_requested = asyncio.Event(), asyncio.Event()

    def on_second_signal() -> None:
        service.kill()
        before_exit()

    _install_stop_signals(stop_requested, notifier, on_second_signal)
    if source is not None:
        asyncio.get_running_loop().add_signal_handler(signal.SIGHUP, reload_requested.set)
    _log.info("starting", version=__version__)
    try:
        url = await service.start()
        status = StatusLine(service)
        _log.info("listening", url=url)
        on_ready(url)

        async def get_ready_and_reload() -> None:
            if notifier.enabled:  # only systemd waits until the service is ready
                await service.wait_for_upstream()
            notifier.ready(status())
            if source is not None:
                reload = partial(service.reload, source)
                await reload_on_request(reload_requested, reload, notifier, status)

        async with _background(keep_alive(notifier, status)):
            async with _background(get_ready_and_reload()):
                await stop_requested.wait()
            status.draining(service.drain_timeout)
            async with _background(extend_stop_timeout(notifier)):
                await service.stop()
    finally:
        await service.close()
    _log.info("stopped")


def _install_stop_signals(
    requested: asyncio.Event, notifier: SystemdNotifier, before_exit: Callable[[], None]
) -> None:
    """Make SIGTERM and SIGINT request a stop, and a second one end the process."""

    def on_signal(number: int) -> None:
        if requested.is_set():
            _log.warning("stopped_at_once")
            before_exit()
            os._exit(128 + number)
        notifier.stopping()
        requested.set()

    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, on_signal, number)


@asynccontextmanager
async def _background(work: Coroutine[Any, Any, None]) -> AsyncIterator[None]:
    """Run a coroutine as a task within the context; cancel it at the end."""
    task = asyncio.create_task(work)
    task.add_done_callback(_log_failure)
    try:
        yield
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


def _log_failure(task: asyncio.Task[None]) -> None:
    if not task.cancelled() and task.exception() is not None:
        _log.error("bug", exc_info=task.exception())


def run_event_loop(main: Coroutine[Any, Any, R]) -> R:
    """Run a coroutine on a new uvloop event loop, and return its result."""
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        return runner.run(main)

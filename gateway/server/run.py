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

from gateway.server.reload import ConfigSource, reload_when_asked
from gateway.server.systemd import SystemdNotifier
from gateway.server.watchdog import ServiceNumbers, StatusLine, extend_stop_timeout, keep_alive

_log = structlog.get_logger("server")

R = TypeVar("R")


class Service(ServiceNumbers, Protocol):
    """What serves: this process by itself, or workers that it keeps."""

    @property
    def drain_timeout(self) -> float:
        """Seconds that requests may go on after a stop is asked for."""
        ...

    async def start(self) -> str:
        """Serve from now on; the URL. Raises OSError when the address cannot be listened on,
        ConfigError when it must not."""
        ...

    async def wait_for_upstream(self) -> None:
        """Wait a little for the upstream's first login."""
        ...

    async def reload(self, source: ConfigSource) -> None:
        """Serve by the present settings of the source. Raises Refused with nothing changed."""
        ...

    async def stop(self) -> None:
        """Take no more, finish what is under way within the drain time, end."""
        ...

    async def close(self) -> None:
        """End whatever is left, also of a start that failed."""
        ...

    def kill(self) -> None:
        """The process ends in this moment: so must what it has started."""
        ...


async def serve_until_stopped(
    service: Service,
    *,
    source: ConfigSource | None = None,
    supervisor: SystemdNotifier | None = None,
    on_ready: Callable[[str], None] = lambda _: None,
    before_exit: Callable[[], None] = lambda: None,
) -> None:
    """Serve until SIGTERM or SIGINT; a second signal ends the process at once.

    source: of the settings that SIGHUP asks for. supervisor: is told how the process is.
    on_ready: told the URL once requests are taken. before_exit: called before the process is
    ended at once, which skips every `finally`. Raises what `Service.start` raises.
    """
    supervisor = supervisor or SystemdNotifier()
    stop_asked, reload_asked = asyncio.Event(), asyncio.Event()

    def at_once() -> None:
        service.kill()
        before_exit()

    _install_stop_signals(stop_asked, supervisor, at_once)
    if source is not None:
        asyncio.get_running_loop().add_signal_handler(signal.SIGHUP, reload_asked.set)
    try:
        url = await service.start()
        status = StatusLine(service)
        _log.info("listening", url=url)
        on_ready(url)

        async def get_ready_and_reload() -> None:
            if supervisor.there:  # nobody else waits for it
                await service.wait_for_upstream()
            supervisor.ready(status())
            if source is not None:
                reload = partial(service.reload, source)
                await reload_when_asked(reload_asked, reload, supervisor, status)

        async with _background(keep_alive(supervisor, status)):
            async with _background(get_ready_and_reload()):
                await stop_asked.wait()
            status.draining(service.drain_timeout)
            async with _background(extend_stop_timeout(supervisor)):
                await service.stop()
    finally:
        await service.close()
    _log.info("stopped")


def _install_stop_signals(
    asked: asyncio.Event, supervisor: SystemdNotifier, before_exit: Callable[[], None]
) -> None:
    """Have SIGTERM and SIGINT ask for a stop, and a second one end the process."""

    def on_signal(number: int) -> None:
        if asked.is_set():
            _log.warning("stopped_at_once")
            before_exit()
            os._exit(128 + number)
        supervisor.stopping()
        asked.set()

    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, on_signal, number)


@asynccontextmanager
async def _background(work: Coroutine[Any, Any, None]) -> AsyncIterator[None]:
    """Work of its own task, until the block is left."""
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

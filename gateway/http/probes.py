"""Serves /health and /ready: whether the process answers, and whether it can serve."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from aiohttp import web

from gateway.http.in_flight import InFlightRequests


class Backend(Protocol):
    """Describes what serves the requests."""

    @property
    def fault(self) -> str | None:
        """Return why no request can be served now; None when one can."""
        ...


class Probes:
    """Answers a supervisor or load balancer; needs no key.

    degraded: returns the names of what does not work, although requests are served.
    """

    def __init__(
        self,
        backend: Backend,
        in_flight: InFlightRequests,
        degraded: Callable[[], list[str]] = list,
    ) -> None:
        self._backend = backend
        self._in_flight = in_flight
        self._degraded = degraded

    async def health(self, _: web.Request) -> web.StreamResponse:
        """Answer 200 as long as the process runs."""
        return web.json_response({"status": "ok"})

    async def ready(self, _: web.Request) -> web.StreamResponse:
        """Answer 200 when a request could be served now, else 503 with the reason."""
        fault = "shutting down" if self._in_flight.closing else self._backend.fault
        if fault is None:
            degraded = self._degraded()
            more = {"degraded": degraded} if degraded else {}
            return web.json_response({"status": "ready", **more})
        return web.json_response({"status": "not ready", "reason": fault}, status=503)

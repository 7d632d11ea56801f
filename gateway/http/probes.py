"""Serves /health and /ready: whether the process answers, and whether it can serve."""

from __future__ import annotations

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
    """Answers a supervisor or load balancer; needs no key."""

    def __init__(self, backend: Backend, in_flight: InFlightRequests) -> None:
        self._backend = backend
        self._in_flight = in_flight

    async def health(self, _: web.Request) -> web.StreamResponse:
        """Answer 200 as long as the process runs."""
        return web.json_response({"status": "ok"})

    async def ready(self, _: web.Request) -> web.StreamResponse:
        """Answer 200 when a request could be served now, else 503 with the reason."""
        fault = "shutting down" if self._in_flight.closing else self._backend.fault
        if fault is None:
            return web.json_response({"status": "ready"})
        return web.json_response({"status": "not ready", "reason": fault}, status=503)

"""Shows a key holder its limits, what is left of them, and what it used by day and model."""

from __future__ import annotations

import asyncio
import time
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import msgspec
import structlog
from aiohttp import web

from gateway.admission.admission import AdmissionControl
from gateway.admission.refusal import named_scope
from gateway.config.settings import Config
from gateway.limits.claims import Standing
from gateway.limits.meter import Meter
from gateway.middleware import principal_of
from gateway.principal import Principal

_log = structlog.get_logger("usage")

_DAYS = 31
_AT_ONCE = 2  # queries; each holds a thread and a connection


class UsageRoute:
    """Answers `GET /v1/usage` from the counts of limits and from the sums of the ledger.

    store: the database of the ledger, if there is one.
    """

    def __init__(
        self, config: Config, admission: AdmissionControl, meter: Meter, store: Path | None
    ) -> None:
        self._admission = admission
        self._meter = meter
        self._zone = config.time_zone
        self._store = store
        self._queries = asyncio.Semaphore(_AT_ONCE)

    async def answer(self, request: web.Request) -> web.StreamResponse:
        """Answer one request: of the sender's own key and team, and of the whole gateway.

        `days` is null if there is no ledger, or if it cannot be read now.
        """
        principal = principal_of(request)
        standings = await self._meter.standings(self._admission.scopes_of(request))
        now = time.time()
        body = {
            "object": "usage",
            "key": None if principal is None else principal.name,
            "team": None if principal is None else principal.team,
            "time_zone": str(self._zone),
            "limits": [self._limit(standing, principal, now) for standing in standings],
            "days": None if principal is None else await self._days(principal, now),
        }
        return web.Response(body=msgspec.json.encode(body), content_type="application/json")

    def _limit(self, standing: Standing, principal: Principal | None, now: float) -> dict[str, Any]:
        resets_at = datetime.fromtimestamp(now + standing.resets, self._zone)
        return {
            "scope": named_scope(standing.scope, principal),
            "limit": standing.limit,
            "maximum": standing.maximum,
            "used": standing.used,
            "left": standing.left,
            "resets_in": round(standing.resets, 3),
            "resets_at": resets_at.isoformat(timespec="seconds"),
        }

    async def _days(self, principal: Principal, now: float) -> list[dict[str, Any]] | None:
        if self._store is None:
            return None
        first = datetime.fromtimestamp(now, self._zone) - timedelta(days=_DAYS - 1)
        async with self._queries:
            return await asyncio.to_thread(
                _read_days, self._store, principal, first.date().isoformat()
            )


def _read_days(store: Path, principal: Principal, first: str) -> list[dict[str, Any]] | None:
    """Return the sums of a key by day and model, the newest first; None if that fails."""
    import sqlite3

    from gateway.ledger.queries import LedgerFilter, reading, usage
    from gateway.store.database import StoreUnusable

    try:
        with reading(store) as connection:
            where = LedgerFilter(since_day=first, key=principal.key_id or principal.name)
            rows = usage(connection, ("day", "model"), where)
    except (StoreUnusable, OSError, sqlite3.Error) as error:
        _log.warning("usage_not_read", reason=type(error).__name__)
        return None
    shown = ("day", "model", "requests", "failed", "prompt_tokens", "completion_tokens")
    # Refused requests alone make rows without a model, which say nothing about what was used.
    return [{name: row[name] for name in shown} for row in reversed(rows) if row["requests"]]

"""Starts what a run needs: emulator, proxy and gateway; collects their records at the end."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from chaos.load import ChatOutcome, Client
from chaos.middleware import HOLDS
from chaos.plan import PlannedRequest
from chaos.processes import (
    ACCOUNTS,
    NO_PAUSES,
    ChaosGateway,
    EmulatorProcess,
    Measures,
    RestartWindow,
    log_lines,
)
from chaos.proxy import Proxy
from chaos.records import journal, ledger
from chaos.records.outages import Outages
from chaos.records.reconciliation import Reconciliation, Sources

_SETTLE = 1.0  # seconds for the emulator's last calls
_QUIET = 0.5  # seconds


@dataclass
class ChaosEnvironment:
    """Holds the running programs.

    outcomes: of all requests so far. windows: what happened to the gateway.
    """

    emulator: EmulatorProcess
    proxy: Proxy
    gateway: ChaosGateway
    outcomes: list[ChatOutcome] = field(default_factory=list)
    windows: list[RestartWindow] = field(default_factory=list)

    async def send(self, requests: Iterable[PlannedRequest]) -> None:
        """Send each request at its time."""
        async with Client(self.gateway.port, self.outcomes) as client:
            await client.send_all(requests)

    async def measure(self) -> Measures:
        """Measure the idle gateway without pooled connections, whose number depends on the load."""
        await asyncio.sleep(_QUIET)
        self.proxy.drop_all()
        return await self.gateway.measure()

    @property
    def longest_hold(self) -> journal.Hold | None:
        """Return the longest hold of the gateway's event loop so far."""
        return journal.longest_hold(Path(f"{self.gateway.journal}{HOLDS}"))

    async def collect_records(self) -> tuple[Reconciliation, Outages]:
        """Stop the gateway and reconcile its records with the others."""
        counters = await self.gateway.counters()
        await self.gateway.stop()
        await asyncio.sleep(_SETTLE)
        lines = log_lines(self.gateway.logs)
        outages = Outages(lines, ACCOUNTS)
        sources = Sources(
            outcomes=self.outcomes,
            arrivals=journal.read(self.gateway.journal),
            lines=lines,
            exchanges=self.proxy.exchanges,
            calls=await self.emulator.calls(),
            windows=[*self.windows, *self.gateway.windows],
            outages=outages,
            ledger=ledger.read(self.gateway.database, counters),
        )
        return Reconciliation(sources), outages


@asynccontextmanager
async def open_environment(
    folder: Path, *, drain_timeout: float = 4.0, pool: Mapping[str, Any] = NO_PAUSES
) -> AsyncIterator[ChaosEnvironment]:
    """Start everything. folder: an existing one, for logs and state.

    Raises chaos.processes.ProcessFailed when something does not start.
    """
    async with (
        EmulatorProcess(folder) as emulator,
        Proxy(emulator.port) as proxy,
        ChaosGateway(folder, proxy.port, drain_timeout=drain_timeout, pool=pool) as gateway,
    ):
        yield ChaosEnvironment(emulator, proxy, gateway)

"""The services of the master and of its workers, at the two ends of a real socket."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from gateway.accounts.pool import LocalPool
from gateway.config.settings import AccountSettings, Config, FittenSettings
from gateway.errors import GatewayError, Unavailable
from gateway.ledger.ledger import Ledger
from gateway.limits.expectation import Expectation
from gateway.options import Secret
from gateway.store.token_file import Tokens
from gateway.workers.rpc.peer import RpcPeer
from gateway.workers.services.composition import (
    MasterState,
    RemoteState,
    WorkerClients,
    WorkerServers,
)
from gateway.workers.services.slots import RemotePool
from tests.unit.accounts.support import FakeSession, make_pool

CONFIG = Config(fitten=FittenSettings(accounts=(AccountSettings("a", Secret("secret")),)))


class MasterSession(FakeSession):
    """A session in the master whose state the test sets."""

    def __init__(self, name: str) -> None:
        super().__init__()
        self.name = name
        self.number = 1
        self.has_tokens = True
        self.replaced: list[tuple[Tokens, str]] = []
        self.refusals = 0
        self.fails: GatewayError | None = None
        self.hangs = False

    def _tokens(self) -> Tokens:
        return Tokens(f"u_{self.name}", f"access {self.number}", f"refresh {self.number}", 9e9)

    def current_tokens(self) -> Tokens | None:
        return self._tokens() if self.has_tokens else None

    async def tokens(self) -> Tokens:
        if self.hangs:
            await asyncio.sleep(60)
        if self.fails:
            raise self.fails
        return self._tokens()

    async def replace(self, rejected: Tokens, way: str) -> Tokens:
        self.replaced.append((rejected, way))
        self.number += 1
        return await self.tokens()

    def refused(self) -> GatewayError:
        self.refusals += 1
        return GatewayError("refused")


def master_pool(*limits: int, **options: Any) -> LocalPool[Any]:
    """Return a pool of the master with accounts a, b, c ..."""
    pool = make_pool(*limits, **options)
    for account in pool.accounts:
        account.session = MasterSession(account.name)
    return pool


def no_response() -> Unavailable:
    """Return the error of a request that gets no response."""
    return Unavailable("The other end is lost.", code="draining")


class WorkerConnection:
    """One worker: `master` and `servers` are the master's end, the others the worker's."""

    def __init__(self, pool: LocalPool[Any], state: MasterState) -> None:
        self.master = RpcPeer(no_response)
        self.servers = WorkerServers(self.master, state)
        self.servers.accounts.pools[1] = pool
        self.rpc = RpcPeer(no_response)
        self.clients = WorkerClients(self.rpc)
        self.remote_state = RemoteState(self.clients, 1, Ledger(), Expectation())
        self.secrets: list[str] = []
        client: Any = None
        accounts = self.remote_state.accounts(CONFIG, client, self.secrets.append)
        self.newest_completions = accounts.newest_completions
        self.pool: RemotePool = accounts.pool

    async def open(self) -> None:
        await connect(self.master, self.rpc)
        self.servers.keys.begin()

    def close(self) -> None:
        """Close both ends, as when the worker has ended."""
        self.rpc.close()
        self.master.close()


@asynccontextmanager
async def connected_workers(
    pool: LocalPool[Any], count: int = 1, state: MasterState | None = None
) -> AsyncIterator[list[WorkerConnection]]:
    """Open `count` workers with one master."""
    state = state or MasterState()
    opened = [WorkerConnection(pool, state) for _ in range(count)]
    for worker in opened:
        await worker.open()
    try:
        yield opened
    finally:
        for worker in opened:
            worker.close()
        await asyncio.sleep(0.01)


async def connect(one: RpcPeer, other: RpcPeer) -> None:
    """Open two ends at the ends of one socket pair."""
    ours, theirs = socket.socketpair()
    await one.open(ours)
    await other.open(theirs)


async def settled() -> None:
    """Wait until the messages that were sent have arrived."""
    for _ in range(20):
        await asyncio.sleep(0.001)

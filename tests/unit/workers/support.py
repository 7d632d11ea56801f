"""The master's RPC server and the worker's client, at the two ends of a real socket."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from gateway.accounts.pool import LocalPool
from gateway.config.settings import AccountSettings, Config, FittenSettings
from gateway.errors import GatewayError
from gateway.options import Secret
from gateway.store.token_file import Tokens
from gateway.workers.rpc.channel import master_channel
from gateway.workers.rpc.client import RpcClient
from gateway.workers.rpc.messages import CompletionSuperseded
from gateway.workers.rpc.server import MasterState, RpcServer
from gateway.workers.services.remote_state import RemoteNewestCompletions, RemotePool, RemoteState
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


class WorkerConnection:
    """One worker: `rpc_server` is the master's end, `remote_state` and `pool` the worker's."""

    def __init__(self, pool: LocalPool[Any], state: MasterState) -> None:
        self.channel = master_channel(self._take, lambda: self.rpc_server.close())
        self.rpc_server = RpcServer(state, self.channel.send)
        self.rpc_server.pools[1] = pool
        self.rpc = RpcClient(self._on_message, lambda: None)
        self.newest_completions = RemoteNewestCompletions(self.rpc)
        self.remote_state = RemoteState(self.rpc, 1, self.newest_completions)
        self.secrets: list[str] = []
        client: Any = None
        accounts = self.remote_state.accounts(CONFIG, client, self.secrets.append)
        self.pool: RemotePool = accounts.pool

    def _take(self, message: Any) -> None:
        self.rpc_server.receive(message)

    def _on_message(self, message: Any) -> None:
        if isinstance(message, CompletionSuperseded):
            self.newest_completions.supersede(message.completion)
        else:
            self.remote_state.update(message)

    async def open(self) -> None:
        ours, theirs = socket.socketpair()
        await self.channel.open(ours)
        await self.rpc.open(theirs)

    def close(self) -> None:
        """Close both ends, as when the worker has ended."""
        self.rpc.close()
        self.channel.close()


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


async def settled() -> None:
    """Wait until the messages that were sent have arrived."""
    for _ in range(20):
        await asyncio.sleep(0.001)

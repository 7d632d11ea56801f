"""Gives each worker the whole table of keys, at its start and at each change.

In this service the master sends the requests. A worker that has confirmed a table knows nothing
of the former one, so a revoked key is refused from its next request on.
"""

from __future__ import annotations

import asyncio

import msgspec
import structlog

from gateway.errors import GatewayError
from gateway.keys.directory import KeyDirectory
from gateway.keys.records import KeyTable
from gateway.workers.rpc.messages import RpcMessage, RpcRequest, RpcResponse
from gateway.workers.rpc.peer import RpcPeer

_log = structlog.get_logger("workers")

_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(KeyTable).decode


class KeyTablePart(RpcMessage, frozen=True):
    """Delivers a part of a table that is too long for one message; the request has the last one."""

    data: bytes


class KeysReplaced(RpcResponse, frozen=True):
    """Reports the version of the table that the worker has now."""

    version: int


class ReplaceKeys(RpcRequest[KeysReplaced], frozen=True):
    """Requests to use another table: the parts before, and `data`. It is a packed `KeyTable`."""

    data: bytes


class KeyPublisher:
    """Sends tables to all workers; the master has one.

    longest_wait: seconds that a change waits for the workers.
    max_part: bytes of a table that one message has; ten thousand keys are fewer.
    directory: the keys as the master knows them.
    """

    def __init__(self, *, longest_wait: float = 1.0, max_part: int = 4 * 1024 * 1024) -> None:
        self.longest_wait, self.max_part = longest_wait, max_part
        self.directory = KeyDirectory()
        self._links: set[KeysServer] = set()

    async def publish(self, table: KeyTable) -> tuple[int, int]:
        """Use a table here and in every worker, and wait `longest_wait` at most until they have it.

        Return how many workers have confirmed it, and how many there are.
        """
        self.directory.replace(table)
        data = _encode(table)
        links = list(self._links)
        versions = await asyncio.gather(*(link.replace(data) for link in links))
        confirmed = sum(version >= table.version for version in versions)
        # A worker that has ended meanwhile serves nobody, so nobody need wait for it.
        count = confirmed + sum(
            link in self._links
            for link, version in zip(links, versions, strict=True)
            if version < table.version
        )
        if confirmed < count:
            _log.warning(
                "keys_not_confirmed", version=table.version, confirmed=confirmed, workers=count
            )
        return confirmed, count

    def add(self, link: KeysServer) -> None:
        """Send tables to a worker from now on, and the current one first."""
        self._links.add(link)
        link.send(_encode(self.directory.table))

    def discard(self, link: KeysServer) -> None:
        """Send no more tables to a worker."""
        self._links.discard(link)


class KeysServer:
    """Sends tables to one worker."""

    def __init__(self, rpc: RpcPeer, publisher: KeyPublisher) -> None:
        self._rpc = rpc
        self._publisher = publisher
        rpc.register(responses=(KeysReplaced,), on_lost=self._on_lost)

    def begin(self) -> None:
        """Send the current table, once the channel is open and before the worker serves."""
        self._publisher.add(self)

    def send(self, data: bytes) -> None:
        """Send a table without waiting: what is sent later arrives later."""
        self._rpc.send(self._request(data))

    async def replace(self, data: bytes) -> int:
        """Send a table, and return the version that the worker has then; -1 if it is not known."""
        try:
            async with asyncio.timeout(self._publisher.longest_wait):
                return (await self._rpc.call(self._request(data))).version
        except (TimeoutError, GatewayError, OSError):  # too slow, failed, or ended
            return -1

    def _request(self, data: bytes) -> ReplaceKeys:
        """Return the request with the last part of a table, after the others were sent."""
        most = self._publisher.max_part
        while len(data) > most:
            self._rpc.send(KeyTablePart(data[:most]))
            data = data[most:]
        return ReplaceKeys(self._rpc.next_call_id(), data)

    def _on_lost(self) -> None:
        self._publisher.discard(self)


class KeysClient:
    """Keeps the table that the master has sent, in a worker."""

    def __init__(self, rpc: RpcPeer) -> None:
        self.directory = KeyDirectory()
        self._parts: list[bytes] = []
        rpc.register({KeyTablePart: self._keep, ReplaceKeys: self._replace})

    def _keep(self, message: KeyTablePart) -> None:
        self._parts.append(message.data)

    def _replace(self, request: ReplaceKeys) -> KeysReplaced:
        data = b"".join((*self._parts, request.data))
        self._parts.clear()
        self.directory.replace(_decode(data))
        return KeysReplaced(request.call, self.directory.version)

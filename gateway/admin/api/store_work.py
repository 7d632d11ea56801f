"""Runs work on the store off the event loop, and publishes each change of keys."""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, TypeVar

import structlog

from gateway.keys.errors import StoreUnavailable

if TYPE_CHECKING:
    from gateway.admin.node import Confirmed, Node
    from gateway.keys.manager import KeyManager

_log = structlog.get_logger("admin")

R = TypeVar("R")


class StoreWork:
    """Runs the methods of the key manager, one after another, in one thread.

    `close` must follow.
    """

    def __init__(self, manager: KeyManager, node: Node) -> None:
        self._manager = manager
        self._node = node
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="admin-store")
        self._changes: set[asyncio.Task[object]] = set()

    async def read(self, work: Callable[[KeyManager], R]) -> R:
        """Return what `work` returns of the manager. Raises its errors and StoreUnavailable."""
        return await asyncio.get_running_loop().run_in_executor(self._thread, self._run, work)

    async def change(self, work: Callable[[KeyManager], R]) -> tuple[R, Confirmed]:
        """Make a change, and tell every process of it.

        A caller who leaves meanwhile changes nothing about it: a key that was revoked in the
        store is revoked everywhere. Returns what `work` returned, and how many processes have
        confirmed the change.
        """
        task = asyncio.create_task(self._change(work))
        self._changes.add(task)
        task.add_done_callback(self._changes.discard)
        return await asyncio.shield(task)

    async def close(self) -> None:
        """Finish the changes that have begun, and end the thread."""
        if self._changes:
            await asyncio.wait(self._changes)
        self._thread.shutdown()

    async def _change(self, work: Callable[[KeyManager], R]) -> tuple[R, Confirmed]:
        result, table = await self.read(lambda manager: (work(manager), manager.table()))
        return result, await self._node.publish(table)

    def _run(self, work: Callable[[KeyManager], R]) -> R:
        try:
            return work(self._manager)
        except (sqlite3.Error, OSError) as error:
            _log.error("admin_store_failed", error=type(error).__name__)
            raise StoreUnavailable(
                "The store cannot be used at the moment, and nothing has changed; the log of the "
                "gateway says why.",
                retry_after=5.0,
            ) from None

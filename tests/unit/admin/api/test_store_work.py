from __future__ import annotations

import asyncio
import sqlite3
import threading
from typing import Any, cast

import pytest

from gateway.admin.api.store_work import StoreWork
from gateway.admin.node import Confirmed
from gateway.keys.errors import StoreUnavailable
from gateway.keys.records import KeyTable


class ManagerDouble:
    """A manager whose table has another version each time."""

    version = 0

    def table(self) -> KeyTable:
        self.version += 1
        return KeyTable(self.version)


class PublishingNode:
    """A node that notes the versions that are published."""

    def __init__(self) -> None:
        self.versions: list[int] = []

    async def publish(self, table: KeyTable) -> Confirmed:
        self.versions.append(table.version)
        return Confirmed(2, 3)


def work_for(node: PublishingNode) -> StoreWork:
    return StoreWork(cast(Any, ManagerDouble()), cast(Any, node))


async def test_a_change_is_published_though_its_caller_has_left() -> None:
    node, begun, go_on = PublishingNode(), threading.Event(), threading.Event()
    work = work_for(node)

    def slow(_: Any) -> None:
        begun.set()
        assert go_on.wait(60)

    caller = asyncio.create_task(work.change(slow))
    await asyncio.to_thread(begun.wait, 60)
    caller.cancel()
    with pytest.raises(asyncio.CancelledError):
        await caller
    go_on.set()
    await work.close()
    assert node.versions == [1]


async def test_a_change_tells_how_many_processes_have_it() -> None:
    work = work_for(PublishingNode())
    assert await work.change(lambda _: "done") == ("done", Confirmed(2, 3))
    await work.close()


async def test_a_change_that_fails_publishes_nothing() -> None:
    node = PublishingNode()
    work = work_for(node)

    def broken(_: Any) -> None:
        raise sqlite3.OperationalError("disk I/O error: /secret/path")

    with pytest.raises(StoreUnavailable) as caught:
        await work.change(broken)
    assert "secret" not in caught.value.message
    await work.close()
    assert node.versions == []


async def test_work_is_done_one_after_another_and_off_the_event_loop() -> None:
    work, threads = work_for(PublishingNode()), set()
    for _ in range(3):
        threads.add(await work.read(lambda _: threading.get_ident()))
    await work.close()
    assert len(threads) == 1
    assert threading.get_ident() not in threads

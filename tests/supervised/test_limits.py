"""What a process of its own bears: descriptors and memory, counted from outside."""

from __future__ import annotations

import asyncio
from collections import Counter

from tests.front_door.conftest import Connect
from tests.front_door.peer import chat_request
from tests.supervised.conftest import Configure
from tests.supervised.supervisor import Supervisor

FEW_FILES = ("/bin/sh", "-c", 'ulimit -n 256; exec "$@"', "sh")


async def test_with_256_descriptors_a_thousand_callers_are_served_or_told(
    supervisor: Supervisor, configure: Configure, connect: Connect
) -> None:
    configure(fitten={"pool": {"max_concurrent": 1000}})
    service = await supervisor.start(prefix=FEW_FILES)
    peers = []

    async def caller() -> int | None:
        try:
            peer = await connect(supervisor.url)
            peers.append(peer)
            await peer.send(chat_request("[[say]]"))
            return (await peer.answer()).status
        except (ConnectionError, asyncio.IncompleteReadError):
            return None  # closed, since there are too many even to be told

    ends = Counter(await asyncio.gather(*(caller() for _ in range(1000))))
    for peer in peers:
        peer.close()
    await asyncio.sleep(0.05)
    assert set(ends) <= {200, 503, None}
    assert ends[200] >= 96
    assert ends[503] >= 32
    assert await caller() == 200
    assert [line for line in service.lines if line["level"] in ("warning", "error")] == []

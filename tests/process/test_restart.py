"""Restarts under load, with the listening socket held outside: nothing is lost."""

from __future__ import annotations

import asyncio
import os
import signal
from collections import Counter
from contextlib import AsyncExitStack

import aiohttp
import pytest

from tests.integration.conftest import Connect
from tests.integration.peer import Peer, chat_request
from tests.process.conftest import Configure, keys
from tests.process.systemd import FakeSystemd, GatewayService
from tests.support import KEY

RESTARTS = int(os.environ.get("RESTARTS", "2"))
# Few enough for a slow machine; `make restarts` asks for more.
STREAMS = int(os.environ.get("STREAMS", "10"))
REQUESTS_PER_SECOND = int(os.environ.get("REQUESTS_PER_SECOND", "20"))
DRAIN = 5.0
HEADERS = {"Authorization": f"Bearer {KEY}"}
SHORT = "[[slow first=0 gap=0.1 n=5]]"  # ends within the drain time


class RestartLoad:
    """Clients that record the outcome of each request: `ok`, or what went wrong."""

    def __init__(self, url: str) -> None:
        self._url = url + "/v1/chat/completions"
        self.outcomes: Counter[str] = Counter()

    async def ask(
        self, http: aiohttp.ClientSession, text: str, *, stream: bool, repeated: bool = False
    ) -> None:
        body = {"messages": [{"role": "user", "content": text}], "stream": stream}
        try:
            async with http.post(self._url, json=body) as response:
                raw = await response.read()
        except aiohttp.ClientOSError as error:
            # A client that the machine delays may write to a kept connection that was closed
            # as idle. Nothing was sent then, and every client has to repeat it (RFC 9112, 9.3.1).
            kept = (
                isinstance(http.connector, aiohttp.TCPConnector) and not http.connector.force_close
            )
            if kept and not repeated and "Can not write request body" in str(error):
                await self.ask(http, text, stream=stream, repeated=True)
                return
            self.outcomes[repr(error)] += 1
            return
        except aiohttp.ClientError as error:
            self.outcomes[repr(error)] += 1
            return
        whole = raw.endswith(b"data: [DONE]\n\n") if stream else b'"finish_reason"' in raw
        good = response.status == 200 and whole
        self.outcomes["ok" if good else f"{response.status} {raw[-200:]!r}"] += 1

    async def streams(self, http: aiohttp.ClientSession, enough: asyncio.Event) -> None:
        """Send one stream after the other."""
        while not enough.is_set():
            await self.ask(http, SHORT, stream=True)

    async def requests(self, sessions: list[aiohttp.ClientSession], enough: asyncio.Event) -> None:
        """Send requests at a fixed pace, in turn on kept and on new connections."""
        async with asyncio.TaskGroup() as tasks:
            while not enough.is_set():
                for http in sessions:
                    tasks.create_task(self.ask(http, "[[say]]", stream=False))
                    await asyncio.sleep(1 / REQUESTS_PER_SECOND)


async def restarted(
    fake_systemd: FakeSystemd, service: GatewayService, long: Peer
) -> GatewayService:
    """Stop and start again; a stream that outlasts the drain time ends with an error."""
    service.signal(signal.SIGTERM)
    rest = await long.rest()
    assert b'"code":"draining"' in rest
    assert rest.endswith(b"0\r\n\r\n"), "an end of HTTP, not a cut"
    assert b"[DONE]" not in rest
    assert await service.exit_status() == 0
    return await fake_systemd.start()


@pytest.mark.timeout(180 + 30 * RESTARTS)
@pytest.mark.parametrize("workers", [1, 2])
async def test_restarts_under_load_lose_no_request(
    fake_systemd: FakeSystemd, configure: Configure, connect: Connect, workers: int
) -> None:
    configure(
        server={"drain_timeout": DRAIN, "workers": workers},
        middlewares=[keys(KEY)],
        fitten={"pool": {"max_concurrent": 1000}},  # the load is on the gateway
    )
    service = await fake_systemd.start()
    load = RestartLoad(fake_systemd.url)
    enough = asyncio.Event()
    async with AsyncExitStack() as stack:
        sessions = [
            await stack.enter_async_context(
                aiohttp.ClientSession(
                    headers=HEADERS,
                    connector=aiohttp.TCPConnector(limit=0, force_close=new_connections),
                )
            )
            for new_connections in (False, True)
        ]
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(load.requests(sessions, enough))
            for _ in range(STREAMS):
                tasks.create_task(load.streams(sessions[0], enough))
            for _ in range(RESTARTS):
                long = await connect(fake_systemd.url)
                await long.send(chat_request("[[endless]]", stream=True))
                assert (await long.head())[0] == 200
                await asyncio.sleep(0.3)
                service = await restarted(fake_systemd, service, long)
            enough.set()
    assert set(load.outcomes) == {"ok"}, load.outcomes
    assert load.outcomes["ok"] > RESTARTS * REQUESTS_PER_SECOND

"""The event stream of the admin API: each second, five at most, and no longer than the session."""

from __future__ import annotations

import asyncio
import json
from contextlib import closing
from typing import Any

import aiohttp
import pytest

from gateway.admin.api.resources import events
from gateway.keys.sessions import IDLE_MS
from gateway.store.database import connect_writer
from tests.integration.admin.support import (
    BASE,
    METRICS_KEY,
    ROOT_KEY,
    VIEWER_KEY,
    AdminUnderTest,
)
from tests.integration.admin.test_access import sign_in
from tests.waiting import LONGEST_WAIT, NEVER, eventually, eventually_awaited


@pytest.fixture(autouse=True)
def short_interval(monkeypatch: pytest.MonkeyPatch) -> None:
    """Send the events of a second in a moment."""
    monkeypatch.setattr(events, "_INTERVAL", 0.01)


def as_root(key: str = ROOT_KEY) -> dict[str, str]:
    return {"Authorization": f"Bearer {key}"}


async def opened(admin: AdminUnderTest, headers: dict[str, str]) -> aiohttp.ClientResponse:
    return await admin.http.get(f"{admin.url}{BASE}/events", headers=headers)


async def next_event(response: aiohttp.ClientResponse) -> tuple[str, Any]:
    """Return the name and the data of the next event."""
    async with asyncio.timeout(LONGEST_WAIT):
        block = await response.content.readuntil(b"\n\n")
    name, data = block.decode().splitlines()[:2]
    return name.removeprefix("event: "), json.loads(data.removeprefix("data: "))


async def last_event(response: aiohttp.ClientResponse) -> tuple[str, Any]:
    """Return the last event of a stream that ends."""
    async with asyncio.timeout(LONGEST_WAIT):
        *_, block, _ = (await response.read()).decode().split("\n\n")
    name, data = block.splitlines()[:2]
    return name.removeprefix("event: "), json.loads(data.removeprefix("data: "))


async def test_the_first_event_comes_at_once_and_others_follow(
    admin: AdminUnderTest, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(events, "_INTERVAL", NEVER)
    response = await opened(admin, as_root(VIEWER_KEY))
    assert response.status == 200
    assert response.headers["Content-Type"] == "text/event-stream"
    assert response.headers["X-Accel-Buffering"] == "no"
    assert "no-transform" in response.headers["Cache-Control"]
    name, status = await next_event(response)
    assert name == "status"
    assert (status["requests"], status["accounts"], status["workers"]) == (0, 1, None)
    response.close()
    monkeypatch.setattr(events, "_INTERVAL", 0.01)
    response = await opened(admin, as_root())
    _, first = await next_event(response)
    await admin.make_key("alice")
    while (await next_event(response))[1]["keys_version"] == first["keys_version"]:
        pass  # until the change is in an event
    response.close()


async def test_a_session_has_five_streams_at_most_and_each_has_its_own_five(
    admin: AdminUnderTest,
) -> None:
    cookies = [await sign_in(admin), await sign_in(admin)]
    streams = [await opened(admin, cookie) for cookie in cookies for _ in range(5)]
    assert {response.status for response in streams} == {200}
    for cookie in cookies:
        answer = await admin.call("GET", "/events", key=None, headers=cookie)
        assert (answer.status, answer.code) == (429, "concurrency_limit_exceeded")
        assert answer.headers["x-should-retry"] == "false"
    by_key = await opened(admin, as_root(VIEWER_KEY))
    assert by_key.status == 200
    streams.pop().close()

    async def room() -> bool:
        again = await opened(admin, cookies[1])
        streams.append(again)
        return again.status == 200

    await eventually_awaited(room)
    for response in [*streams, by_key]:
        response.close()


async def test_a_stream_ends_when_its_session_is_ended(admin: AdminUnderTest) -> None:
    cookie = await sign_in(admin)
    response = await opened(admin, cookie)
    await next_event(response)
    same_site = cookie | {"Sec-Fetch-Site": "same-origin"}
    ended = await admin.call("DELETE", "/session", key=None, headers=same_site)
    assert ended.status == 204
    name, data = await last_event(response)
    assert name == "end"
    assert data["code"] == "invalid_api_key"


async def test_a_page_that_nobody_uses_does_not_keep_its_session(admin: AdminUnderTest) -> None:
    response = await opened(admin, await sign_in(admin))
    await next_event(response)
    store = admin.config.store_file
    assert store is not None
    with closing(connect_writer(store)) as connection:
        connection.execute("UPDATE session SET seen_at = seen_at - 3600000")
        (before,) = connection.execute("SELECT seen_at FROM session").fetchall()
        for _ in range(3):  # each has checked the session
            await next_event(response)
        assert connection.execute("SELECT seen_at FROM session").fetchall() == [before]
        connection.execute("UPDATE session SET seen_at = seen_at - ?", (IDLE_MS,))
        assert (await last_event(response))[0] == "end"


async def test_a_stream_ends_when_its_admin_key_is_blocked(admin: AdminUnderTest) -> None:
    key = (await admin.make_admin_key("bob"))["key"]
    by_key, by_session = (
        await opened(admin, as_root(key)),
        await opened(admin, await sign_in(admin, key)),
    )
    for response in (by_key, by_session):
        await next_event(response)
    assert (await admin.call("POST", "/admin-keys/bob/block", {})).status == 200
    for response in (by_key, by_session):
        assert (await last_event(response))[0] == "end"


async def test_a_stream_ends_when_the_role_is_no_longer_enough(admin: AdminUnderTest) -> None:
    key = (await admin.make_admin_key("bob", "viewer"))["key"]
    response = await opened(admin, as_root(key))
    await next_event(response)
    assert (await admin.call("PATCH", "/admin-keys/bob", {"role": "metrics"})).status == 200
    name, data = await last_event(response)
    assert (name, data["code"]) == ("end", "forbidden")
    assert (await admin.call("GET", "/events", key=METRICS_KEY)).status == 403


async def test_a_client_that_leaves_is_not_counted_any_more(admin: AdminUnderTest) -> None:
    for _ in range(12):
        response = await opened(admin, as_root())
        if response.status == 200:
            await next_event(response)
        response.close()

        async def is_free() -> bool:
            answer = await opened(admin, as_root())
            answer.close()
            return answer.status == 200

        await eventually_awaited(is_free)


async def test_a_client_that_does_not_read_is_dropped(
    admin: AdminUnderTest, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(events, "_INTERVAL", 0.0)
    monkeypatch.setattr(events, "_WRITE_TIMEOUT", 0.1)
    host, port = admin.url.removeprefix("http://").split(":")
    reader, writer = await asyncio.open_connection(host, int(port), limit=1024)
    head = f"GET {BASE}/events HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {ROOT_KEY}\r\n"
    writer.write(f"{head}\r\n".encode())
    await reader.readuntil(b"\r\n\r\n")
    local: Any = admin.listener._remote
    await eventually(lambda: not local.in_flight.active)
    writer.close()


async def test_the_stop_of_the_gateway_ends_every_stream(admin: AdminUnderTest) -> None:
    response = await opened(admin, as_root())
    await next_event(response)
    stopping = asyncio.create_task(admin.listener.stop())
    try:
        async with asyncio.timeout(LONGEST_WAIT):
            await response.read()
    except aiohttp.ClientPayloadError:
        pass  # the last chunk may be missing: the connection was closed
    await stopping

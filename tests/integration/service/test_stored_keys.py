"""Keys made at run time before a running gateway: what they may do, and when that ends."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, closing
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any
from zoneinfo import ZoneInfo

import aiohttp
import msgspec
import pytest

from gateway.app import SHARED_STATE
from gateway.keys.changes import (
    Actor,
    KeyChange,
    LimitValues,
    NewGrant,
    NewKey,
    NewTeam,
    TeamChange,
)
from gateway.keys.manager import KeyManager
from gateway.keys.records import KeyRecord
from gateway.ledger.queries import reading
from gateway.server.reload import ConfigSource, reload_entrypoint
from gateway.server.single_process import SingleProcess
from tests.conftest import StartGateway
from tests.integration.peer import CHAT
from tests.integration.service.test_limits import PATHS
from tests.support import KEY, Gateway
from tests.unit.keys.support import grant, key, table
from tests.waiting import NEVER, eventually

IN_FLIGHT = 200
CHAIN = ["request_id", "request_log", {"api_key": {"keys": []}}]


def use(gateway: Gateway, *keys: KeyRecord, version: int = 1) -> None:
    """Make these keys known, as a change of the store does."""
    assert gateway.entrypoint.app[SHARED_STATE].keys.replace(table(*keys, version=version))


def bearer(text: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {text}"}


async def ask(gateway: Gateway, text: str, path: str = CHAT, **more: Any) -> tuple[int, Any]:
    given: Any = PATHS[path]
    body = {**given, **more}
    async with gateway.http.post(gateway.url + path, json=body, headers=bearer(text)) as response:
        return response.status, await response.json(content_type=None)


async def test_a_revoke_under_two_hundred_open_requests_holds_from_the_next_one_on(
    start_gateway: StartGateway,
) -> None:
    gateway = await start_gateway(
        middlewares=CHAIN, fitten={"pool": {"max_concurrent": 2 * IN_FLIGHT}}
    )
    alice, text = key("alice", limits={"concurrency": 2 * IN_FLIGHT})
    bob, other = key("bob")
    use(gateway, alice, bob)
    body = {"messages": [{"role": "user", "content": "[[endless]]"}], "stream": True}
    begun, ends = 0, Counter[str]()
    leave = asyncio.Event()

    async def stream(http: aiohttp.ClientSession) -> None:
        nonlocal begun
        async with http.post(gateway.url + CHAT, json=body) as response:
            assert response.status == 200
            await response.content.readuntil(b"w0 ")
            begun += 1
            await leave.wait()
            await response.content.readuntil(b"w9 ")  # it was not cut
            ends["went on"] += 1

    connector = aiohttp.TCPConnector(limit=0)
    async with aiohttp.ClientSession(connector=connector, headers=bearer(text)) as http:
        streams = [asyncio.create_task(stream(http)) for _ in range(IN_FLIGHT)]
        await eventually(lambda: begun == IN_FLIGHT)
        blocked = msgspec.structs.replace(alice, blocked_at=1, blocked_reason="left the team")
        use(gateway, blocked, bob, version=2)
        for path in PATHS:
            status, _ = await ask(gateway, text, path)
            assert status == 403, path
        assert (await ask(gateway, other))[0] == 200
        use(gateway, bob, version=3)
        assert (await ask(gateway, text))[0] == 401
        leave.set()
        await asyncio.gather(*streams)
        # Each of them has settled its claim by now, which has not brought the key back.
        assert (await ask(gateway, text))[0] == 401
    assert ends == {"went on": IN_FLIGHT}


@pytest.mark.parametrize("path", PATHS)
async def test_a_key_is_refused_on_every_route_that_it_may_not_use(
    start_gateway: StartGateway, path: str
) -> None:
    gateway = await start_gateway(middlewares=CHAIN)
    routes = {
        "/v1/completions": "completion",
        "/v1/fim/completions": "fim",
        "/infill": "infill",
    }
    own = routes.get(path, "chat")
    others = tuple(name for name in ("chat", "completion", "fim", "infill") if name != own)
    (alice, text), (bob, other) = key("alice", routes=others), key("bob", routes=(own,))
    use(gateway, alice, bob)
    assert (await ask(gateway, text, path))[0] == 403
    assert (await ask(gateway, other, path))[0] == 200
    async with gateway.http.get(f"{gateway.url}/v1/models", headers=bearer(text)) as response:
        assert response.status == 200


async def test_a_body_that_asks_for_code_at_the_cursor_is_of_another_route(
    start_gateway: StartGateway,
) -> None:
    gateway = await start_gateway(middlewares=CHAIN)
    alice, text = key("alice", routes=("chat",))
    use(gateway, alice)
    assert (await ask(gateway, text, "/api/generate"))[0] == 200
    assert (await ask(gateway, text, "/api/generate", prompt="x = ", suffix="\n"))[0] == 403


@pytest.mark.parametrize(
    "path", [CHAT, "/v1/messages", "/v1/responses", "/api/chat", "/api/generate", "/infill"]
)
async def test_a_model_is_refused_by_whatever_name_it_is_asked_for(
    start_gateway: StartGateway, path: str
) -> None:
    gateway = await start_gateway(
        middlewares=CHAIN, models={"aliases": {"gpt-*": "DeepSeek R1", "claude-*": "fitten-code"}}
    )
    alice, text = key("alice", models=("fitten-code",))
    use(gateway, alice)
    fills = path == "/infill"
    for name, allowed in (
        ("fitten-code", True),
        ("claude-4", True),
        ("DeepSeek R1", fills),
        ("deepseek-r1", fills),
        ("gpt-5", fills),
    ):
        status, answer = await ask(gateway, text, path, model=name)
        assert status == (200 if allowed else 403), name
        assert allowed or "fitten-code" in str(answer)


async def test_a_key_sees_the_models_that_it_may_use_in_every_dialect(
    start_gateway: StartGateway,
) -> None:
    gateway = await start_gateway(middlewares=CHAIN)
    (alice, text), (bob, other) = key("alice", models=("deepseek-v3",)), key("bob", models=())
    use(gateway, alice, bob)
    lists: tuple[tuple[str, dict[str, str], str, str], ...] = (
        ("/v1/models", {}, "data", "id"),
        ("/v1/models", {"anthropic-version": "2023-06-01"}, "data", "id"),
        ("/v1/models?client_version=1", {}, "models", "slug"),
        ("/api/tags", {}, "models", "name"),
        ("/api/ps", {}, "models", "name"),
    )
    for path, headers, member, name in lists:
        for sent, found in ((text, {"deepseek v3", "deepseek-v3"}), (other, set[str]())):
            async with gateway.http.get(
                gateway.url + path, headers={**headers, **bearer(sent)}
            ) as response:
                listed = (await response.json())[member]
            shown = {one[name].lower().removesuffix(":latest") for one in listed}
            assert shown <= found, path
            assert len(listed) == bool(found), path
    for path, status in (("DeepSeek%20V3", 200), ("fitten-code", 403), ("nothing", 404)):
        async with gateway.http.get(
            f"{gateway.url}/v1/models/{path}", headers=bearer(text)
        ) as response:
            assert response.status == status
    async with gateway.http.post(
        f"{gateway.url}/api/show", json={"model": "fitten-code"}, headers=bearer(text)
    ) as response:
        assert response.status == 403


async def test_a_key_that_expires_while_it_is_known_is_refused_and_its_stream_goes_on(
    start_gateway: StartGateway,
) -> None:
    gateway = await start_gateway(middlewares=CHAIN)
    now = time.time_ns() // 1_000_000
    alice, text = key("alice", expires_at=now + 60_000)
    use(gateway, alice)
    async with gateway.post_chat("[[endless]]", headers=bearer(text), stream=True) as response:
        await response.content.readuntil(b"w0 ")
        use(gateway, msgspec.structs.replace(alice, expires_at=now), version=2)
        status, answer = await ask(gateway, text)
        assert (status, answer["error"]["code"]) == (401, "invalid_api_key")
        assert "expired at" in answer["error"]["message"]
        await response.content.readuntil(b"w9 ")


async def test_a_reload_keeps_the_keys_and_takes_another_time_zone_for_grants(
    start_gateway: StartGateway,
) -> None:
    gateway = await start_gateway(middlewares=CHAIN, server={"time_zone": "Pacific/Kiritimati"})
    now = datetime.now(UTC)
    # At any time, it is another day there than in the other zone.
    day = now.astimezone(ZoneInfo("Pacific/Pago_Pago")).date().isoformat()
    alice, text = key("alice", limits={"requests_per_day": 0})
    granted = grant(alice, "requests_per_day", 1, day)
    keys = gateway.entrypoint.app[SHARED_STATE].keys
    keys.replace(table(alice, grants=(granted,)))
    assert (await ask(gateway, text))[0] == 429
    server = replace(gateway.config.server, time_zone="Pacific/Pago_Pago")
    changed = replace(gateway.config, server=server)
    source = ConfigSource(lambda: changed, lambda _: None, lambda: None, lambda _: None)
    await reload_entrypoint(gateway.entrypoint, source)
    assert gateway.entrypoint.app[SHARED_STATE].keys is keys
    assert (await ask(gateway, text))[0] == 200


async def test_two_keys_of_one_name_of_the_configuration_and_of_the_store_stay_apart(
    start_gateway: StartGateway,
) -> None:
    of_config = {"name": "alice", "key": KEY, "requests_per_day": 1}
    gateway = await start_gateway(
        middlewares=["request_id", {"api_key": {"keys": [of_config]}}],
        store={"url": "sqlite:///l.db"},
    )
    alice, text = key("alice", limits={"requests_per_day": 2})
    service = SingleProcess(gateway.config)
    url = await service.start()
    keys = service.entrypoint.app[SHARED_STATE].keys
    keys.replace(table(alice))
    served = replace(gateway, url=url)
    assert [(await ask(served, sent))[0] for sent in (KEY, KEY)] == [200, 429]
    assert [(await ask(served, text))[0] for _ in range(3)] == [200, 200, 429]
    async with gateway.http.get(f"{url}/v1/usage", headers=bearer(text)) as response:
        usage = await response.json()
    assert (usage["key"], usage["limits"][0]["scope"], usage["limits"][0]["used"]) == (
        "alice",
        "key alice",
        2,
    )
    keys.replace(table(msgspec.structs.replace(alice, blocked_at=1), version=2))
    assert (await ask(served, text))[0] == 403
    await service.stop()
    path = gateway.config.store_file
    assert path is not None
    with reading(path) as connection:
        rows = connection.execute("SELECT key_id, ended FROM request ORDER BY at, id").fetchall()
    of_store = [ended for key_id, ended in rows if key_id == alice.id]
    assert of_store == ["complete", "complete", "insufficient_quota", "key_blocked"]
    assert len(rows) == 6


async def test_a_key_that_is_blocked_has_a_line_in_the_log_with_its_name(
    start_gateway: StartGateway, log_events: list[Any]
) -> None:
    gateway = await start_gateway(middlewares=CHAIN, server={"header_timeout": NEVER})
    alice, text = key("alice", blocked_at=1)
    use(gateway, alice)
    assert (await ask(gateway, text))[0] == 403
    await eventually(lambda: any(line["event"] == "request" for line in log_events))
    (line,) = [line for line in log_events if line["event"] == "request"]
    assert (line["key"], line["cause"], line["status"]) == ("alice", "key_blocked", 403)
    assert text not in str(log_events)


async def test_a_key_and_a_team_that_are_renamed_keep_what_they_used_over_a_restart(
    start_gateway: StartGateway,
) -> None:
    gateway = await start_gateway(middlewares=CHAIN, store={"url": "sqlite:///l.db"})
    path, root = gateway.config.store_file, Actor("local:root")
    assert path is not None
    with closing(KeyManager(path)) as manager:

        @asynccontextmanager
        async def serving() -> AsyncIterator[Gateway]:
            service = SingleProcess(gateway.config)
            url = await service.start()
            service.entrypoint.app[SHARED_STATE].keys.replace(manager.table())
            yield replace(gateway, url=url, entrypoint=service.entrypoint)
            await service.stop()

        async with serving():  # it makes the tables
            team = manager.add_team(
                root, NewTeam(name="web", limits=LimitValues(requests_per_month=4))
            )
            limits = LimitValues(requests_per_day=3)
            issued = manager.add_key(root, NewKey(name="alice", team="web", limits=limits))
        assert issued.text is not None
        async with serving() as served:
            assert [(await ask(served, issued.text))[0] for _ in range(2)] == [200, 200]
        manager.change_key(root, issued.record.id, KeyChange(name="alicia"))
        manager.change_team(root, team.id, TeamChange(name="frontend"))
        async with serving() as served:
            assert (await ask(served, issued.text))[0] == 200
            status, answer = await ask(served, issued.text)
            assert (status, answer["error"]["code"]) == (429, "insufficient_quota")
            assert "key alicia is used up: 3 of 3" in answer["error"]["message"]
            manager.grant(
                root,
                NewGrant(
                    scope="key", scope_id=issued.record.id, limit="requests_per_day", amount=5
                ),
            )
            served.entrypoint.app[SHARED_STATE].keys.replace(manager.table())
            assert (await ask(served, issued.text))[0] == 200
            status, answer = await ask(served, issued.text)
            assert status == 429
            assert "team frontend is used up: 4 of 4" in answer["error"]["message"]

"""An admin sees open requests and ends one, with one process and with workers."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest

from emulator import Emulator
from tests.integration.admin.gateways import GatewayWithAdmin, gateway_with_admin
from tests.waiting import LONGEST_WAIT, eventually_awaited


async def open_requests(gateway: GatewayWithAdmin, count: int) -> list[Any]:
    """Return the open requests, once there are so many."""

    async def answering() -> list[Any] | None:
        answer = await gateway.admin.call("GET", "/live")
        assert answer.status == 200, answer.body
        found: list[Any] = answer.body["requests"]
        return found if len(found) == count and all(r["answering"] for r in found) else None

    requests: list[Any] = await eventually_awaited(answering)
    return requests


@pytest.mark.parametrize("workers", [1, 2])
async def test_a_runaway_stream_is_found_and_ended_and_the_others_go_on(
    emulator: Emulator, tmp_path: Path, workers: int
) -> None:
    fitten = {"pool": {"max_concurrent": 8}}
    async with gateway_with_admin(emulator, tmp_path, workers=workers, fitten=fitten) as gateway:
        alice = (await gateway.admin.make_key("alice"))["key"]
        keys = {"alice": alice, "tester": None}
        streams = {}
        for name, key in keys.items():
            options = {} if key is None else {"key": key}
            streams[name] = await gateway.chat("[[endless]]", stream=True, **options)
            await streams[name].content.readany()
        requests = await open_requests(gateway, 2)
        assert {r["key"] for r in requests} == {"alice", "tester"}
        (hers,) = (r for r in requests if r["key"] == "alice")
        assert hers["stream"]
        assert hers["account"] == "demo_user"
        assert hers["route"] == "chat"
        assert hers["request_id"] == streams["alice"].headers.get("x-request-id", "")
        assert "[[endless]]" not in str(requests)
        ended = await gateway.admin.call("DELETE", f"/live/{hers['id']}")
        assert ended.status == 204
        assert b"ended_by_admin" in await streams["alice"].read()
        (other,) = await open_requests(gateway, 1)
        assert other["key"] == "tester"
        assert await streams["tester"].content.readany()
        again = await gateway.admin.call("DELETE", f"/live/{hers['id']}")
        assert (again.status, again.code) == (404, "not_found")
        (audited,) = (await gateway.admin.call("GET", "/audit?action=request.end")).body["rows"]
        assert audited["actor"] == "root"
        assert audited["object_id"] == hers["id"]
        for response in streams.values():
            response.close()


@pytest.mark.parametrize("workers", [1, 2])
async def test_an_ended_request_is_one_row_of_the_ledger(
    emulator: Emulator, tmp_path: Path, workers: int
) -> None:
    async with gateway_with_admin(emulator, tmp_path, workers=workers) as gateway:
        response = await gateway.chat("[[endless]]", stream=True)
        await response.content.readany()
        (request,) = await open_requests(gateway, 1)
        await gateway.admin.call("DELETE", f"/live/{request['id']}")
        await response.read()
        (row,) = await eventually_awaited(lambda: _rows(gateway, request["id"]))
        assert (row["ended"], row["cause"], row["key"]) == ("ended_by_admin",) * 2 + ("tester",)
        assert row["status"] == 200
        assert row["completion_tokens"] > 0, "what came was used"


async def _rows(gateway: GatewayWithAdmin, row_id: str) -> Any:
    answer = await gateway.admin.call("GET", f"/requests?id={row_id}&cause=ended_by_admin")
    assert answer.status == 200, answer.body
    return answer.body["rows"]


async def test_an_admin_can_end_a_request_that_keeps_a_stop_waiting(
    emulator: Emulator, tmp_path: Path
) -> None:
    server = {"drain_timeout": 3600.0}
    async with gateway_with_admin(emulator, tmp_path, server=server) as gateway:
        response = await gateway.chat("[[endless]]", stream=True)
        await response.content.readany()
        (request,) = await open_requests(gateway, 1)
        stopping = asyncio.create_task(gateway.service.stop())
        await asyncio.sleep(0)
        ended = await gateway.admin.call("DELETE", f"/live/{request['id']}", unix=True)
        assert ended.status == 204
        assert b"ended_by_admin" in await response.read()
        await asyncio.wait_for(stopping, LONGEST_WAIT)

"""The middleware inside the gateway records every arrival and reports what the process holds."""

from __future__ import annotations

import asyncio
import os
import time
from pathlib import Path

import aiohttp

from chaos.middleware import HEADER, HOLDS
from chaos.records import journal
from tests.conftest import StartGateway
from tests.support import Gateway


def body(text: str, *, stream: bool = False) -> dict[str, object]:
    return {"messages": [{"role": "user", "content": text}], "stream": stream}


async def started(start_gateway: StartGateway, file: Path) -> Gateway:
    return await start_gateway(
        middlewares=[{"chaos.middleware:Inside": {"journal": str(file)}}, "request_id"]
    )


async def held(http: aiohttp.ClientSession, gateway: Gateway) -> dict[str, object]:
    async with http.get(f"{gateway.url}/v1/models", headers={HEADER: "1"}) as response:
        found: dict[str, object] = await response.json()
        return found


async def test_arrivals_and_ends_are_written_down(
    start_gateway: StartGateway, tmp_path: Path
) -> None:
    gateway = await started(start_gateway, tmp_path / "journal")
    async with aiohttp.ClientSession() as http:
        for tag in ("a-1", "a-2"):
            url, headers = f"{gateway.url}/v1/chat/completions", {"x-request-id": tag}
            async with http.post(url, json=body("[[say]]"), headers=headers) as response:
                assert response.status == 200
    found = journal.read(tmp_path / "journal")
    assert list(found) == ["a-1", "a-2"]
    for (arrival,) in found.values():
        assert arrival.pid == os.getpid()
        assert arrival.ended is not None
        assert 0 < arrival.began <= arrival.ended


async def test_it_reports_slots_in_use_and_accounts(
    start_gateway: StartGateway, tmp_path: Path
) -> None:
    gateway = await started(start_gateway, tmp_path / "journal")
    async with aiohttp.ClientSession() as http:
        url, headers = f"{gateway.url}/v1/chat/completions", {"x-request-id": "a-1"}
        asked = body("[[endless]]", stream=True)
        async with http.post(url, json=asked, headers=headers) as response:
            await response.content.readany()
            during = await held(http, gateway)
            (arrival,) = journal.read(tmp_path / "journal")["a-1"]
            assert arrival.ended is None
        for _ in range(500):
            after = await held(http, gateway)
            if after["slots"] == 0:
                break
            await asyncio.sleep(0.01)
    assert (during["slots"], after["slots"]) == (1, 0)
    assert after["accounts"] == {"demo_user": "healthy"}


def test_an_end_without_an_arrival_is_kept(tmp_path: Path) -> None:
    file = tmp_path / "journal"
    file.write_text("7 1.0 + a\n7 2.0 - a\n7 3.0 - a\n")
    first, second = journal.read(file)["a"]
    assert (first.began, first.ended) == (1.0, 2.0)
    assert second.began < 0


async def test_a_hold_of_the_loop_is_written_down(
    start_gateway: StartGateway, tmp_path: Path
) -> None:
    await started(start_gateway, tmp_path / "journal")
    await asyncio.sleep(0.05)
    end = time.thread_time() + 0.2  # of this thread, whose loop is the gateway's too
    while time.thread_time() < end:
        pass
    await asyncio.sleep(0.05)
    found = journal.longest_hold(Path(f"{tmp_path / 'journal'}{HOLDS}"))
    assert found is not None
    assert found.milliseconds >= 150


def test_the_longest_of_all_holds_counts(tmp_path: Path) -> None:
    file = tmp_path / "holds"
    file.write_text("1 5.0 3.1 a\n1 6.0 12.5 b\n2 9.0 4.0 -\n")
    assert journal.longest_hold(file) == journal.Hold(12.5, "b")
    file.write_text("")
    assert journal.longest_hold(file) is None

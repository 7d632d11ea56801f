"""Several workers as one gateway: exact limits, replaced workers, one start and one end."""

from __future__ import annotations

import asyncio
import json
import os
import signal
from collections import Counter
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from emulator import Emulator
from tests.integration.conftest import Connect
from tests.integration.peer import LOGIN, UPSTREAM_CHAT, chat_request
from tests.process.conftest import Configure, keys, limit
from tests.process.systemd import FakeSystemd, GatewayService, alive, children
from tests.support import KEY
from tests.waiting import NEVER, eventually

OTHER = "other-key-9876543210"
COUNT = 3


@pytest.fixture
def with_workers(configure: Configure) -> Configure:
    """Write config.yaml with several workers in it."""

    def write(**sections: Any) -> None:
        server = {"workers": COUNT, **sections.pop("server", {})}
        log = {"format": "json", **sections.pop("log", {})}
        chain = sections.pop("middlewares", ["request_log", keys(KEY)])
        configure(server=server, log=log, middlewares=chain, **sections)

    write()
    return write


@pytest.fixture
async def http() -> AsyncIterator[aiohttp.ClientSession]:
    """A client that opens a connection for each request, so that all workers get some."""
    connector = aiohttp.TCPConnector(limit=0, force_close=True)
    headers = {"Authorization": f"Bearer {KEY}"}
    async with aiohttp.ClientSession(connector=connector, headers=headers) as session:
        yield session


async def ask(
    http: aiohttp.ClientSession, fake_systemd: FakeSystemd, text: str = "[[say]]", **more: Any
) -> tuple[int, bytes]:
    body = {"messages": [{"role": "user", "content": text}], **more}
    async with http.post(fake_systemd.url + "/v1/chat/completions", json=body) as response:
        return response.status, await response.read()


def given_to(pid: int) -> bytes:
    """A process's arguments and environment."""
    return b"".join(Path(f"/proc/{pid}/{part}").read_bytes() for part in ("cmdline", "environ"))


def served(service: GatewayService) -> Counter[int]:
    """Return how many requests each worker has logged."""
    return Counter(line["worker"] for line in service.lines if line["event"] == "request")


async def log_is_written(service: GatewayService, requests: int) -> None:
    """Wait for the log lines of this number of requests."""
    await eventually(lambda: served(service).total() >= requests)


def logged(file: Path) -> int:
    """Return how many requests a log file has."""
    return sum('"event":"request"' in line for line in file.read_text().splitlines())


async def test_the_service_is_ready_when_all_workers_are_and_the_status_counts_them(
    fake_systemd: FakeSystemd, with_workers: Configure
) -> None:
    service = await fake_systemd.start()
    assert fake_systemd.datagrams[0] == (
        "READY=1\nSTATUS=serving: 0 requests open, 1 of 1 accounts healthy, 3 of 3 workers"
    )
    assert fake_systemd.senders == {service.pid}
    assert len(children(service.pid)) == COUNT
    for pid in children(service.pid):
        for forbidden in (b"NOTIFY_SOCKET", b"LISTEN_FDS", b"horse", KEY.encode()):
            assert forbidden not in given_to(pid)


async def test_a_rate_limit_admits_exactly_its_number_over_all_workers(
    fake_systemd: FakeSystemd, with_workers: Configure, http: aiohttp.ClientSession
) -> None:
    with_workers(
        middlewares=["request_log", keys(KEY), limit(40)],
        fitten={"pool": {"max_concurrent": 100}},
    )
    service = await fake_systemd.start()
    answers = await asyncio.gather(*(ask(http, fake_systemd) for _ in range(300)))
    assert Counter(status for status, _ in answers) == {200: 40, 429: 260}
    await log_is_written(service, 300)
    assert len(served(service)) > 1, "one worker alone proves nothing"


async def test_all_workers_keep_records_in_one_folder(
    fake_systemd: FakeSystemd,
    with_workers: Configure,
    http: aiohttp.ClientSession,
    tmp_path: Path,
) -> None:
    key = {"name": "recorded", "key": KEY, "record": True}
    with_workers(
        middlewares=["request_id", "request_log", {"api_key": {"keys": [key]}}],
        tools={"repair": False, "recorder": {"folder": str(tmp_path / "records")}},
    )
    service = await fake_systemd.start()

    def recorded() -> dict[str, int]:
        return {
            line["file"]: line["worker"]
            for line in service.lines
            if line["event"] == "answer_recorded"
        }

    for _ in range(6):
        answers = await asyncio.gather(
            *(ask(http, fake_systemd, "[[say text=%20]]") for _ in range(4))
        )
        assert [status for status, _ in answers] == [200] * 4
    await eventually(lambda: len(recorded()) >= 24)
    assert len(set(recorded().values())) > 1, "one worker alone proves nothing"
    assert set(os.listdir(tmp_path / "records")) == set(recorded())
    assert all(line["request_id"] for line in service.lines if line["event"] == "answer_recorded")


async def test_an_account_has_never_more_chats_than_its_limit_over_all_workers(
    fake_systemd: FakeSystemd,
    with_workers: Configure,
    http: aiohttp.ClientSession,
    emulator: Emulator,
) -> None:
    with_workers(fitten={"pool": {"max_concurrent": 2}})
    service = await fake_systemd.start()
    slow = "[[slow first=0.02 gap=0.02 n=3]]"
    answers = await asyncio.gather(*(ask(http, fake_systemd, slow, stream=True) for _ in range(24)))
    assert all(raw.endswith(b"data: [DONE]\n\n") for _, raw in answers)
    await log_is_written(service, 24)
    assert len(served(service)) > 1, served(service)
    calls = emulator.calls_to(UPSTREAM_CHAT)
    events = sorted(
        [(call.at, 1) for call in calls] + [(call.done_at or 0.0, -1) for call in calls]
    )
    most = running = 0
    for _, change in events:
        running += change
        most = max(most, running)
    assert (len(calls), most) == (24, 2)


async def test_all_workers_use_one_login_and_answer_everything(
    fake_systemd: FakeSystemd,
    with_workers: Configure,
    http: aiohttp.ClientSession,
    emulator: Emulator,
) -> None:
    await fake_systemd.start()
    for _ in range(12):
        assert (await ask(http, fake_systemd))[0] == 200
    assert len(emulator.calls_to(LOGIN)) == 1
    async with http.get(fake_systemd.url + "/ready") as response:
        assert response.status == 200
    async with http.get(fake_systemd.url + "/v1/models") as response:
        models = [model["id"] for model in (await response.json())["data"]]
    assert len(models) > 1, "every worker knows Fitten's own list"
    fill = {"prompt": "def f(", "suffix": ")"}
    async with http.post(fake_systemd.url + "/v1/completions", json=fill) as response:
        assert response.status == 200


async def test_tokens_that_fitten_refuses_are_renewed_once_for_all(
    fake_systemd: FakeSystemd,
    with_workers: Configure,
    http: aiohttp.ClientSession,
    emulator: Emulator,
) -> None:
    await fake_systemd.start()
    emulator.account("demo_user").revoke_access()
    answers = await asyncio.gather(*(ask(http, fake_systemd) for _ in range(9)))
    assert {status for status, _ in answers} == {200}
    renewals = [call for call in emulator.calls if "refresh" in call.path]
    assert len(renewals) == 1


async def test_ready_is_false_when_no_account_can_serve(
    fake_systemd: FakeSystemd, with_workers: Configure, http: aiohttp.ClientSession
) -> None:
    accounts = [{"username": "demo_user", "password": "wrong"}]
    with_workers(fitten={"accounts": accounts})
    await fake_systemd.start()
    assert "0 of 1 accounts healthy, 3 of 3 workers" in fake_systemd.datagrams[-1]
    async with http.get(fake_systemd.url + "/ready") as response:
        assert response.status == 503
    status, raw = await ask(http, fake_systemd)
    assert status == 503
    assert json.loads(raw)["error"]["code"] == "no_account_available"


async def test_a_worker_that_is_killed_costs_its_own_streams_only_and_is_replaced(
    fake_systemd: FakeSystemd,
    with_workers: Configure,
    connect: Connect,
    http: aiohttp.ClientSession,
    emulator: Emulator,
) -> None:
    key = {"name": "k0", "key": KEY, "concurrency": 30, "tokens_per_day": "1m"}
    with_workers(
        fitten={"pool": {"max_concurrent": 30}},
        server={"drain_timeout": 5},
        middlewares=["request_log", {"api_key": {"keys": [key]}}],
        limits={"queue_wait": 0},
    )
    service = await fake_systemd.start()
    peers = [await connect(fake_systemd.url) for _ in range(30)]
    for peer in peers:
        await peer.send(chat_request("[[slow first=0 gap=3600 n=2]]", stream=True))
        await peer.until(b"w0 ")
    before = children(service.pid)
    since = len(fake_systemd.datagrams)
    os.kill(before[0], signal.SIGKILL)
    assert (await service.event("worker_died"))["status"] == -signal.SIGKILL
    emulator.release()
    rests = await asyncio.gather(
        *(peer.until(b"0\r\n\r\n") for peer in peers), return_exceptions=True
    )
    whole = [isinstance(rest, bytes) and b"[DONE]" in rest for rest in rests]
    assert 14 <= sum(whole) <= 26, "the streams were spread evenly"
    await fake_systemd.wait_for("STATUS=serving: ", since=since)
    await eventually(lambda: "3 of 3 workers" in fake_systemd.datagrams[-1] and since)
    after = children(service.pid)
    assert len(after) == COUNT
    assert before[0] not in after
    # The slots of the killed worker are free again, and so is its part of the concurrency:
    # thirty chats can run. Its streams are charged their prompts.
    async with http.get(fake_systemd.url + "/v1/usage") as response:
        left = {one["limit"]: one for one in (await response.json())["limits"]}
    assert left["concurrency"]["used"] == 0
    assert left["tokens_per_day"]["used"] >= 30
    answers = await asyncio.gather(
        *(ask(http, fake_systemd, "[[slow first=0.1 gap=0 n=1]]") for _ in range(30))
    )
    assert {status for status, _ in answers} == {200}


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT], ids=["SIGTERM", "SIGINT"])
async def test_idle_workers_end_at_once_and_no_process_is_left(
    fake_systemd: FakeSystemd, with_workers: Configure, number: int
) -> None:
    with_workers(server={"drain_timeout": NEVER})
    service = await fake_systemd.start()
    pids = children(service.pid)
    since = len(fake_systemd.datagrams)
    service.signal(number)
    assert await service.exit_status() == 0
    assert fake_systemd.datagrams[since] == "STOPPING=1"
    assert not alive(pids)


async def test_streams_finish_within_the_drain_time_or_get_an_error(
    fake_systemd: FakeSystemd, with_workers: Configure, connect: Connect, emulator: Emulator
) -> None:
    with_workers(server={"drain_timeout": 3}, fitten={"pool": {"max_concurrent": 20}})
    service = await fake_systemd.start()
    short = [await connect(fake_systemd.url) for _ in range(6)]
    long = [await connect(fake_systemd.url) for _ in range(6)]
    for peers, text in ((short, "[[slow first=0 gap=3600 n=2]]"), (long, "[[endless]]")):
        for peer in peers:
            await peer.send(chat_request(text, stream=True))
            await peer.head()
    service.signal(signal.SIGTERM)
    await fake_systemd.wait_for("STOPPING=1")
    emulator.release()
    rests = await asyncio.gather(*(peer.rest() for peer in short))
    assert all(b"data: [DONE]\n\n" in rest for rest in rests)
    rests = await asyncio.gather(*(peer.rest() for peer in long))
    assert all(b'"code":"draining"' in rest and b"[DONE]" not in rest for rest in rests)
    assert all(rest.endswith(b"0\r\n\r\n") for rest in rests)
    assert await service.exit_status() == 0
    assert any(d.startswith("EXTEND_TIMEOUT_USEC=") for d in fake_systemd.datagrams)
    assert any("draining" in d for d in fake_systemd.datagrams)


async def test_the_second_signal_ends_all_workers_at_once(
    fake_systemd: FakeSystemd, with_workers: Configure, connect: Connect
) -> None:
    with_workers(server={"drain_timeout": NEVER})
    service = await fake_systemd.start()
    peer = await connect(fake_systemd.url)
    await peer.send(chat_request("[[endless]]", stream=True))
    await peer.head()
    pids = children(service.pid)
    service.signal(signal.SIGTERM)
    await fake_systemd.wait_for("STOPPING=1")
    service.signal(signal.SIGTERM)
    assert await service.exit_status() == 128 + signal.SIGTERM
    await eventually(lambda: not alive(pids))


async def test_without_their_master_workers_finish_their_requests_and_end(
    fake_systemd: FakeSystemd, with_workers: Configure, connect: Connect, emulator: Emulator
) -> None:
    with_workers(server={"drain_timeout": NEVER})
    service = await fake_systemd.start()
    peer = await connect(fake_systemd.url)
    await peer.send(chat_request("[[slow first=0 gap=3600 n=2]]", stream=True))
    await peer.until(b"w0 ")
    pids = children(service.pid)
    service.signal(signal.SIGKILL)
    await service.process.wait()
    emulator.release()
    assert b"data: [DONE]\n\n" in await peer.rest()
    await eventually(lambda: not alive(pids))


async def test_a_reload_reaches_every_worker_and_touches_no_stream_and_no_connection(
    fake_systemd: FakeSystemd,
    with_workers: Configure,
    connect: Connect,
    http: aiohttp.ClientSession,
    emulator: Emulator,
) -> None:
    service = await fake_systemd.start()
    peer = await connect(fake_systemd.url)
    await peer.send(chat_request("[[slow first=0 gap=3600 n=2]]", stream=True))
    await peer.until(b"w0 ")
    before = children(service.pid)
    with_workers(middlewares=[keys(OTHER)])
    assert "3 of 3 workers" in await fake_systemd.reload(service)
    # Ten wrong keys a minute are not too many.
    found = {status for status, _ in [await ask(http, fake_systemd) for _ in range(9)]}
    assert found == {401}
    assert children(service.pid) == before
    emulator.release()
    assert b"data: [DONE]\n\n" in await peer.until(b"0\r\n\r\n")
    await peer.send(chat_request("[[say]]"))
    assert (await peer.answer()).status == 401


async def test_a_reload_changes_the_number_of_workers(
    fake_systemd: FakeSystemd,
    with_workers: Configure,
    connect: Connect,
    http: aiohttp.ClientSession,
    emulator: Emulator,
) -> None:
    server = {"drain_timeout": NEVER}
    with_workers(fitten={"pool": {"max_concurrent": 20}}, server=server)
    service = await fake_systemd.start()
    peers = [await connect(fake_systemd.url) for _ in range(9)]
    for peer in peers:
        await peer.send(chat_request("[[slow first=0 gap=3600 n=2]]", stream=True))
        await peer.until(b"w0 ")
    with_workers(server={"workers": 2, **server})
    assert "2 of 2 workers" in await fake_systemd.reload(service)
    emulator.release()
    for peer in peers:
        assert b"data: [DONE]\n\n" in await peer.until(b"0\r\n\r\n")
    await eventually(lambda: len(children(service.pid)) == 2)
    with_workers(server={"workers": 4})
    assert "4 of 4 workers" in await fake_systemd.reload(service)
    assert len(children(service.pid)) == 4
    assert (await ask(http, fake_systemd))[0] == 200


async def test_a_bad_file_changes_nothing_for_workers_either(
    fake_systemd: FakeSystemd, with_workers: Configure, http: aiohttp.ClientSession
) -> None:
    service = await fake_systemd.start()
    before = children(service.pid)
    for bad in (
        {"middlewares": ["nothing_like_it"]},
        {"log": {"file": "/nowhere/gateway.log"}},
        {"fitten": {"ca_file": "/nowhere/ca.pem"}},
    ):
        with_workers(**bad)
        assert "reload refused" in await fake_systemd.reload(service)
        assert children(service.pid) == before
        assert (await ask(http, fake_systemd))[0] == 200


async def test_limits_hold_over_a_reload_of_workers(
    fake_systemd: FakeSystemd,
    with_workers: Configure,
    connect: Connect,
    http: aiohttp.ClientSession,
    emulator: Emulator,
) -> None:
    with_workers(middlewares=[keys(KEY), limit(3)], fitten={"pool": {"max_concurrent": 1}})
    service = await fake_systemd.start()
    peer = await connect(fake_systemd.url)
    await peer.send(chat_request("[[slow first=0 gap=3600 n=2]]", stream=True))
    await peer.until(b"w0 ")
    await fake_systemd.reload(service)
    asking = [asyncio.create_task(ask(http, fake_systemd)) for _ in range(5)]
    await eventually(lambda: sum(task.done() for task in asking) == 3)  # the others wait
    emulator.release()
    answers = await asyncio.gather(*asking)
    assert sorted(status for status, _ in answers) == [200, 200, 429, 429, 429]
    assert b"data: [DONE]\n\n" in await peer.until(b"0\r\n\r\n")
    first, *others = emulator.calls_to(UPSTREAM_CHAT)
    assert first.done_at is not None
    assert all(call.at >= first.done_at for call in others)
    assert len(emulator.calls_to(LOGIN)) == 1


async def test_after_a_reload_workers_still_know_how_long_answers_are(
    fake_systemd: FakeSystemd, with_workers: Configure, http: aiohttp.ClientSession
) -> None:
    with_workers(limits={"tokens_per_day": "100m"})
    service = await fake_systemd.start()

    async def left(path: str, **body: Any) -> int:
        """Return the tokens of the budget that are left, with what is reserved."""
        method = "POST" if body else "GET"
        async with http.request(method, f"{fake_systemd.url}{path}", json=body) as response:
            answer = await response.json()
            if body:
                return int(response.headers["x-fitten-budget-remaining-tokens"])
            (unused,) = (limit["left"] for limit in answer["limits"])
            return int(unused)

    async def reserved() -> int:
        body = {"messages": [{"role": "user", "content": "[[say]]"}]}
        return await left("/v1/usage") - await left("/v1/chat/completions", **body)

    assert await reserved() > 500
    while min(served(service).get(number, 0) for number in range(1, COUNT + 1)) < 10:
        await asyncio.gather(*(ask(http, fake_systemd) for _ in range(20)))
    await fake_systemd.reload(service)
    assert max([await reserved() for _ in range(10)]) < 200


async def test_workers_that_cannot_start_keep_the_gateway_from_starting(
    fake_systemd: FakeSystemd, with_workers: Configure, tmp_path: Path
) -> None:
    (tmp_path / "acme.py").write_text(
        "class broken:\n"
        "    async def __call__(self, request, handler): ...\n"
        "    async def lifespan(self, app):\n"
        "        raise RuntimeError('never')\n"
        "        yield\n"
    )
    with_workers(middlewares=["acme:broken", keys(KEY)])
    environ = {"PYTHONPATH": f"{tmp_path}:{Path(__file__).parents[2]}"}
    service = await fake_systemd.start(environ=environ, wait=False)
    assert await service.exit_status() == 1
    assert "Cannot start" in service.raw


async def test_all_workers_share_one_log_file_which_is_opened_again(
    fake_systemd: FakeSystemd, with_workers: Configure, http: aiohttp.ClientSession, tmp_path: Path
) -> None:
    path = tmp_path / "gateway.log"
    with_workers(log={"file": str(path)}, fitten={"pool": {"max_concurrent": 50}})
    service = await fake_systemd.start()
    await asyncio.gather(*(ask(http, fake_systemd) for _ in range(40)))
    await eventually(lambda: logged(path) == 40)
    path.rename(tmp_path / "old.log")
    await fake_systemd.reload(service)
    await asyncio.gather(*(ask(http, fake_systemd) for _ in range(40)))
    await eventually(lambda: logged(path) == 40)
    for file in (tmp_path / "old.log", path):
        lines = [json.loads(line) for line in file.read_text().splitlines()]
        assert sum(line["event"] == "request" for line in lines) == 40


async def test_workers_killed_under_load_cost_their_own_requests_and_no_slot(
    fake_systemd: FakeSystemd,
    with_workers: Configure,
    http: aiohttp.ClientSession,
    emulator: Emulator,
) -> None:
    with_workers(fitten={"pool": {"max_concurrent": 12, "queue_length": 100}})
    service = await fake_systemd.start()
    outcomes: Counter[str] = Counter()
    enough = asyncio.Event()

    async def call() -> None:
        while not enough.is_set():
            try:
                status, raw = await ask(
                    http, fake_systemd, "[[slow first=0 gap=0.02 n=4]]", stream=True
                )
            except aiohttp.ClientError:
                outcomes["broken"] += 1
            else:
                whole = status == 200 and raw.endswith(b"data: [DONE]\n\n")
                outcomes["whole" if whole else f"{status} {raw[-200:]!r}"] += 1

    clients = [asyncio.create_task(call()) for _ in range(20)]
    for _ in range(6):
        enough_of_them = outcomes["whole"] + 20
        await eventually(lambda: outcomes["whole"] >= enough_of_them)  # noqa: B023  waited for
        if pids := children(service.pid):
            os.kill(pids[0], signal.SIGKILL)
    await eventually(lambda: len(children(service.pid)) == COUNT)
    enough.set()
    await asyncio.gather(*clients)
    assert set(outcomes) <= {"whole", "broken"}, outcomes
    assert 0 < outcomes["broken"] <= 6 * 20
    assert outcomes["whole"] > 100
    # All twelve slots can be had at once, and no more.
    emulator.calls.clear()
    held = "[[slow first=3600 gap=0 n=1]]"
    together = [asyncio.create_task(ask(http, fake_systemd, held)) for _ in range(13)]
    for most in (12, 13):
        await eventually(lambda: len(emulator.calls_to(UPSTREAM_CHAT)) >= most)  # noqa: B023
        await asyncio.sleep(0.2)
        assert len(emulator.calls_to(UPSTREAM_CHAT)) == most
        emulator.release()
    assert {status for status, _ in await asyncio.gather(*together)} == {200}

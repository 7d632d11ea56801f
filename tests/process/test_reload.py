"""SIGHUP: all of the new settings, or none of them."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import socket
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from emulator import EmulatedAccount, Emulator
from tests.integration.conftest import Connect
from tests.integration.peer import chat_request
from tests.process.conftest import Configure, keys, limit
from tests.process.systemd import FakeSystemd, GatewayService
from tests.support import KEY
from tests.waiting import NEVER, eventually

OTHER = "other-key-9876543210"


async def ask(fake_systemd: FakeSystemd, key: str = KEY) -> aiohttp.ClientResponse:
    """Send a chat that is not streamed, and read its body."""
    headers = {"Authorization": f"Bearer {key}"}
    body = {"messages": [{"role": "user", "content": "[[say]]"}]}
    async with (
        aiohttp.ClientSession(headers=headers) as http,
        http.post(fake_systemd.url + "/v1/chat/completions", json=body) as response,
    ):
        await response.read()
        return response


async def test_keys_are_reloaded(fake_systemd: FakeSystemd, configure: Configure) -> None:
    service = await fake_systemd.start()
    assert (await ask(fake_systemd, OTHER)).status == 401
    configure(middlewares=[keys(OTHER)])
    assert (await fake_systemd.reload(service)).startswith("READY=1\nSTATUS=serving")
    assert (await ask(fake_systemd, OTHER)).status == 200
    assert (await ask(fake_systemd, KEY)).status == 401


async def test_a_reload_says_what_changed_and_what_takes_a_restart(
    fake_systemd: FakeSystemd, configure: Configure
) -> None:
    configure(middlewares=[keys(KEY), limit(60)], log={"level": "info"})
    service = await fake_systemd.start()
    configure(
        middlewares=[keys(OTHER), limit(70)],
        log={"level": "debug"},
        server={"port": 5999, "body_timeout": 31},
    )
    await fake_systemd.reload(service)
    line = await service.event("reloaded")
    assert {
        "server.port",
        "server.body_timeout",
        "log.level",
        "middlewares[0].api_key.keys[0].key",
        "middlewares[1].rate_limit.requests_per_minute",
    } <= set(line["changed"])
    assert line["changes"] == len(line["changed"])
    assert (await service.event("restart_needed"))["options"] == ["server.port"]
    assert OTHER not in service.raw


async def test_limits_are_reloaded_and_what_was_used_still_counts(
    fake_systemd: FakeSystemd, configure: Configure
) -> None:
    configure(middlewares=[keys(KEY), limit(3)])
    service = await fake_systemd.start()
    for _ in range(3):
        assert (await ask(fake_systemd)).status == 200
    await fake_systemd.reload(service)
    assert (await ask(fake_systemd)).status == 429
    configure(middlewares=[keys(KEY), limit(5)])
    await fake_systemd.reload(service)
    answer = await ask(fake_systemd)
    assert answer.status == 200
    assert answer.headers["x-ratelimit-remaining-requests"] == "1"
    configure(middlewares=[keys(KEY), limit(1)])
    await fake_systemd.reload(service)
    answer = await ask(fake_systemd)
    assert answer.status == 429
    assert answer.headers["x-ratelimit-remaining-requests"] == "0"


async def test_accounts_and_where_fitten_is_are_reloaded(
    fake_systemd: FakeSystemd, configure: Configure, emulator: Emulator
) -> None:
    service = await fake_systemd.start()
    assert (await ask(fake_systemd)).status == 200
    before = len(emulator.calls_to("/codeapi/chat_auth"))
    async with Emulator(accounts=[EmulatedAccount("second", "other horse")]) as other:
        account = {"username": "second", "password": "other horse"}
        configure(fitten={"base_url": other.url, "models_url": other.url, "accounts": [account]})
        await fake_systemd.reload(service)
        assert (await ask(fake_systemd)).status == 200
        assert len(other.calls_to("/codeapi/chat_auth")) == 1
    assert len(emulator.calls_to("/codeapi/chat_auth")) == before


async def test_middlewares_are_reloaded(fake_systemd: FakeSystemd, configure: Configure) -> None:
    service = await fake_systemd.start()
    assert "x-request-id" not in (await ask(fake_systemd)).headers
    configure(middlewares=["request_id", keys(KEY)])
    await fake_systemd.reload(service)
    assert "x-request-id" in (await ask(fake_systemd)).headers


async def test_of_limits_in_one_chain_the_smallest_holds_and_goes_on_counting(
    fake_systemd: FakeSystemd, configure: Configure
) -> None:
    configure(middlewares=[limit(3), keys(KEY), limit(2), limit(5)])
    service = await fake_systemd.start()
    assert (await ask(fake_systemd)).headers["x-ratelimit-remaining-requests"] == "1"
    await fake_systemd.reload(service)
    assert (await ask(fake_systemd)).headers["x-ratelimit-remaining-requests"] == "0"
    refused = await ask(fake_systemd)
    assert (refused.status, refused.headers["x-ratelimit-limit-requests"]) == (429, "2")


async def test_an_account_never_has_more_chats_than_its_limit_over_a_reload(
    fake_systemd: FakeSystemd, configure: Configure, connect: Connect, emulator: Emulator
) -> None:
    configure(fitten={"pool": {"max_concurrent": 1}})
    service = await fake_systemd.start()
    before = await connect(fake_systemd.url)
    await before.send(chat_request("[[slow first=0 gap=0.3 n=2]]", stream=True))
    await before.until(b"w0 ")
    await fake_systemd.reload(service)
    after = await connect(fake_systemd.url)
    await after.send(chat_request("[[say]]", stream=True))
    await before.until(b"0\r\n\r\n")
    assert b"data: [DONE]" in await after.until(b"0\r\n\r\n")
    first, second = emulator.calls_to("/codeapi/chat_auth")
    assert first.done_at is not None
    assert second.at >= first.done_at


async def test_the_tokens_are_taken_over(
    fake_systemd: FakeSystemd, configure: Configure, emulator: Emulator, tmp_path: Path
) -> None:
    service = await fake_systemd.start()
    state = json.loads((tmp_path / "fitten.json").read_text())
    assert list(state) == ["accounts"]
    for index in range(3):
        if index == 2:  # the process knows them even when the file has gone
            (tmp_path / "fitten.json").unlink()
        await fake_systemd.reload(service)
    assert (await ask(fake_systemd)).status == 200
    assert len(emulator.calls_to("/codeuser/auth/login")) == 1


async def test_the_models_stay_known_although_the_new_account_cannot_ask_for_them(
    fake_systemd: FakeSystemd, configure: Configure, emulator: Emulator
) -> None:
    async def models() -> bytes:
        headers = {"Authorization": f"Bearer {KEY}"}
        async with (
            aiohttp.ClientSession(headers=headers) as http,
            http.get(fake_systemd.url + "/v1/models") as response,
        ):
            return await response.read()

    service = await fake_systemd.start()
    before = await models()
    configure(fitten={"base_url": "http://127.0.0.1:9"})
    assert "0 of 1 accounts healthy" in await fake_systemd.reload(service)
    assert await models() == before


async def test_a_running_stream_goes_on_and_its_connection_then_meets_the_new_settings(
    fake_systemd: FakeSystemd, configure: Configure, connect: Connect
) -> None:
    service = await fake_systemd.start()
    peer = await connect(fake_systemd.url)
    await peer.send(chat_request("[[slow first=0 gap=0.4 n=3]]", stream=True))
    assert (await peer.head())[0] == 200
    body = await peer.until(b"w0 ")
    configure(middlewares=[keys(OTHER)])
    for _ in range(2):
        await fake_systemd.reload(service)
    body += await peer.until(b"0\r\n\r\n")
    assert [b"w%d " % n in body for n in range(3)] == [True] * 3
    assert b"data: [DONE]\n\n" in body
    await peer.send(chat_request("[[say]]"))
    assert (await peer.answer()).status == 401


BAD: dict[str, Any] = {
    "an option that is not known": {"server": {"prot": 1}},
    "a middleware that does not exist": {"middlewares": ["nothing_like_it"]},
    "a credential that is not there": {
        "fitten": {"accounts": [{"username": "u", "password": "${credential:none}"}]}
    },
    "a log file that cannot be opened": {"log": {"file": "/nowhere/gateway.log"}},
    "authorities that cannot be read": {"fitten": {"ca_file": "/nowhere/ca.pem"}},
    "a middleware that cannot be built": {"middlewares": ["acme:broken"]},
}


@pytest.mark.parametrize("sections", BAD.values(), ids=BAD.keys())
async def test_a_bad_file_changes_nothing_and_is_named(
    fake_systemd: FakeSystemd, configure: Configure, tmp_path: Path, sections: dict[str, Any]
) -> None:
    (tmp_path / "acme.py").write_text("def broken():\n    raise RuntimeError('no')\n")
    service = await fake_systemd.start(environ={"PYTHONPATH": f"{Path.cwd()}:{tmp_path}"})
    configure(**{"middlewares": [keys(OTHER)], **sections})
    said = await fake_systemd.reload(service)
    assert "; reload refused, the former settings stay: " in said
    assert (await ask(fake_systemd, KEY)).status == 200
    assert (await ask(fake_systemd, OTHER)).status == 401
    refusal = await service.event("reload_refused")
    assert refusal["level"] == "error"
    if "mistakes" in refusal:
        assert f"{tmp_path}/config.yaml:" in said or "see middlewares[" in said
    configure()
    assert "refused" not in await fake_systemd.reload(service)


async def test_a_file_that_is_gone_or_no_yaml_changes_nothing(
    fake_systemd: FakeSystemd, configure: Configure, tmp_path: Path
) -> None:
    service = await fake_systemd.start()
    (tmp_path / "config.yaml").write_text("a: [")
    assert f"{tmp_path}/config.yaml:1" in await fake_systemd.reload(service)
    (tmp_path / "config.yaml").unlink()
    assert f"{tmp_path}/config.yaml" in await fake_systemd.reload(service)
    assert (await ask(fake_systemd)).status == 200


async def test_a_secret_of_a_bad_file_is_neither_logged_nor_sent_to_systemd(
    fake_systemd: FakeSystemd, configure: Configure
) -> None:
    service = await fake_systemd.start()
    secret = "sk-canary-1234567890"
    proxy = f"ftp://user:{secret}@proxy"
    configure(middlewares=[keys(secret)], fitten={"proxy": proxy}, log={"file": "/nowhere/log"})
    await fake_systemd.reload(service)
    await service.event("reload_refused")
    assert secret not in service.raw
    assert secret not in "".join(fake_systemd.datagrams)


async def test_keys_cannot_be_removed_while_a_socket_is_open_to_the_network(
    fake_systemd: FakeSystemd, configure: Configure
) -> None:
    with socket.create_server(("0.0.0.0", 0)) as listening:
        service = await fake_systemd.start(sockets=listening)
        configure(middlewares=[limit(60)])
        assert "refused" in await fake_systemd.reload(service)


async def test_the_log_is_reloaded(
    fake_systemd: FakeSystemd, configure: Configure, tmp_path: Path
) -> None:
    first, second = tmp_path / "first.log", tmp_path / "second.log"
    configure(log={"file": str(first), "level": "warning"})
    service = await fake_systemd.start()
    configure(log={"file": str(second), "level": "debug"})
    await fake_systemd.reload(service)
    await service.event("reloaded")
    assert (await ask(fake_systemd)).status == 200
    service.signal(signal.SIGTERM)
    assert await service.exit_status() == 0
    assert first.read_text() == ""
    names = [json.loads(line)["event"] for line in second.read_text().splitlines()]
    assert names[-2:] == ["draining", "stopped"]


async def test_a_log_file_that_was_renamed_is_opened_again(
    fake_systemd: FakeSystemd, configure: Configure, tmp_path: Path
) -> None:
    file, aside = tmp_path / "gateway.log", tmp_path / "gateway.log.1"
    configure(log={"file": str(file)}, middlewares=["request_log", keys(KEY)])
    service = await fake_systemd.start()
    for _ in range(5):
        await ask(fake_systemd)
    file.rename(aside)
    await ask(fake_systemd)
    await fake_systemd.reload(service)
    for _ in range(5):
        await ask(fake_systemd)
    service.signal(signal.SIGTERM)
    assert await service.exit_status() == 0
    lines = [json.loads(line) for f in (aside, file) for line in f.read_text().splitlines()]
    assert len([line for line in lines if line["event"] == "request"]) == 11
    assert lines[-1]["event"] == "stopped"
    assert "reloaded" in file.read_text()


async def test_a_reload_under_way_does_not_keep_the_process_alive(
    fake_systemd: FakeSystemd, configure: Configure
) -> None:
    """Its new upstream does not answer."""
    with socket.create_server(("127.0.0.1", 0)) as silent:
        service = await fake_systemd.start()
        url = f"http://127.0.0.1:{silent.getsockname()[1]}"
        never = {"timeouts": {"call": NEVER}}
        configure(fitten={"base_url": url, "models_url": url, **never})
        service.signal(signal.SIGHUP)
        await fake_systemd.wait_for("RELOADING=1")
        assert (await ask(fake_systemd)).status == 200
        service.signal(signal.SIGTERM)
        assert await service.exit_status() == 0


RELOADS = int(os.environ.get("RELOADS", "16"))


async def load(fake_systemd: FakeSystemd, failed: list[Any], done: list[int]) -> None:
    """Send requests one after the other, on one connection, until `done`."""
    headers = {"Authorization": f"Bearer {KEY}"}
    body = {"messages": [{"role": "user", "content": "[[say]]"}], "stream": True}
    async with aiohttp.ClientSession(headers=headers) as http:
        while True:
            try:
                async with http.post(
                    fake_systemd.url + "/v1/chat/completions", json=body
                ) as response:
                    whole = (await response.read()).endswith(b"data: [DONE]\n\n")
                if response.status != 200 or not whole:
                    failed.append(response.status)
            except aiohttp.ClientError as error:
                failed.append(error)
            done[0] += 1


@pytest.mark.timeout(180 + 10 * RELOADS)
@pytest.mark.parametrize("workers", [1, 2])
async def test_reloads_under_load_fail_no_request_and_keep_no_memory(
    fake_systemd: FakeSystemd, configure: Configure, workers: int
) -> None:
    """Half of the reloads are of a bad file."""
    server = {"workers": workers}
    configure(server=server, middlewares=[keys(KEY)])  # a limit remembers each request of a minute
    service = await fake_systemd.start()
    failed: list[Any] = []
    done = [0]
    clients = [asyncio.create_task(load(fake_systemd, failed, done)) for _ in range(4)]
    await eventually(lambda: done[0] > 3000, within=120)  # caches and buffers are filled
    sizes = []
    for number in range(RELOADS):
        bad = number % 2 == 0
        server["body_timeout"] = -1 if bad else 20 + number
        configure(server=server, middlewares=[keys(KEY)])
        assert ("refused" in await fake_systemd.reload(service)) is bad
        sizes.append(memory(service))
    for client in clients:
        client.cancel()
    await asyncio.gather(*clients, return_exceptions=True)
    assert failed == []
    settled = sizes[RELOADS // 4 :]
    assert settled[-1] - settled[0] < 2 * 1024 * workers, sizes


def memory(service: GatewayService) -> int:
    """Return the resident memory of all its processes, in KiB."""
    children = Path(f"/proc/{service.pid}/task/{service.pid}/children").read_text().split()
    statuses = [Path(f"/proc/{pid}/status").read_text() for pid in (service.pid, *children)]
    return sum(int(status.partition("VmRSS:")[2].split()[0]) for status in statuses)

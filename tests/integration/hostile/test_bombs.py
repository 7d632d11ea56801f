"""Heads and bodies made to be expensive: no other request waits for them."""

from __future__ import annotations

import asyncio
import contextlib
import gzip

import pytest

from emulator import Emulator
from tests.integration.conftest import Connect
from tests.integration.hostile.lag import never_blocked
from tests.integration.peer import CHAT, UPSTREAM_CHAT, Peer, chat_head
from tests.support import Gateway
from tests.waiting import LONGEST_WAIT

JSON = {"Content-Type": "application/json"}
MESSAGES = b'"messages":[{"role":"user","content":"x"}]'
MOST = 20 * 1024 * 1024  # server.max_body_bytes


def filled(before: bytes, part: bytes, after: bytes, size: int = MOST) -> bytes:
    """Return this part repeated until the whole has nearly this size."""
    return before + part * ((size - len(before) - len(after)) // len(part)) + after


HEADS = {
    "a long field": filled(b"GET / HTTP/1.1\r\nHost: g\r\nX: ", b"a", b"\r\n\r\n", 1_000_000),
    "many fields": filled(b"GET / HTTP/1.1\r\nHost: g\r\n", b"X: 1\r\n", b"\r\n", 1_000_000),
    "a long target": filled(b"GET /", b"%41", b" HTTP/1.1\r\nHost: g\r\n\r\n", 1_000_000),
    "empty lines": b"\r\n" * 500_000,
    "tiny chunks": chat_head({**JSON, "Transfer-Encoding": "chunked"}) + b"1\r\n[\r\n" * 60_000,
    "a long chunk extension": filled(
        chat_head({**JSON, "Transfer-Encoding": "chunked"}) + b"1;", b"a", b"\r\n[\r\n", 1_000_000
    ),
}
TOOL = b'"tools":[{"type":"function","function":{"name":"f","description":"'
CALL = (
    b'{"messages":[{"role":"assistant","content":null,"tool_calls":['
    b'{"id":"c","type":"function","function":{"name":"f","arguments":"'
)
CHATS = {
    "lists": filled(b"{" + MESSAGES + b',"x":[', b"[],", b"0]}"),
    "lists, broken": filled(b"{" + MESSAGES + b',"x":[', b"[],", b"}"),
    "lists, as many as may be": b"{" + MESSAGES + b',"x":[' + b"[]," * 399_900 + b"0]}",
    "objects": filled(b"{" + MESSAGES + b',"x":[', b'{"a":0},', b"0]}"),
    "numbers": filled(b"{" + MESSAGES + b',"x":[', b"0,", b"0]}"),
    "digits": filled(b"{" + MESSAGES + b',"x":', b"9", b"}"),
    "texts": filled(b"{" + MESSAGES + b',"x":[', b'"",', b"0]}"),
    "members": filled(b"{" + MESSAGES + b',"x":{', b'"a":0,', b'"a":0}}'),
    "messages": filled(b'{"messages":[', b'{"role":"user","content":"x"},', b"{}]}"),
    "calls": filled(
        CALL, b'{}"}},{"id":"","type":"function","function":{"name":"","arguments":"', b'{}"}}]}]}'
    ),
    "calls, as many as may be": CALL
    + b'{}"}},{"id":"","type":"function","function":{"name":"","arguments":"' * 17_000
    + b'{}"}}]}]}',
    "half surrogates": filled(b"{" + MESSAGES + b',"x":"', b"\\ud83d", b'"}'),
    "half surrogates in UTF-8": filled(b"{" + MESSAGES + b',"x":"', b"\xed\xa0\xbd", b'"}'),
    "halves of characters": filled(b"{" + MESSAGES + b',"x":"', b"\xf0\x9f", b'"}'),
    "half surrogates in a call": filled(CALL, b"\\\\ud83d", b'"}}]}]}'),
    "surrogate pairs, broken": filled(b"{" + MESSAGES + b',"x":"', b"\\ud83d\\ude00", b'"'),
    "results in parts": filled(
        b'{"messages":[{"role":"user","content":[', b'{"type":"tool_result"},', b'"x"]}]}'
    ),
    "calls in parts": filled(
        b'{"messages":[{"role":"assistant","content":[',
        b'{"type":"tool_use","name":"f"},',
        b'"x"]}]}',
    ),
    "function calls": filled(
        b'{"messages":[', b'{"role":"assistant","function_call":{"name":"f"}},', b"{}]}"
    ),
    "allowed tools": filled(
        b"{" + MESSAGES + b',"tool_choice":{"type":"allowed_tools","tools":[',
        b'{"name":"f"},',
        b'{"name":"f"}]}}',
    ),
    "an image in percent-encoding": filled(
        b'{"messages":[{"role":"user","content":[{"type":"image_url","image_url":"data:,',
        b"%89",
        b'"}]}]}',
    ),
    "an image of line ends": filled(
        b'{"messages":[{"role":"user","content":[{"type":"image_url","image_url":'
        b'"data:image/png;base64,',
        b"%0A\\n",
        b'"}]}]}',
    ),
    "depth": b"[" * (MOST - 9),
    "spaces": filled(b"{" + MESSAGES, b" ", b"}"),
    "an image": filled(
        b'{"messages":[{"role":"user","content":[{"type":"image_url","image_url":'
        b'{"url":"data:image/png;base64,',
        b"AAAA",
        b'"}}]}]}',
    ),
    "markers": filled(b'{"messages":[{"role":"user","content":"', b"<|end|>", b'"}]}'),
    "line ends": filled(b'{"messages":[{"role":"user","content":"', b"\\n", b'"}]}'),
    "markers and a tool": filled(
        b"{" + TOOL + b'"}}],"messages":[{"role":"user","content":"', b"<tool>", b'"}]}'
    ),
    "markers in a tool": filled(b"{" + MESSAGES + b"," + TOOL, b"<|end|>", b'"}}]}'),
    "markers in a call": filled(CALL, b"<|end|>", b'"}}]}]}'),
    "lists in a call": CALL + b"[" + b"[]," * 390_000 + b'0]"}}]}]}',
    "markers in a schema": filled(
        b"{" + MESSAGES + b',"response_format":{"type":"json_schema","json_schema":'
        b'{"name":"a","schema":{"enum":["',
        b"<|end|>",
        b'"]}}}}',
    ),
}
COMPLETIONS = {
    "markers": filled(b'{"prompt":"', b"<fim_prefix>", b'","suffix":"x"}'),
    "a notation": filled(b'{"prompt":"', b"<fim_prefix><fim_suffix><fim_middle>", b'"}'),
    "file names": filled(
        b'{"prompt":"', b"<file_sep>x\\n", b'<fim_prefix><fim_suffix><fim_middle>"}'
    ),
    "plus signs": filled(b'{"prompt":"[SUFFIX][PREFIX]', b"+++++ x\\n", b'"}'),
    "line ends": filled(b'{"prompt":"x","suffix":"', b"\\n", b'"}'),
}


async def send(peer: Peer, data: bytes) -> None:
    """Send in parts, so that the client's side does not take long."""
    for start in range(0, len(data), 65536):
        await peer.send(data[start : start + 65536])


@pytest.mark.parametrize("name", HEADS)
async def test_no_head_blocks_the_loop(gateway: Gateway, connect: Connect, name: str) -> None:
    peer = await connect(gateway.url)
    with never_blocked():
        with contextlib.suppress(ConnectionError):  # it was refused and closed
            await asyncio.wait_for(send(peer, HEADS[name]), LONGEST_WAIT)
        peer.reset()
        assert (await gateway.whole("[[say]]"))[0] == 200


@pytest.mark.parametrize("name", CHATS)
async def test_no_chat_blocks_the_loop(gateway: Gateway, connect: Connect, name: str) -> None:
    await answered_without_delay(await connect(gateway.url), CHAT, CHATS[name])
    assert (await gateway.whole("[[say]]"))[0] == 200


@pytest.mark.parametrize("name", COMPLETIONS)
async def test_no_completion_blocks_the_loop(gateway: Gateway, connect: Connect, name: str) -> None:
    await answered_without_delay(await connect(gateway.url), "/v1/completions", COMPLETIONS[name])


async def answered_without_delay(peer: Peer, path: str, body: bytes) -> None:
    with never_blocked():
        await send(peer, chat_head({**JSON, "Content-Length": str(len(body))}, f"POST {path}"))
        await send(peer, body)
        answer = await peer.answer()
    if answer.status != 200:
        assert answer.status == 400
        assert answer.error["type"] == "invalid_request_error"


async def test_a_charset_of_the_clients_choice_is_not_looked_up(
    gateway: Gateway, connect: Connect
) -> None:
    body = b"\xff" * 200_000
    with never_blocked():
        for charset in ("punycode", "idna", "utf-7", "utf-16", "rot13", "none", "\xff"):
            peer = await connect(gateway.url)
            kind = f"application/json; charset={charset}"
            await peer.send(chat_head({"Content-Type": kind, "Content-Length": str(len(body))}))
            await send(peer, body)
            answer = await peer.answer()
            assert (answer.status, answer.error["code"]) == (415, "unsupported_media_type")


async def test_a_compressed_body_is_not_unpacked(
    gateway: Gateway, connect: Connect, emulator: Emulator
) -> None:
    body = gzip.compress(bytes(20_000_000))
    with never_blocked():
        for coding in ("gzip", "deflate", "br", "zstd", "identity, gzip", "x", "\xff"):
            peer = await connect(gateway.url)
            head = {**JSON, "Content-Encoding": coding, "Content-Length": str(len(body))}
            await peer.send(chat_head(head) + body)
            answer = await peer.answer()
            assert (answer.status, answer.error["code"]) == (415, "unsupported_media_type")
    assert not emulator.calls_to(UPSTREAM_CHAT)

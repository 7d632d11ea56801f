"""Heads and bodies made to be expensive: no other request waits for them."""

from __future__ import annotations

import asyncio
import contextlib
import gzip
import json
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest

from emulator import Emulator
from gateway.generation.json_values import MAX_VALUES, exceeds
from tests.faults.upstream import FaultyFitten, whole
from tests.integration.conftest import Connect
from tests.integration.hostile.lag import never_blocked
from tests.integration.peer import CHAT, UPSTREAM_CHAT, Peer, chat_head
from tests.support import Gateway, running_gateway
from tests.waiting import LONGEST_WAIT

JSON = {"Content-Type": "application/json"}
MESSAGES = b'"messages":[{"role":"user","content":"x"}]'
MOST = 20 * 1024 * 1024  # server.max_body_bytes

Bomb = Callable[[], bytes]  # made by the test that sends it: together they take 1 GB


def filled(before: bytes, part: bytes, after: bytes, size: int = MOST) -> Bomb:
    """Return what makes this part repeated until the whole has nearly this size."""
    return lambda: before + part * ((size - len(before) - len(after)) // len(part)) + after


def most(before: bytes, part: bytes, after: bytes) -> Bomb:
    """Return what makes this part repeated as often as a body may have values."""

    def made() -> bytes:
        low, high = 1, MAX_VALUES
        while low < high:
            middle = (low + high + 1) // 2
            fits = not exceeds(before + part * middle + after, MAX_VALUES)
            low, high = (middle, high) if fits else (low, middle - 1)
        return before + part * low + after

    return made


HEADS: dict[str, Bomb] = {
    "a long field": filled(b"GET / HTTP/1.1\r\nHost: g\r\nX: ", b"a", b"\r\n\r\n", 1_000_000),
    "many fields": filled(b"GET / HTTP/1.1\r\nHost: g\r\n", b"X: 1\r\n", b"\r\n", 1_000_000),
    "a long target": filled(b"GET /", b"%41", b" HTTP/1.1\r\nHost: g\r\n\r\n", 1_000_000),
    "empty lines": lambda: b"\r\n" * 500_000,
    "tiny chunks": lambda: (
        chat_head({**JSON, "Transfer-Encoding": "chunked"}) + b"1\r\n[\r\n" * 60_000
    ),
    "a long chunk extension": filled(
        chat_head({**JSON, "Transfer-Encoding": "chunked"}) + b"1;", b"a", b"\r\n[\r\n", 1_000_000
    ),
}
TOOL = b'"tools":[{"type":"function","function":{"name":"f","description":"'
CALL = (
    b'{"messages":[{"role":"assistant","content":null,"tool_calls":['
    b'{"id":"c","type":"function","function":{"name":"f","arguments":"'
)
CHATS: dict[str, Bomb] = {
    "lists": filled(b"{" + MESSAGES + b',"x":[', b"[],", b"0]}"),
    "lists, broken": filled(b"{" + MESSAGES + b',"x":[', b"[],", b"}"),
    "lists, as many as may be": most(b"{" + MESSAGES + b',"x":[', b"[],", b"0]}"),
    "floats, as many as may be": most(b"{" + MESSAGES + b',"x":[', b"1e300,", b"0]}"),
    "floats": filled(b"{" + MESSAGES + b',"x":[', b"1e300,", b"0]}", 1_000_000),
    "digits of a float": filled(b"{" + MESSAGES + b',"x":0.', b"9", b"}"),
    "lists in lists": most(b"{" + MESSAGES + b',"x":[', b"[" * 900 + b"]" * 900 + b",", b"0]}"),
    "a quote as an escape": filled(b"{" + MESSAGES + b',"y":"\\u0022","x":"', b"\\\\", b'"}'),
    "a member twice": filled(b"{" + MESSAGES + b',"y":0,"y":0,"x":"', b"\\n", b'"}'),
    "members of the body": lambda: (
        b"{" + MESSAGES + b"".join(b',"a%d":0' % number for number in range(19_900)) + b"}"
    ),
    "objects": filled(b"{" + MESSAGES + b',"x":[', b'{"a":0},', b"0]}"),
    "numbers": filled(b"{" + MESSAGES + b',"x":[', b"0,", b"0]}"),
    "digits": filled(b"{" + MESSAGES + b',"x":', b"9", b"}"),
    "texts": filled(b"{" + MESSAGES + b',"x":[', b'"",', b"0]}"),
    "members": filled(b"{" + MESSAGES + b',"x":{', b'"a":0,', b'"a":0}}'),
    "messages": filled(b'{"messages":[', b'{"role":"user","content":"x"},', b"{}]}"),
    "messages, as many as may be": most(
        b'{"messages":[', b'{"role":"assistant"},', b'{"role":"user","content":"x"}]}'
    ),
    "messages, as many as may be, and a tool": most(
        b'{"tools":[{"type":"function","function":{"name":"f"}}],"messages":[',
        b'{"role":"assistant"},',
        b'{"role":"user","content":"x"}]}',
    ),
    "parts, as many as may be": most(
        b'{"messages":[{"role":"user","content":[',
        b'{"type":"text","text":""},',
        b'{"type":"text","text":"x"}]}]}',
    ),
    "images, as many as may be": most(
        b'{"messages":[{"role":"user","content":[',
        b'{"type":"image_url","image_url":"data:image/gif;base64,R0lGODlhAQABAAAAACwAAAAAAQAB"},',
        b'{"type":"text","text":"x"}]}]}',
    ),
    "a role": filled(b'{"messages":[{"content":"x","role":"', b"a", b'"}]}'),
    "an id": filled(
        b'{"messages":[{"role":"tool","content":"x","tool_call_id":"', b"<|a|>", b'"}]}'
    ),
    "an id of a call": filled(
        b'{"messages":[{"role":"assistant","tool_calls":[{"function":{"name":"f"},"id":"',
        b"< /",
        b'"}]}]}',
    ),
    "calls": filled(
        CALL, b'{}"}},{"id":"","type":"function","function":{"name":"","arguments":"', b'{}"}}]}]}'
    ),
    "calls, as many as may be": most(
        CALL, b'{}"}},{"id":"","type":"function","function":{"name":"","arguments":"', b'{}"}}]}]}'
    ),
    "objects in calls, as many as may be": most(
        b'{"messages":[{"role":"assistant","tool_calls":[',
        b'{"function":{"name":"f","arguments":{}}},',
        b'{"function":{"name":"f"}}]}]}',
    ),
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
    "results in parts, as many as may be": most(
        b'{"messages":[',
        b'{"role":"user","content":[{"type":"tool_result"}]},',
        b'{"role":"user","content":"x"}]}',
    ),
    "images in results, as many as may be": most(
        b'{"messages":[{"role":"user","content":[',
        b'{"type":"tool_result","content":[{"type":"image","source":{"data":"R0lGODlhAQABAAAA"}}]},',
        b'"x"]}]}',
    ),
    "calls in parts, as many as may be": most(
        b'{"messages":[{"role":"assistant","content":[',
        b'{"type":"tool_use","name":"f","input":{"a":0}},',
        b'"x"]},{"role":"user","content":"x"}]}',
    ),
    "function calls, as many as may be": most(
        b'{"messages":[',
        b'{"role":"assistant","function_call":{"name":"f","arguments":{}}},',
        b'{"role":"user","content":"x"}]}',
    ),
    "floats as the result of a tool": most(
        b'{"messages":[{"role":"tool","content":{"a":[',
        b"1e300,",
        b'0]}},{"role":"user","content":"x"}]}',
    ),
    "tools of one name": lambda: (
        b"{"
        + MESSAGES
        + b',"tools":['
        + b",".join([b'{"name":"f","parameters":{"enum":[%b0]}}' % (b"0," * 350)] * 256)
        + b"]}"
    ),
    "half surrogates in a call that fits": filled(
        CALL + b'\\"', b"\\\\ud83d", b'\\""}}]}]}', 307_000
    ),
    "half surrogates before lists": filled(
        b"{" + MESSAGES + b',"y":"' + b"\\ud83d" * 5000 + b'","x":[', b"[],", b"0]}"
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
    "depth": lambda: b"[" * (MOST - 9),
    "spaces": filled(b"{" + MESSAGES, b" ", b"}"),
    "an image": filled(
        b'{"messages":[{"role":"user","content":[{"type":"image_url","image_url":'
        b'{"url":"data:image/png;base64,',
        b"AAAA",
        b'"}}]}]}',
    ),
    "markers": filled(b'{"messages":[{"role":"user","content":"', b"<|end|>", b'"}]}'),
    "markers, as many as may be": filled(
        b'{"messages":[{"role":"user","content":"', b"<|a|>", b'"}]}', 307_000
    ),
    "tags, as many as may be": filled(
        b"{" + TOOL + b'"}}],"messages":[{"role":"user","content":"',
        b"<       tool",
        b'"}]}',
        307_000,
    ),
    "line ends": filled(b'{"messages":[{"role":"user","content":"', b"\\n", b'"}]}'),
    "markers and a tool": filled(
        b"{" + TOOL + b'"}}],"messages":[{"role":"user","content":"', b"<tool>", b'"}]}'
    ),
    "markers in a tool": filled(b"{" + MESSAGES + b"," + TOOL, b"<|end|>", b'"}}]}'),
    "markers in a call": filled(CALL, b"<|end|>", b'"}}]}]}'),
    "lists in a call": filled(CALL + b"[", b"[],", b'0]"}}]}]}', 307_000),
    "floats in a call": filled(CALL + b"[", b"1e300,", b'0]"}}]}]}', 307_000),
    "lists in a schema": most(
        b"{" + MESSAGES + b',"response_format":{"type":"json_schema","json_schema":'
        b'{"name":"a","schema":{"enum":[',
        b"[[[[[[]]]]]],",
        b"0]}}}}",
    ),
    "floats in a tool": most(
        b"{" + MESSAGES + b',"tools":[{"type":"function","function":{"name":"f",'
        b'"parameters":{"enum":[',
        b"1e300,",
        b"0]}}}]}",
    ),
    "markers in a schema": filled(
        b"{" + MESSAGES + b',"response_format":{"type":"json_schema","json_schema":'
        b'{"name":"a","schema":{"enum":["',
        b"<|end|>",
        b'"]}}}}',
    ),
}
COMPLETIONS: dict[str, Bomb] = {
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
            await asyncio.wait_for(send(peer, HEADS[name]()), LONGEST_WAIT)
        peer.reset()
        assert (await gateway.whole("[[say]]"))[0] == 200


@pytest.mark.parametrize("name", CHATS)
async def test_no_chat_blocks_the_loop(gateway: Gateway, connect: Connect, name: str) -> None:
    await answered_without_delay(await connect(gateway.url), CHAT, CHATS[name]())
    assert (await gateway.whole("[[say]]"))[0] == 200


@pytest.mark.parametrize("name", COMPLETIONS)
async def test_no_completion_blocks_the_loop(gateway: Gateway, connect: Connect, name: str) -> None:
    await answered_without_delay(await connect(gateway.url), "/v1/completions", COMPLETIONS[name]())


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


def tool(parameters: Any) -> dict[str, Any]:
    return {"tools": [{"type": "function", "function": {"name": "t", "parameters": parameters}}]}


def wanted(schema: Any) -> dict[str, Any]:
    return {
        "response_format": {"type": "json_schema", "json_schema": {"name": "a", "schema": schema}}
    }


def a_call(value: Any) -> str:
    call = {"name": "t", "arguments": {"a": value}}
    return f"<tool_call>{json.dumps(call)}</tool_call>"


def doubling(depth: int) -> dict[str, Any]:
    """References of which each leads to two more."""
    defs: dict[str, Any] = {
        f"d{i}": {"anyOf": [{"$ref": f"#/$defs/d{i + 1}"}] * 2} for i in range(depth)
    }
    return {"$defs": defs | {f"d{depth}": {"type": "boolean"}}}


VALUES = [f"v{number}" for number in range(300)]
# With the headers of an answer of texts with a tool, and of one of booleans in this format.
SCHEMAS: dict[str, tuple[dict[str, Any], str | None, str | None]] = {
    "an enum of 20,000 values": ({"items": {"enum": list(range(20_000))}}, None, "mismatch"),
    "many types": ({"items": {"type": ["integer"] * 20_000}}, None, "mismatch"),
    "types that nobody knows": ({"items": {"type": ["integer", "?"] * 10_000}}, None, None),
    "references that double": ({"items": {"$ref": "#/$defs/d0"}}, "unchecked", "unchecked"),
    "many choices": ({"items": {"anyOf": [{"type": "integer"}] * 5_000}}, "unchecked", "unchecked"),
}


def rooted(schema: dict[str, Any], place: str) -> dict[str, Any]:
    return {"properties": {"a": schema}, **doubling(24), "title": place}


@pytest.mark.parametrize("name", SCHEMAS)
async def test_no_schema_of_a_tool_blocks_the_loop(gateway: Gateway, name: str) -> None:
    schema, expected, _ = SCHEMAS[name]
    text = f"[[say text={quote(a_call(VALUES))} piece=65536 pace=0]]"
    body = tool(rooted(schema, name))
    with never_blocked():
        async with gateway.post_chat(text, **body) as response:
            answer = await response.json()
            header = response.headers.get("x-fitten-tool-arguments")
    (call,) = answer["choices"][0]["message"]["tool_calls"]
    assert json.loads(call["function"]["arguments"]) == {"a": VALUES}
    assert header == expected
    with never_blocked():
        assert (await gateway.stream(text, **body))[-1] == "[DONE]"


@pytest.mark.parametrize("name", SCHEMAS)
async def test_no_schema_of_an_answer_blocks_the_loop(
    gateway: Gateway, name: str, log_events: list[dict[str, Any]]
) -> None:
    schema, _, expected = SCHEMAS[name]
    text = f"[[say text={quote(json.dumps({'a': [True] * 300}))} piece=65536 pace=0]]"
    with never_blocked():
        async with gateway.post_chat(text, **wanted(rooted(schema, name))) as response:
            assert response.status == 200
            header = response.headers.get("x-fitten-response-format")
    assert header == expected
    said = [event for event in log_events if event["event"] == "json_unchecked"]
    assert bool(said) == (header == "unchecked")


MARKUP = {
    "tags": "<",
    "brackets": "[",
    "objects": "\n{",
    "names": "<t",
    "calls": "<tool_call>",
    "calls in calls": "<tool_call><t>",
    "attributes": '<t a="',
    "names of members": '\n{"name": "',
    "fences": "\n```\n<tool_call>",
    "results": "<tool_result>",
    "values": '<tool_call>{"name":"t","arguments":{"a":[',
}


LINES = {
    "markers": (b"<|end|>", b'{"delta":"%b"}\n'),
    "markers at line starts": (b"\\n<|user|>", b'{"delta":"%b"}\n'),
    "fences": (b"\\n```", b'{"delta":"%b"}\n'),
    "half surrogates": (b"\\ud83d", b'{"delta":"%b"}\n'),
    "padding": (b"\\u0000", b'{"delta":"%b"}\n'),
    "not JSON": (b'{"delta":NaN}\n' * 900, b'{"delta":"a"}\n%b'),
    "words": (b'{"delta":"heartbeat"}\n{"delta":"_"}\n', b'{"delta":"a"}\n%b'),
    "thoughts": (b'{"reasoning_delta":"a"}\n', b"%b"),
    "usages": (b'{"usage":{"input_tokens":1}}\n', b'{"delta":"a"}\n%b'),
    "blank lines": (b"\n", b'{"delta":"a"}\n%b'),
}


@pytest.fixture
async def fitten() -> AsyncIterator[FaultyFitten]:
    fitten = FaultyFitten()
    await fitten.start()
    yield fitten
    await fitten.stop()


@pytest.mark.parametrize("tools", [False, True], ids=["text", "tools"])
@pytest.mark.parametrize("name", LINES)
async def test_no_answer_of_a_megabyte_blocks_the_loop(
    fitten: FaultyFitten, tmp_path: Path, name: str, tools: bool
) -> None:
    part, form = LINES[name]
    fitten.moment = "chat"
    fitten.go.set()
    fitten.fault = (whole(form % (part * (1_000_000 // len(part))), last=False),)
    async with running_gateway(fitten.url, tmp_path) as gateway:
        with never_blocked():
            async with gateway.post_chat("x", **(tool({}) if tools else {})) as response:
                assert response.status in (200, 502)


@pytest.mark.parametrize("piece", [4, 65_536])
@pytest.mark.parametrize("name", MARKUP)
async def test_no_markup_of_an_answer_blocks_the_loop(
    emulator: Emulator, tmp_path: Path, name: str, piece: int
) -> None:
    size = 65_536 if piece > 4 else 16_384  # each piece is a step of its own, counted alone
    markup = MARKUP[name] * (size // len(MARKUP[name]))
    text = f"[[say text={quote(markup)} piece={piece} pace=0]]"
    async with running_gateway(emulator.url, tmp_path, tools={"repair": False}) as gateway:
        with never_blocked():
            async with gateway.post_chat(text, **tool({})) as response:
                answer = await response.json()
                assert response.status == 200
    assert answer["choices"][0]["message"]["content"] == markup

"""Bodies that are not quite JSON, with half an emoji or a byte order mark, end no conversation."""

from __future__ import annotations

import json
from typing import Any

import pytest

from emulator import Emulator
from tests.integration.peer import upstream_call
from tests.support import Gateway, frames

HEADERS = {"Content-Type": "application/json"}
HEADER = "x-fitten-replaced-characters"
BOM = b"\xef\xbb\xbf"


def chat(content: bytes, more: bytes = b"") -> bytes:
    return b'{"messages":[{"role":"user","content":"' + content + b'"}]' + more + b"}"


async def post(gateway: Gateway, path: str, body: bytes) -> tuple[int, Any, str | None]:
    async with gateway.http.post(gateway.url + path, data=body, headers=HEADERS) as response:
        raw = await response.read()
        streamed = response.content_type == "text/event-stream"
        answer = frames(raw) if streamed else json.loads(raw)
        return response.status, answer, response.headers.get(HEADER)


@pytest.mark.parametrize(
    ("content", "text", "count"),
    [
        (rb"log: ok \ud83d", "log: ok \ufffd", "1"),
        (rb"\ude00 \ud83d\ude00 \ud83d", "\ufffd 😀 \ufffd", "2"),
        (b"log: \xed\xa0\xbd", "log: \ufffd", "1"),
        (b"log: \xf0\x9f\x98", "log: \ufffd", "1"),
        (rb"log: \\ud83d \ud83d", r"log: \ud83d " + "\ufffd", "1"),
        (rb"log: \ud83d\ude00", "log: 😀", None),
        (rb"log: \\ud83d", r"log: \ud83d", None),
    ],
)
@pytest.mark.parametrize("stream", [False, True])
async def test_half_an_emoji_is_replaced_and_counted_in_a_header(
    gateway: Gateway,
    emulator: Emulator,
    content: bytes,
    text: str,
    count: str | None,
    stream: bool,
) -> None:
    more = b',"stream":true' if stream else b""
    status, _, header = await post(gateway, "/v1/chat/completions", chat(content, more))
    assert (status, header) == (200, count)
    assert f"<|user|>\n{text}\n<|end|>" in (await upstream_call(emulator)).body["inputs"]


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/v1/completions", rb'{"prompt":"x = \ud83d"}'),
        ("/v1/completions", rb'{"prompt":"x = ","suffix":"\ude00"}'),
        ("/v1/fim/completions", rb'{"prompt":"x = \ud83d"}'),
        ("/infill", rb'{"input_prefix":"x = \ud83d","input_suffix":""}'),
    ],
)
async def test_half_an_emoji_is_replaced_on_every_route(
    gateway: Gateway, path: str, body: bytes
) -> None:
    status, _, header = await post(gateway, path, body)
    assert (status, header) == (200, "1")


async def test_half_an_emoji_anywhere_in_a_conversation_is_replaced(
    gateway: Gateway, emulator: Emulator
) -> None:
    half = rb"\ud83d"
    call = b'{"id":"c","type":"function","function":{"name":"f","arguments":"{\\"a\\":\\"%b\\"}"}}'
    body = (
        b'{"messages":[{"role":"system","content":"%b"},'
        b'{"role":"assistant","content":null,"tool_calls":[' + call + b"]},"
        b'{"role":"tool","tool_call_id":"c","content":[{"type":"text","text":"%b"}]}],'
        b'"tools":[{"type":"function","function":{"name":"f","description":"%b"}}],'
        b'"metadata":{"%b":1}}'
    )
    status, _, header = await post(gateway, "/v1/chat/completions", body % ((half,) * 5))
    assert (status, header) == (200, "5")
    assert (await upstream_call(emulator)).body["inputs"].count("\ufffd") == 4


async def test_half_an_emoji_within_the_arguments_of_a_call_is_replaced(
    gateway: Gateway, emulator: Emulator
) -> None:
    """The arguments are JSON in JSON: there the escape is valid for the outer parser."""
    call = {"id": "c", "type": "function", "function": {"name": "f"}}
    call["function"] = {
        "name": "f",
        "arguments": r'{"text": "cut \ud83d", "whole": "\ud83d\ude00"}',
    }
    messages = [
        {"role": "assistant", "content": None, "tool_calls": [call]},
        {"role": "tool", "tool_call_id": "c", "content": "done"},
    ]
    body = json.dumps({"messages": messages}).encode()
    status, _, _ = await post(gateway, "/v1/chat/completions", body)
    assert status == 200
    inputs = (await upstream_call(emulator)).body["inputs"]
    assert '{"text": "cut \ufffd", "whole": "😀"}' in inputs


async def test_a_conversation_with_half_an_emoji_goes_on(gateway: Gateway) -> None:
    history = rb'{"role":"user","content":"\ud83d"},{"role":"assistant","content":"?"},'
    for turns in range(1, 4):
        body = b'{"messages":[' + history * turns + b'{"role":"user","content":"[[say]]"}]}'
        status, _, header = await post(gateway, "/v1/chat/completions", body)
        assert (status, header) == (200, str(turns))


@pytest.mark.parametrize("body", [chat(b"[[say]]"), b" \r\n" + chat(b"[[say]]"), chat(rb"\ud83d")])
async def test_a_byte_order_mark_before_the_body_is_left_out(gateway: Gateway, body: bytes) -> None:
    assert (await post(gateway, "/v1/chat/completions", BOM + body))[0] == 200


async def test_a_fault_of_a_repaired_body_is_named(gateway: Gateway) -> None:
    body = rb'{"messages":[{"role":"user","content":5},{"role":"user","content":"\ud83d"}]}'
    status, answer, header = await post(gateway, "/v1/chat/completions", BOM + body)
    assert (status, header) == (400, None)
    assert answer["error"]["param"] == "messages[0].content"


async def test_a_body_in_another_encoding_is_refused(gateway: Gateway) -> None:
    for body in (chat(b"caf\xe9"), chat("你好".encode("gbk"))):
        status, answer, _ = await post(gateway, "/v1/chat/completions", body)
        assert (status, answer["error"]["code"]) == (400, "invalid_json")
        assert "not UTF-8" in answer["error"]["message"]


async def test_pages_may_read_how_many_characters_were_replaced(gateway: Gateway) -> None:
    headers = {**HEADERS, "Origin": "https://chat.example.org"}
    url = f"{gateway.url}/v1/chat/completions"
    async with gateway.http.post(url, data=chat(rb"\ud83d"), headers=headers) as response:
        assert HEADER in response.headers["Access-Control-Expose-Headers"].split(", ")

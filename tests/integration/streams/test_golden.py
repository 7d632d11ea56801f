"""Whole streams, upstream scenario -> client bytes; `UPDATE_GOLDEN=1 pytest` writes them anew."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Any

import pytest

from tests.support import Gateway

FOLDER = Path(__file__).parents[2] / "golden" / "streams"
WITH_USAGE: dict[str, Any] = {"stream_options": {"include_usage": True}}

STREAMS = {
    "say": "[[say text=Hello%20there]]",
    "heartbeats": "[[heartbeats]]",
    "reasoning": "[[reasoning]]",
    "thinking": "[[thinking]]",
    "tracedata": "[[tracedata]]",
    "usage_strings": "[[usage_strings]]",
    "usage_early": "[[usage_early]]",
    "no_usage": "[[no_usage]]",
    "nul_bom": "[[nul_bom]]",
    "crlf": "[[crlf]]",
    "malformed": "[[malformed]]",
    "null_members": "[[null_members]]",
    "split_utf8": "[[split_utf8]]",
    "split_surrogates": "[[split_surrogates]]",
    "one_byte": "[[one_byte]]",
    "role_leak": "[[role_leak]]",
    "role_leak_split": "[[role_leak split=1]]",
    "gzip": "[[gzip]]",
    "error_middle": "[[error_middle]]",
    "reset": "[[reset]]",
    "truncate_chunked": "[[truncate framing=chunked how=fin]]",
    "truncate_close": "[[truncate framing=close how=fin at=line]]",
    "escapes": "[[say text=%22%5C%0A%0D%09%7F%C2%85%E2%80%A8%3C/script%3E piece=3]]",
}

TOOLS = [
    {
        "type": "function",
        "function": {
            "name": "get_weather",
            "parameters": {
                "type": "object",
                "properties": {"city": {"type": "string"}, "days": {"type": "integer"}},
                "required": ["city", "days"],
            },
        },
    },
    {"type": "function", "function": {"name": "clock"}},
]
ASKED = "The weather in Paris for 3 days?"
TOOL_STREAMS = {
    "tool_call": f"{ASKED} [[call]]",
    "tool_calls_parallel": f"{ASKED} [[call n=2 notation=attributes quirk=prose_after]]",
    "tool_call_broken": f"{ASKED} [[call notation=parameters quirk=broken]]",
    "tool_call_results": f"{ASKED} [[call notation=invoke quirk=results]]",
    "tools_ignored": "[[ignore_tools]]",
}


def normalised(raw: bytes) -> bytes:
    """The stream with its id and time of creation made the same for all."""
    raw = re.sub(rb'"id":"chatcmpl-\w+"', b'"id":"chatcmpl-ID"', raw)
    raw = re.sub(rb'"call_\w{24}"', b'"call_ID"', raw)
    return re.sub(rb'"created":\d+', b'"created":0', raw)


@pytest.mark.parametrize("name", STREAMS)
async def test_a_stream_is_byte_for_byte_as_recorded(gateway: Gateway, name: str) -> None:
    async with gateway.post_chat(STREAMS[name], stream=True, **WITH_USAGE) as response:
        assert response.status == 200
        raw = normalised(await response.read())
    golden = FOLDER / f"{name}.txt"
    if os.environ.get("UPDATE_GOLDEN"):
        golden.write_bytes(raw)
    assert raw == golden.read_bytes()


async def test_a_stream_without_usage_is_byte_for_byte_as_recorded(gateway: Gateway) -> None:
    async with gateway.post_chat("[[say]]", stream=True, model="S1") as response:
        raw = normalised(await response.read())
    golden = FOLDER / "plain.txt"
    if os.environ.get("UPDATE_GOLDEN"):
        golden.write_bytes(raw)
    assert raw == golden.read_bytes()


@pytest.mark.parametrize("name", TOOL_STREAMS)
async def test_a_stream_with_tools_is_byte_for_byte_as_recorded(
    gateway: Gateway, name: str
) -> None:
    async with gateway.post_chat(TOOL_STREAMS[name], stream=True, tools=TOOLS) as response:
        raw = normalised(await response.read())
    golden = FOLDER / f"{name}.txt"
    if os.environ.get("UPDATE_GOLDEN"):
        golden.write_bytes(raw)
    assert raw == golden.read_bytes()


def test_every_recorded_stream_belongs_to_a_test() -> None:
    recorded = {path.stem for path in FOLDER.glob("*.txt")}
    assert recorded == {*STREAMS, *TOOL_STREAMS, "plain"}

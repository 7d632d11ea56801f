"""Whole Messages streams, upstream scenario -> client bytes; see `test_golden`."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Any

import pytest

from tests.support import Gateway

FOLDER = Path(__file__).parents[2] / "golden" / "messages"
ASKED = "The weather in Paris for 3 days?"
WEATHER = {
    "name": "get_weather",
    "input_schema": {
        "type": "object",
        "properties": {"city": {"type": "string"}, "days": {"type": "integer"}},
        "required": ["city", "days"],
    },
}
TOOLS = {"tools": [WEATHER, {"name": "clock", "input_schema": {}}]}
THINKING = {"thinking": {"type": "adaptive"}}

STREAMS: dict[str, tuple[str, dict[str, Any]]] = {
    "say": ("[[say text=Hello%20there]]", {}),
    "heartbeats": ("[[heartbeats]]", {}),
    "reasoning": ("[[reasoning]]", THINKING),
    "reasoning_unwanted": ("[[reasoning]]", {}),
    "split_utf8": ("[[split_utf8]]", {}),
    "role_leak_split": ("[[role_leak split=1]]", {}),
    "escapes": ("[[say text=%22%5C%0A%0D%09%7F%C2%85%E2%80%A8%3C/script%3E piece=3]]", {}),
    "stop_sequence": ("[[count n=9]]", {"stop_sequences": ["w3"]}),
    "max_tokens": ("[[count n=99]]", {"max_tokens": 3}),
    "error_middle": ("[[error_middle]]", {}),
    "reset": ("[[reset]]", {}),
    "truncate_chunked": ("[[truncate framing=chunked how=fin]]", {}),
    "tool_use": (f"{ASKED} [[call]]", TOOLS),
    "tool_use_parallel": (f"{ASKED} [[call n=2 notation=attributes quirk=prose_after]]", TOOLS),
    "tool_use_broken": (f"{ASKED} [[call notation=parameters quirk=broken]]", TOOLS),
    "tools_ignored": ("[[ignore_tools]]", TOOLS),
}


def normalised(raw: bytes) -> bytes:
    """The stream with what is random made the same for all."""
    raw = re.sub(rb'"(msg|toolu)_[0-9a-f]{24}"', rb'"\1_ID"', raw)
    return re.sub(rb'"signature":"[0-9a-f]{48}"', b'"signature":"SIGNATURE"', raw)


@pytest.mark.parametrize("name", STREAMS)
async def test_a_stream_is_byte_for_byte_as_recorded(gateway: Gateway, name: str) -> None:
    text, members = STREAMS[name]
    body = {
        "model": "fitten-code",
        "messages": [{"role": "user", "content": text}],
        "stream": True,
        **members,
    }
    async with gateway.http.post(f"{gateway.url}/v1/messages", json=body) as response:
        assert response.status == 200
        raw = normalised(await response.read())
    golden = FOLDER / f"{name}.txt"
    if os.environ.get("UPDATE_GOLDEN"):
        golden.parent.mkdir(exist_ok=True)
        golden.write_bytes(raw)
    assert raw == golden.read_bytes()


def test_every_recorded_stream_belongs_to_a_test() -> None:
    assert {path.stem for path in FOLDER.glob("*.txt")} == {*STREAMS}

"""Whole streams of Ollama's dialect, upstream scenario -> client bytes; see `test_golden`."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Any

import pytest

from tests.support import Gateway

FOLDER = Path(__file__).parents[2] / "golden" / "ollama"
ASKED = "The weather in Paris for 3 days?"
CITY = {
    "type": "object",
    "properties": {"city": {"type": "string"}, "days": {"type": "integer"}},
    "required": ["city", "days"],
}
TOOLS = {
    "tools": [
        {"type": "function", "function": {"name": "get_weather", "parameters": CITY}},
        {"type": "function", "function": {"name": "clock"}},
    ]
}

CHATS: dict[str, tuple[str, dict[str, Any]]] = {
    "say": ("[[say text=Hello%20there]]", {}),
    "heartbeats": ("[[heartbeats]]", {}),
    "reasoning": ("[[reasoning]]", {"think": True}),
    "reasoning_unwanted": ("[[reasoning]]", {"think": False}),
    "split_utf8": ("[[split_utf8]]", {}),
    "role_leak_split": ("[[role_leak split=1]]", {}),
    "escapes": ("[[say text=%22%5C%0A%0D%09%7F%C2%85%E2%80%A8%3C/script%3E piece=3]]", {}),
    "stop": ("[[count n=9]]", {"options": {"stop": ["w3"]}}),
    "num_predict": ("[[count n=99]]", {"options": {"num_predict": 3}}),
    "error_middle": ("[[error_middle]]", {}),
    "reset": ("[[reset]]", {}),
    "truncate_chunked": ("[[truncate framing=chunked how=fin]]", {}),
    "call": (f"{ASKED} [[call]]", TOOLS),
    "call_parallel": (f"{ASKED} [[call n=2 notation=attributes quirk=prose_after]]", TOOLS),
    "call_broken": (f"{ASKED} [[call notation=parameters quirk=broken]]", TOOLS),
    "tools_ignored": ("[[ignore_tools]]", TOOLS),
}
GENERATED: dict[str, dict[str, Any]] = {
    "generate_say": {"prompt": "[[say text=Hello%20there]]"},
    "generate_reasoning": {"prompt": "[[reasoning]]"},
    "generate_error": {"prompt": "[[error_middle]]"},
    "generate_suffix": {"prompt": "def f(", "suffix": "):"},
    "generate_markers": {"prompt": "<PRE> def f( <SUF>): <MID>", "raw": True},
}
REQUESTS: dict[str, tuple[str, dict[str, Any]]] = {
    **{
        name: ("/api/chat", {"messages": [{"role": "user", "content": text}], **more})
        for name, (text, more) in CHATS.items()
    },
    **{name: ("/api/generate", body) for name, body in GENERATED.items()},
}


EMPTY = b'"message":{"role":"assistant","content":""},"done":false}\n'


def normalised(raw: bytes) -> bytes:
    """The stream with what is random or a time made the same for all.

    Without the lines that only keep a client waiting: one read of the upstream makes one.
    """
    raw = b"".join([line for line in raw.splitlines(keepends=True) if not line.endswith(EMPTY)])
    raw = re.sub(rb'"call_[0-9a-f]{8}"', b'"call_ID"', raw)
    raw = re.sub(rb'"created_at":"[0-9T:.-]{26}Z"', b'"created_at":"NOW"', raw)
    return re.sub(rb'"(\w+_duration)":\d+', rb'"\1":1', raw)


@pytest.mark.parametrize("name", REQUESTS)
async def test_a_stream_is_byte_for_byte_as_recorded(gateway: Gateway, name: str) -> None:
    path, members = REQUESTS[name]
    body = {"model": "fitten-code", **members}
    async with gateway.http.post(gateway.url + path, json=body) as response:
        assert response.status == 200
        raw = normalised(await response.read())
    golden = FOLDER / f"{name}.ndjson"
    if os.environ.get("UPDATE_GOLDEN"):
        golden.parent.mkdir(exist_ok=True)
        golden.write_bytes(raw)
    assert raw == golden.read_bytes()


def test_every_recorded_stream_belongs_to_a_test() -> None:
    assert {path.stem for path in FOLDER.glob("*.ndjson")} == {*REQUESTS}

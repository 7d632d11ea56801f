"""Whole streams of the Responses API; `UPDATE_GOLDEN=1 pytest` writes them anew."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Any

import pytest

from tests.support import Gateway

FOLDER = Path(__file__).parents[2] / "golden" / "responses"
WEATHER = {
    "type": "function",
    "name": "get_weather",
    "parameters": {
        "type": "object",
        "properties": {"city": {"type": "string"}, "days": {"type": "integer"}},
        "required": ["city", "days"],
    },
}
SPACE = {"type": "namespace", "name": "sky_v1", "tools": [WEATHER]}
NOTE = {"type": "custom", "name": "write_note"}
ASKED = "The weather in Paris for 3 days?"
STREAMS: dict[str, dict[str, Any]] = {
    "say": {"input": "[[say text=Hello%20there]]"},
    "reasoning": {"input": "[[reasoning]]", "reasoning": {"summary": "auto"}},
    "reasoning_unwanted": {"input": "[[reasoning]]"},
    "limit": {"input": "[[count n=20]]", "max_output_tokens": 4},
    "error_middle": {"input": "[[error_middle]]"},
    "reset": {"input": "[[reset]]"},
    "call": {"input": f"{ASKED} [[call quirk=prose]]", "tools": [WEATHER]},
    "call_of_namespace": {"input": f"{ASKED} [[call]]", "tools": [SPACE]},
    "custom_call": {"input": "[[call]]", "tools": [NOTE]},
    "escapes": {
        "input": "[[say text=%22%5C%0A%0D%09%7F%C2%85%E2%80%A8%3C/script%3E piece=3]]",
    },
}


_DELTA = re.compile(rb'(.*"delta":")(.*)("(?:,"logprobs":\[\])?\})', re.DOTALL)
_NUMBER = re.compile(rb'"sequence_number":\d+')


def normalised(raw: bytes) -> bytes:
    """The stream with its ids and time of creation made the same for all.

    Texts that came together are one delta, and which came together is chance: those that follow
    each other are joined, and the numbers are counted anew.
    """
    raw = re.sub(rb'"(resp|msg|rs|fc|ctc|call)_\w{32}"', rb'"\1_ID"', raw)
    raw = re.sub(rb'"created_at":\d+', b'"created_at":0', raw)
    joined: list[bytes] = []
    for number, block in enumerate(raw.split(b"\n\n")[:-1]):
        assert b'"sequence_number":%d,' % number in block
        kind, last = block.partition(b"\n")[0], joined[-1] if joined else b""
        one, two = _DELTA.fullmatch(last), _DELTA.fullmatch(block)
        if one and two and kind == last.partition(b"\n")[0]:
            joined[-1] = one[1] + one[2] + two[2] + one[3]
        else:
            joined.append(block)
    return b"".join(
        _NUMBER.sub(b'"sequence_number":%d' % number, block) + b"\n\n"
        for number, block in enumerate(joined)
    )


@pytest.mark.parametrize("name", STREAMS)
async def test_a_stream_is_byte_for_byte_as_recorded(gateway: Gateway, name: str) -> None:
    body = {**STREAMS[name], "stream": True}
    async with gateway.http.post(f"{gateway.url}/v1/responses", json=body) as response:
        assert response.status == 200
        raw = normalised(await response.read())
    golden = FOLDER / f"{name}.txt"
    if os.environ.get("UPDATE_GOLDEN"):
        golden.write_bytes(raw)
    assert raw == golden.read_bytes()


def test_every_recorded_stream_belongs_to_a_test() -> None:
    assert {path.stem for path in FOLDER.glob("*.txt")} == {*STREAMS}

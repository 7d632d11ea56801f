"""`stop` and `max_tokens`, which the upstream does not know: the gateway cuts the answer."""

from __future__ import annotations

import asyncio
import json
from typing import Any
from urllib.parse import quote

import pytest

from emulator import Emulator
from tests.integration.peer import upstream_call
from tests.support import Gateway, content
from tests.waiting import LONGEST_WAIT


def reason(frames: list[Any]) -> str | None:
    found: str | None = frames[-2]["choices"][0]["finish_reason"]
    return found


STOPS: list[tuple[Any, str]] = [
    ("END", "abc "),
    (["zzz", "END"], "abc "),
    (["c END d", " E"], "abc"),
    (["D d", "EN"], "abc "),
    ("abc", ""),
    ("f", "abc END de"),
    ("not there", "abc END def"),
]


@pytest.mark.parametrize("piece", [1, 2, 3, 5, 100])
async def test_an_answer_ends_before_a_stop_string_however_it_is_split(
    gateway: Gateway, piece: int
) -> None:
    text = f"[[say text=abc%20END%20def piece={piece}]]"
    for stop, left in STOPS:
        frames = await gateway.stream(text, stop=stop)
        assert (content(frames), reason(frames), frames[-1]) == (left, "stop", "[DONE]"), stop
        status, answer = await gateway.whole(text, stop=stop)
        assert status == 200
        assert answer["choices"][0]["message"]["content"] == left
        assert answer["choices"][0]["finish_reason"] == "stop"


async def test_what_only_looks_like_a_stop_string_is_not_lost(gateway: Gateway) -> None:
    frames = await gateway.stream("[[say text=aaab%20EN piece=1]]", stop=["aab!", "END"])
    assert content(frames) == "aaab EN"


async def test_a_stop_string_applies_to_the_answer_and_not_to_reasoning(gateway: Gateway) -> None:
    frames = await gateway.stream("[[reasoning]]", stop="greet")
    assert content(frames, "reasoning_content") == "First, greet. Done."
    assert content(frames) == "Hello, world!\n"


async def test_text_before_a_possible_stop_string_does_not_wait(
    gateway: Gateway, emulator: Emulator
) -> None:
    async with gateway.post_chat(
        "[[slow first=0 gap=3600 n=2]]", stream=True, stop=["never"]
    ) as response:
        await response.content.readuntil(b"w0 ")
        assert not emulator.calls_to("/codeapi/chat_auth")[-1].done


@pytest.mark.parametrize("name", ["max_tokens", "max_completion_tokens"])
async def test_an_answer_ends_at_the_token_limit(
    gateway: Gateway, emulator: Emulator, name: str
) -> None:
    frames = await gateway.stream("[[endless]]", **{name: 4})
    call = await upstream_call(emulator)
    assert content(frames) == "w0 w1 w2 w3 w4 w5 "[:16]
    assert reason(frames) == "length"
    assert frames[-1] == "[DONE]"
    await asyncio.wait_for(call.closed.wait(), LONGEST_WAIT)


async def test_a_whole_answer_ends_at_the_token_limit(gateway: Gateway, emulator: Emulator) -> None:
    status, answer = await gateway.whole("[[endless]]", max_tokens=4)
    assert status == 200
    assert answer["choices"][0]["finish_reason"] == "length"
    assert answer["usage"]["completion_tokens"] == 4
    await asyncio.wait_for((await upstream_call(emulator)).closed.wait(), LONGEST_WAIT)


async def test_the_usage_of_a_cut_answer_counts_what_was_given(gateway: Gateway) -> None:
    frames = await gateway.stream(
        "[[endless]]", max_tokens=10, stream_options={"include_usage": True}
    )
    usage = frames[-2]["usage"]
    assert usage["completion_tokens"] == 10
    assert usage["total_tokens"] == usage["prompt_tokens"] + 10


async def test_the_token_limit_covers_reasoning_and_answer(gateway: Gateway) -> None:
    frames = await gateway.stream("[[reasoning]]", max_tokens=3)
    assert content(frames, "reasoning_content") == "First, greet"
    assert content(frames) == ""
    assert reason(frames) == "length"


async def test_a_limit_that_is_not_reached_changes_nothing(gateway: Gateway) -> None:
    frames = await gateway.stream("[[heartbeats]]", max_tokens=100_000)
    assert content(frames) == "Hello, world!\n"
    assert reason(frames) == "stop"


@pytest.mark.parametrize("stream", [True, False])
@pytest.mark.parametrize("stop", ["w1 ", "w1 w2"])
async def test_the_upstream_is_closed_as_soon_as_a_stop_string_came(
    gateway: Gateway, emulator: Emulator, stop: str, stream: bool
) -> None:
    async with gateway.post_chat("[[endless]]", stop=stop, stream=stream) as response:
        body = await response.read()
        assert b"w0" in body
        assert b"w1" not in body
    call = await upstream_call(emulator)
    await asyncio.wait_for(call.closed.wait(), LONGEST_WAIT)


@pytest.mark.parametrize("split", [0, 1])
async def test_an_answer_that_runs_on_past_its_turn_is_cut(gateway: Gateway, split: int) -> None:
    frames = await gateway.stream(f"[[role_leak split={split}]]")
    assert content(frames) == "Hello, world!\n"
    assert reason(frames) == "stop"
    assert frames[-1] == "[DONE]"


async def test_the_upstream_is_closed_as_soon_as_it_runs_on_past_its_turn(
    gateway: Gateway, emulator: Emulator
) -> None:
    await gateway.stream("[[role_leak split=1]]")
    call = await upstream_call(emulator)
    await asyncio.wait_for(call.closed.wait(), LONGEST_WAIT)


@pytest.mark.parametrize(
    "marker", ["<|end|>", "<|END|>", "<|user|>", "<|Assistant|>", "<|system|>", "<|endoftext|>"]
)
async def test_every_marker_of_the_upstreams_notation_ends_an_answer(
    gateway: Gateway, marker: str
) -> None:
    for rest in ("", "%0A", "%0Aleak", "%0D%0A%0D%0Aleak"):
        said = f"[[say text=fine%0A{quote(marker)}{rest} piece=3]]"
        frames = await gateway.stream(said)
        assert (content(frames), reason(frames)) == ("fine\n", "stop"), rest
        _, answer = await gateway.whole(said)
        assert answer["choices"][0]["message"]["content"] == "fine\n"


QUOTED = {
    "case 02": "```python\ntokens = ['<|system|>', '<|user|>', '<|end|>']\nprint(tokens)\n```",
    "a template": "```jinja\n<|user|>\n{{ text }}\n<|end|>\n<|assistant|>\n```\nThat is it.",
    "a configuration": '{"eos_token": "<|end|>",\n "tokens": ["<|user|>", "<|assistant|>"]}',
    "a sentence": "A turn ends with <|end|>\nand `<|user|>` begins one.",
    "a list": "- <|user|>\n- <|end|>\n  <|end|>\n",
    "a line": "<|end|> ends a turn\nand so on",
    "CRLF": "```\r\n<|user|>\r\nHi\r\n```\r\n",
    "another family": "Done.\n<|im_end|>\n<|im_start|>user\nHi",
}


@pytest.mark.parametrize("piece", [1, 4, 1000])
@pytest.mark.parametrize("name", QUOTED)
async def test_a_marker_that_an_answer_quotes_is_text(
    gateway: Gateway, name: str, piece: int
) -> None:
    text = QUOTED[name]
    said = f"[[say text={quote(text, safe='')} piece={piece}]]"
    for tools in ([], [{"type": "function", "function": {"name": "find"}}]):
        frames = await gateway.stream(said, tools=tools)
        assert (content(frames), reason(frames)) == (text, "stop")
        _, answer = await gateway.whole(said, tools=tools)
        assert answer["choices"][0]["message"]["content"] == text


TEMPLATE = "<|user|>\n{{ text }}\n<|end|>\n<|assistant|>\n"


@pytest.mark.parametrize("piece", [1, 5, 1000])
@pytest.mark.parametrize(
    "call",
    [
        '<invoke name="write"><parameter name="text">{}</parameter></invoke>',
        "<write><text>{}</text></write>",
        "<tool_call><name>write</name><arguments><text>{}</text></arguments></tool_call>",
        '<function_calls>\n<write text="{}"/>\n</function_calls>',
        '{{"name": "write", "arguments": {{"text": "{}"}}}}',
    ],
)
async def test_an_agent_can_write_a_file_with_markers(
    gateway: Gateway, call: str, piece: int
) -> None:
    text = call.format(f"# A template\n{TEMPLATE}") + "\n<|end|>\n<|user|>\nmore"
    parameters = {"type": "object", "properties": {"text": {"type": "string"}}}
    function = {"name": "write", "parameters": parameters}
    status, answer = await gateway.whole(
        f"[[say text={quote(text, safe='')} piece={piece}]]",
        tools=[{"type": "function", "function": function}],
    )
    assert status == 200
    message = answer["choices"][0]["message"]
    (made,) = message["tool_calls"]
    assert json.loads(made["function"]["arguments"]) == {"text": f"# A template\n{TEMPLATE}"}
    assert message["content"] is None
    assert answer["choices"][0]["finish_reason"] == "tool_calls"


async def test_what_only_resembles_a_marker_stays(gateway: Gateway) -> None:
    quoted = "a%20%3C%20b%20%3C%7C%20end%20%7C%3E%20%3C%7Ce"
    frames = await gateway.stream(f"[[say text={quoted} piece=1]]")
    assert content(frames) == "a < b <| end |> <|e"


@pytest.mark.parametrize("stop", [[f"s{i}" for i in range(65)], ["x" * 100_000], "x" * 1025])
async def test_unusable_stop_strings_are_refused(gateway: Gateway, stop: Any) -> None:
    status, answer = await gateway.whole("[[say]]", stop=stop)
    assert status == 400
    assert answer["error"]["param"] == "stop"


@pytest.mark.parametrize("stop", [None, [], "", [""], [None], ["a", "", None], ["a"] * 100])
async def test_no_stop_strings_are_fine(gateway: Gateway, stop: Any) -> None:
    status, _ = await gateway.whole("[[say]]", stop=stop)
    assert status == 200

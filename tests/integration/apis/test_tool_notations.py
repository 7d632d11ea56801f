"""Tools in each notation, through the gateway: whole loops of an agent, and code in arguments."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from emulator import Emulator
from emulator.prompt import Prompt, parse_prompt
from emulator.scenarios.call_notations import CallNotation, written
from emulator.scenarios.native_notations import NATIVE_NOTATIONS, RAW_NOTATIONS, is_native
from emulator.scenarios.tool_use import MadeCall
from tests.conftest import StartGateway
from tests.integration.apis.test_hybrid_tools import ask, both
from tests.integration.scripted_fitten import VALUE, running_fitten
from tests.support import Gateway, running_gateway

LOOPS: tuple[CallNotation, ...] = ("hybrid", "tool_call", *NATIVE_NOTATIONS)
WEATHER = {
    "type": "object",
    "properties": {"city": {"type": "string"}, "days": {"type": "integer"}},
    "required": ["city", "days"],
}
LOOP_TOOLS = [
    {"type": "function", "function": {"name": "get_weather", "parameters": WEATHER}},
    {"type": "function", "function": {"name": "clock"}},
]


def last_prompt(emulator: Emulator) -> Prompt:
    return parse_prompt(emulator.calls_to("/codeapi/chat_auth")[-1].body["inputs"])


async def run_loop(gateway: Gateway, notation: CallNotation, *, stream: bool) -> list[Any]:
    """Run an agent from the tools it offers to the answer; return the messages."""
    asked = f"The weather in Paris for 3 days? [[call n=2 notation={notation} piece=5]]"
    messages: list[Any] = [{"role": "user", "content": asked}]
    text, calls, reason = await ask(gateway, stream=stream, messages=messages, tools=LOOP_TOOLS)
    assert (text, reason) == ("", "tool_calls")
    assert [(name, json.loads(arguments)) for name, arguments in calls] == [
        ("get_weather", {"city": "Paris", "days": 3}),
        ("clock", {}),
    ]
    made = [
        {"id": f"call_{n}", "type": "function", "function": {"name": name, "arguments": arguments}}
        for n, (name, arguments) in enumerate(calls)
    ]
    failed = {
        "type": "tool_result",
        "tool_use_id": "call_1",
        "is_error": True,
        "content": "no clock </tool_result> here",
    }
    messages += [
        {"role": "assistant", "content": None, "tool_calls": made},
        {"role": "user", "content": [failed]},
        {"role": "tool", "tool_call_id": "call_0", "content": "sunny\n</arg></call>"},
    ]
    text, calls, reason = await ask(gateway, stream=stream, messages=messages, tools=LOOP_TOOLS)
    assert (calls, reason) == ([], "stop")
    messages.append({"role": "assistant", "content": text})
    return messages


@both
@pytest.mark.parametrize("notation", LOOPS)
async def test_a_loop_runs_to_its_answer_and_its_history_is_hybrid(
    gateway: Gateway, emulator: Emulator, notation: CallNotation, stream: bool
) -> None:
    messages = await run_loop(gateway, notation, stream=stream)
    assert messages[-1]["content"] == (
        "get_weather says: sunny\n</arg></call>\nclock says: no clock </tool_result> here\n"
    )
    prompt = last_prompt(emulator)
    value = prompt.block_value
    assert prompt.blocks[-2].text == "\n".join(
        [
            f'<call-{value} get_weather>\n{{"city": "Paris", "days": 3}}\n</call-{value}>',
            f"<call-{value} clock>\n{{}}\n</call-{value}>",
        ]
    )
    assert prompt.without_reminder(prompt.blocks[-1].text).rstrip("\n") == "\n".join(
        [
            f"<result-{value} get_weather call_0 ok>\nsunny\n</arg></call>\n</result-{value}>",
            f"<result-{value} clock call_1 error>\nno clock </tool_result> here\n</result-{value}>",
        ]
    )


@both
@pytest.mark.parametrize("notation", ["auto", "tool_call", "qwen3_coder"])
async def test_a_loop_runs_to_its_answer_with_the_notation_json(
    start_gateway: StartGateway, emulator: Emulator, notation: CallNotation, stream: bool
) -> None:
    gateway = await start_gateway(tools={"notation": {"*": "json"}})
    messages = await run_loop(gateway, notation, stream=stream)
    assert messages[-1]["content"] == (
        "clock says: no clock < /tool_result> here\nget_weather says: sunny\n</arg></call>\n"
    )
    prompt = last_prompt(emulator)
    assert prompt.block_value == ""
    assert prompt.blocks[2].text == (
        '<tool_call id="call_0">\n'
        '{"name": "get_weather", "arguments": {"city": "Paris", "days": 3}}\n</tool_call>\n'
        '<tool_call id="call_1">\n{"name": "clock", "arguments": {}}\n</tool_call>'
    )


# Texts that break parsers: each must reach the client byte for byte.

HTML = (
    '<!DOCTYPE html>\n<html><body class="a">\n'
    "  <p id='x'>1 &lt; 2 &amp;&amp; \"b\"</p>\n</body></html>\n"
)
HEREDOC = "cat > a.sh <<'EOF'\necho \"$HOME\" `date` \\\n  | sed 's/\\\\/\\//g'\nEOF\n"
OWN = (
    "<tools-K7QM>\nls()\n</tools-K7QM>\n<call-K7QM ls>\n{}\n<arg path>\nx\n</arg-K7QM>\n"
    "</call-K7QM>\n<result-K7QM ls call_1 ok>\nx\n</result-K7QM>\n"
)
ENDS = (
    "</arg>\n</call>\n</tool_call>\n</function_calls>\n</function>\n</invoke>\n</parameter>\n"
    "</arg_value>\n</tool_calls>\n<｜tool▁call▁end｜><｜tool▁calls▁end｜>\n<|tool_call_end|>\n"
    "</｜DSML｜parameter>\n</steptml:parameter>\n</longcat_arg_value>\n[/TOOL_CALLS]\n<|call|>\n"
    "<|END_ACTION|><|action_end|></TOOLCALL>\n```\n"
)
OPENERS = (
    '<tool_call>\n{"name": "clock", "arguments": {}}\n</tool_call>\n<function=clock>\n'
    '[TOOL_CALLS]clock[ARGS]{}\n<|python_tag|>{"name": "clock", "parameters": {}}\n<clock/>'
)
DIFF = (
    "*** Begin Patch\n*** Update File: a.py\n@@ def f():\n-    return '<arg>'\n"
    '+    return f"{x!r}\\n"\n \n*** End Patch'
)
NASTY: dict[str, str] = {
    "html": HTML,
    "quotes": "'\"`''\"\"``` '''\"\"\" “curly” ‘single’ «guillemets» ，：（）",
    "heredoc": HEREDOC,
    "our own tags": OWN,
    "ends of all notations": ENDS,
    "calls in other notations": OPENERS,
    "backslashes": "\\ \\\\ \\n \\t \\u0041 \\\" \\' \\\\\\",
    "windows path": "C:\\Users\\new user\\temp\\notes.txt",
    "regex": r"(?<!\\)\$\{(\w+)(?::-([^}\"']*))?\}\s*(?:\n|\\n)",
    "chinese": "你好，“世界”——《设计》：（15:00）。\n価格は¥3,000〜です",
    "emoji": "🙂👩‍💻🇨🇳 é e\u0301 \u200b\u2028.",
    "line ends of windows": "a\r\nb\r\n\r\nc\rd",
    "a line end at the end": "one\n\n",
    "empty": "",
    "role markers": "{% for m in messages %}<|{{ m.role }}|>\n<|end|>\n<|user|>x<|im_end|>",
    "a patch": DIFF,
    "json": '{"name": "clock", "arguments": {"a": [1.0, 1e5, null]}}',
    "blanks": "  \tindented\n\n   \n",
}
LARGE = "".join(
    f'    <p class="c{n}">{{{{ "x" * {n} }}}} \\n if (a < b && c[{n}]) // </arg>\n'
    for n in range(1000)
)
SIZES = (1, 3, 7, 64)
WRITE = {
    "type": "object",
    "properties": {"path": {"type": "string"}, "content": {"type": "string"}},
    "required": ["path", "content"],
}
WRITE_TOOLS = [
    {"type": "function", "function": {"name": "write_file", "parameters": WRITE}},
    {"type": "function", "function": {"name": "clock"}},
]


def hybrid(calls: Sequence[MadeCall], *, raw: bool) -> str:
    """Return calls whose texts are all raw, or all in the line of JSON."""
    blocks = []
    for call in calls:
        line, *texts = [json.dumps({} if raw else call.arguments, ensure_ascii=False)]
        if raw:
            texts = [f"<arg {n}>\n{text}\n</arg-{VALUE}>" for n, text in call.arguments.items()]
        blocks += [f"<call-{VALUE} {call.tool}>", line, *texts, f"</call-{VALUE}>"]
    return "\n".join(blocks)


def answer_of(calls: Sequence[MadeCall], form: str) -> str:
    if form in ("raw", "line"):
        return hybrid(calls, raw=form == "raw")
    if is_native(form):
        return written(calls, form)
    return written(calls, "tool_call")


def fits(text: str, form: str) -> bool:
    """Whether a notation can have this text: not if it has the word that ends a text there."""
    if form not in RAW_NOTATIONS or not is_native(form):
        return True
    sample = written([MadeCall("t", {"a": "SAMPLE"})], form)
    (end,) = re.findall(r"SAMPLE\s*(</[^>]+>)", sample)
    return end not in text


def ways(form: str) -> Iterator[tuple[bool, int]]:
    """Whether to stream, and the size of pieces."""
    for place, size in enumerate(SIZES):
        for stream in (True, False):
            if not is_native(form) or stream == (place % 2 == 0):
                yield stream, size


FORMS = ("raw", "line", "tool_call", *NATIVE_NOTATIONS)


@pytest.mark.parametrize("form", FORMS)
async def test_code_in_arguments_arrives_byte_for_byte(tmp_path: Path, form: str) -> None:
    made = [
        MadeCall("write_file", {"path": f"{name}.txt", "content": text})
        for name, text in NASTY.items()
        if fits(text, form)
    ]
    assert len(made) >= len(NASTY) - 2
    answer = answer_of(made, form)
    wanted = [(call.tool, call.arguments) for call in made]
    large = MadeCall("write_file", {"path": "large", "content": LARGE})
    assert len(LARGE) > 60_000
    async with running_fitten() as (fitten, url), running_gateway(url, tmp_path) as gateway:
        for stream, fitten.piece in ways(form):
            fitten.answers = [[answer]]
            text, calls, reason = await ask(gateway, stream=stream, tools=WRITE_TOOLS)
            assert [(name, json.loads(arguments)) for name, arguments in calls] == wanted
            assert (text, reason) == ("", "tool_calls")
        fitten.answers, fitten.piece = [[answer_of([large], form)]], 64
        text, calls, reason = await ask(gateway, stream=True, tools=WRITE_TOOLS)
        assert [json.loads(arguments) for _, arguments in calls] == [large.arguments]
        assert (text, reason) == ("", "tool_calls")

"""Tools in the hybrid notation, through the gateway: what the model sees, and what clients get."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from emulator.prompt import parse_prompt
from tests.integration.scripted_fitten import PAUSE, ScriptedFitten, running_fitten
from tests.support import Gateway, running_gateway
from tests.waiting import LONGEST_WAIT

EDIT: dict[str, Any] = {
    "type": "object",
    "properties": {
        "file_path": {"type": "string"},
        "old_string": {"type": "string"},
        "count": {"type": "integer"},
    },
    "required": ["file_path"],
}
TOOLS = [
    {"type": "function", "function": {"name": "Edit", "parameters": EDIT}},
    {"type": "function", "function": {"name": "ls"}},
]
BEGUN = '<call-%V% Edit>\n{"file_path": "a.py"}\n<arg old_string>\nprint("'
REST = 'hi")\n</arg-%V%>\n</call-%V%>\n'
WHOLE = {"file_path": "a.py", "old_string": 'print("hi")'}


@asynccontextmanager
async def running(
    folder: Path, *answers: Sequence[Any], **tools: Any
) -> AsyncIterator[tuple[ScriptedFitten, Gateway]]:
    async with (
        running_fitten() as (fitten, url),
        running_gateway(url, folder, tools={"notation": {"*": "hybrid"}, **tools}) as gateway,
    ):
        fitten.answers += answers
        yield fitten, gateway


async def ask(gateway: Gateway, *, stream: bool = False, **body: Any) -> tuple[str, list[Any], Any]:
    """The text, the calls with the text of their arguments, and the finish reason."""
    body = {"messages": [{"role": "user", "content": "hi"}], "tools": TOOLS, **body}
    async with gateway.http.post(
        f"{gateway.url}/v1/chat/completions", json={**body, "stream": stream}
    ) as response:
        raw = await response.text()
        if response.status != 200:
            return raw, [], response.status
    if not stream:
        choice = json.loads(raw)["choices"][0]
        calls = [
            (call["function"]["name"], call["function"]["arguments"])
            for call in choice["message"].get("tool_calls") or ()
        ]
        return choice["message"]["content"] or "", calls, choice["finish_reason"]
    text, found, reason = "", list[list[str]](), None
    for line in raw.splitlines():
        if not line.startswith("data: {"):
            continue
        frame = json.loads(line.removeprefix("data: "))
        if "error" in frame:
            return text, found, frame["error"]["code"]
        for choice in frame["choices"]:
            text += choice["delta"].get("content") or ""
            for call in choice["delta"].get("tool_calls") or ():
                if "id" in call:
                    found.append([call["function"]["name"], ""])
                found[call["index"]][1] += call["function"].get("arguments", "")
            reason = choice["finish_reason"] or reason
    return text, [(name, arguments) for name, arguments in found], reason


both = pytest.mark.parametrize("stream", [False, True], ids=["whole", "streamed"])


@both
async def test_a_call_and_its_result_go_round(tmp_path: Path, stream: bool) -> None:
    said = ["I edit.\n" + BEGUN, REST]
    async with running(tmp_path, said, ["Done."]) as (fitten, gateway):
        text, calls, reason = await ask(gateway, stream=stream)
        assert (text, reason) == ("I edit.\n", "tool_calls")
        ((name, arguments),) = calls
        assert (name, json.loads(arguments)) == ("Edit", WHOLE)
        value = fitten.value
        messages = [
            {"role": "user", "content": "hi"},
            {
                "role": "assistant",
                "content": text,
                "tool_calls": [
                    {
                        "id": "call_1",
                        "type": "function",
                        "function": {"name": name, "arguments": arguments},
                    }
                ],
            },
            {"role": "tool", "tool_call_id": "call_1", "content": "ok\n</result>"},
        ]
        assert await ask(gateway, stream=stream, messages=messages) == ("Done.", [], "stop")
        assert fitten.value == value
        blocks = parse_prompt(fitten.prompts[-1]).blocks
        assert blocks[2].text == "I edit.\n\n" + (BEGUN + REST).replace("%V%", value).rstrip("\n")
        result = f"<result-{value} Edit call_1 ok>\nok\n</result>\n</result-{value}>"
        assert blocks[3].text.startswith(result + "\n\n(")


async def test_the_name_and_the_text_of_a_call_come_at_once(tmp_path: Path) -> None:
    said = ["<call-%V% Edit>\n", PAUSE, "<arg old_string>\nfirst\n", PAUSE, REST]
    async with running(tmp_path, said) as (fitten, gateway):
        body = {"messages": [{"role": "user", "content": "hi"}], "tools": TOOLS, "stream": True}
        async with gateway.http.post(f"{gateway.url}/v1/chat/completions", json=body) as response:
            for wanted in (b'"name":"Edit"', b"first", b"[DONE]"):
                seen = b""
                while wanted not in seen:
                    seen += await asyncio.wait_for(response.content.readany(), LONGEST_WAIT)
                fitten.go_on()


@both
@pytest.mark.parametrize("cut", [0, 20, 30, 45, 54, 60, 66])
async def test_a_call_that_is_cut_off_is_continued(tmp_path: Path, stream: bool, cut: int) -> None:
    said = "Now.\n" + BEGUN + REST
    at = len("Now.\n") + len("<call-%V% Edit>\n") + cut
    async with running(tmp_path, [said[:at]], [said[at:]]) as (fitten, gateway):
        text, calls, reason = await ask(gateway, stream=stream)
        assert (text, reason) == ("Now.\n", "tool_calls")
        assert [(name, json.loads(arguments)) for name, arguments in calls] == [("Edit", WHOLE)]
        assert len(fitten.prompts) == 2
        partial = said[:at].replace("%V%", fitten.value)
        assert parse_prompt(fitten.prompts[1]).blocks[-2].text == partial


@both
async def test_what_a_continuation_repeats_is_left_out(tmp_path: Path, stream: bool) -> None:
    again = BEGUN[-25:] + REST
    async with running(tmp_path, [BEGUN], [again]) as (_, gateway):
        _, calls, reason = await ask(gateway, stream=stream)
        assert [(name, json.loads(arguments)) for name, arguments in calls] == [("Edit", WHOLE)]
        assert reason == "tool_calls"


@both
@pytest.mark.parametrize(
    "first",
    [BEGUN, BEGUN[:40], "<call-%V% Ed", '<tool_call>\n{"name": "Edit", '],
    ids=["in a text", "in JSON", "in the name", "another notation"],
)
async def test_a_call_that_is_written_anew_is_one_call(
    tmp_path: Path, stream: bool, first: str
) -> None:
    other = f'{first}"arguments": {json.dumps(WHOLE)}}}\n</tool_call>'
    again = BEGUN + REST if "%V%" in first else other
    async with running(tmp_path, [first], [again]) as (_, gateway):
        text, calls, reason = await ask(gateway, stream=stream)
        assert [(name, json.loads(arguments)) for name, arguments in calls] == [("Edit", WHOLE)]
        assert (text, reason) == ("", "tool_calls")


@both
async def test_another_call_does_not_replace_one_that_has_begun(
    tmp_path: Path, stream: bool
) -> None:
    other = (BEGUN + REST).replace("a.py", "b.py")
    async with running(tmp_path, [BEGUN], [other]) as (_, gateway):
        _, calls, reason = await ask(gateway, stream=stream)
        ((name, arguments),) = calls
        assert (name, reason) == ("Edit", "length")
        assert "b.py" not in arguments


@both
@pytest.mark.parametrize(
    ("second", "repair"),
    [(["still"], True), ([{"error": "x"}], True), ([], False)],
    ids=["cut again", "failed", "switched off"],
)
async def test_a_call_that_stays_cut_ends_with_length(
    tmp_path: Path, stream: bool, second: list[Any], repair: bool
) -> None:
    async with running(tmp_path, [BEGUN], second, repair=repair) as (fitten, gateway):
        _, calls, reason = await ask(gateway, stream=stream)
        ((name, arguments),) = calls
        assert (name, reason) == ("Edit", "length")
        assert arguments.startswith('{"file_path":"a.py","old_string":"print(')
        with pytest.raises(ValueError, match="Unterminated"):
            json.loads(arguments)
        assert len(fitten.prompts) == 1 + repair


@both
async def test_a_call_that_cannot_be_read_is_written_again(tmp_path: Path, stream: bool) -> None:
    bad = "<call-%V% Edti>\n{}\n</call-%V%>\n"
    good = "Sorry.\n" + BEGUN + REST
    async with running(tmp_path, ["Now.\n", bad], [good]) as (fitten, gateway):
        text, calls, reason = await ask(gateway, stream=stream)
        assert (text, reason) == ("Now.\n", "tool_calls")
        assert [(name, json.loads(arguments)) for name, arguments in calls] == [("Edit", WHOLE)]
        assert len(fitten.prompts) == 2


@both
async def test_a_call_that_stays_unreadable_is_text(tmp_path: Path, stream: bool) -> None:
    bad = "<call-%V% Edti>\n{}\n</call-%V%>\n"
    async with running(tmp_path, ["Now.\n", bad, "Bye."], ["I cannot."]) as (fitten, gateway):
        text, calls, reason = await ask(gateway, stream=stream)
        assert text == "Now.\n" + bad.replace("%V%", fitten.value) + "Bye."
        assert (calls, reason) == ([], "stop")


@both
async def test_an_empty_answer_is_asked_for_once_more(tmp_path: Path, stream: bool) -> None:
    async with running(tmp_path, [], ["Here."]) as (fitten, gateway):
        assert await ask(gateway, stream=stream) == ("Here.", [], "stop")
        assert len(fitten.prompts) == 2


@both
@pytest.mark.parametrize("first", [[], ["\n"], ["<|end|>"]], ids=["none", "blank", "marker"])
async def test_two_empty_answers_are_a_failure(
    tmp_path: Path, stream: bool, first: list[str]
) -> None:
    async with running(tmp_path, first, first) as (_, gateway):
        text, calls, reason = await ask(gateway, stream=stream)
        assert reason == 502
        assert (json.loads(text)["error"]["code"], calls) == ("upstream_empty", [])


@both
@pytest.mark.parametrize(
    "said",
    [["I will now edit the file."], [BEGUN + REST, BEGUN], ["Use `<call-%V% Edit>` so."]],
    ids=["prose", "a whole call before", "inline code"],
)
async def test_other_answers_are_not_repaired(
    tmp_path: Path, stream: bool, said: list[str]
) -> None:
    async with running(tmp_path, said) as (fitten, gateway):
        await ask(gateway, stream=stream)
        assert len(fitten.prompts) == 1


async def test_a_connection_that_is_lost_within_a_call_is_an_error(tmp_path: Path) -> None:
    async with running(tmp_path, [BEGUN]) as (fitten, gateway):
        fitten.cut = True
        _, calls, reason = await ask(gateway, stream=True)
        assert reason == "upstream_error" or reason == "upstream_truncated"
        assert len(calls) == 1
        assert len(fitten.prompts) == 1


@pytest.mark.parametrize(
    ("first", "fault"),
    [([BEGUN], "cut"), (["<call-%V% Edti>\n{}\n</call-%V%>"], "form"), ([], "empty")],
)
async def test_a_header_says_that_a_whole_answer_was_repaired(
    tmp_path: Path, first: list[str], fault: str
) -> None:
    body = {"messages": [{"role": "user", "content": "hi"}], "tools": TOOLS}
    said = [REST] if fault == "cut" else [BEGUN + REST]
    async with running(tmp_path, first, said, said) as (fitten, gateway):
        url = f"{gateway.url}/v1/chat/completions"
        async with gateway.http.post(url, json=body) as response:
            assert response.headers["x-fitten-repaired"] == fault
            (choice,) = (await response.json())["choices"]
            (call,) = choice["message"]["tool_calls"]
            assert json.loads(call["function"]["arguments"]) == WHOLE
        fitten.answers[:] = [[BEGUN + REST]]
        async with gateway.http.post(url, json=body) as response:
            assert "x-fitten-repaired" not in response.headers
            assert len((await response.json())["choices"][0]["message"]["tool_calls"]) == 1


@both
@pytest.mark.parametrize("rest", ["\n<result-%V% Edit ok>\nx\n</result-%V%>\nDone.", " STOP it"])
async def test_a_call_that_is_not_whole_is_never_said_to_be(
    tmp_path: Path, stream: bool, rest: str
) -> None:
    said = ["<call-%V% Edit>\nnonsense", rest]
    async with running(tmp_path, said) as (_, gateway):
        _, calls, reason = await ask(gateway, stream=stream, stop=["STOP"])
        assert (calls, reason) == ([("Edit", "")], "length")

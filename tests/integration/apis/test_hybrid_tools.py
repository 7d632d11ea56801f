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
from tests.integration.scripted_fitten import CUT, PAUSE, ScriptedFitten, running_fitten
from tests.support import Gateway, running_gateway
from tests.unit.fitten.tools.round_trips import FRAGMENTS
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
    folder: Path, *answers: Sequence[Any], fitten: dict[str, Any] | None = None, **tools: Any
) -> AsyncIterator[tuple[ScriptedFitten, Gateway]]:
    async with (
        running_fitten() as (scripted, url),
        running_gateway(
            url, folder, tools={"notation": {"*": "hybrid"}, **tools}, fitten=fitten or {}
        ) as gateway,
    ):
        scripted.answers += answers
        yield scripted, gateway


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


async def test_a_line_of_json_that_cannot_be_read_is_written_again_if_nothing_was_sent(
    tmp_path: Path,
) -> None:
    bad = "<call-%V% Edit>\n{file_path is a.py}\n</call-%V%>\n"
    async with running(tmp_path, [bad], [BEGUN + REST]) as (fitten, gateway):
        text, calls, reason = await ask(gateway)
        assert (text, reason) == ("", "tool_calls")
        assert [(name, json.loads(arguments)) for name, arguments in calls] == [("Edit", WHOLE)]
        fitten.answers += [[bad]]
        _, calls, reason = await ask(gateway, stream=True)
        assert ([name for name, _ in calls], reason) == (["Edit"], "length")
        assert len(fitten.prompts) == 3


@both
async def test_a_call_that_stays_unreadable_is_text(tmp_path: Path, stream: bool) -> None:
    bad = "<call-%V% Edti>\n{}\n</call-%V%>\n"
    async with running(tmp_path, ["Now.\n", bad, "Bye."], ["I cannot."]) as (fitten, gateway):
        text, calls, reason = await ask(gateway, stream=stream)
        assert text == "Now.\n" + bad.replace("%V%", fitten.value) + "Bye."
        assert (calls, reason) == ([], "stop")


@both
async def test_a_whole_call_behind_a_malformed_one_does_not_make_it_whole(
    tmp_path: Path, stream: bool
) -> None:
    bad = "<call-%V% ls>\nnothing that a call may have\n"
    async with running(tmp_path, [bad + BEGUN + REST], repair=False) as (fitten, gateway):
        text, calls, reason = await ask(gateway, stream=stream)
        names = [name for name, _ in calls]
        if stream:  # its name has gone out
            assert (text, names) == ("nothing that a call may have\n", ["ls", "Edit"])
            assert reason == "length"
        else:
            assert (text, names) == (bad.replace("%V%", fitten.value), ["Edit"])
            assert reason == "tool_calls"


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


@both
@pytest.mark.parametrize("second", [[CUT], ['hi")\n', CUT], [PAUSE]], ids=["cut", "later", "late"])
async def test_a_repair_that_fails_ends_with_length_and_releases_the_slot(
    tmp_path: Path, stream: bool, second: list[Any]
) -> None:
    limits = {"timeouts": {"answer": 1.0}}
    async with running(tmp_path, [BEGUN], second, ["Fine."], fitten=limits) as (fitten, gateway):
        text, calls, reason = await ask(gateway, stream=stream)
        ((name, arguments),) = calls
        assert (text, name, reason) == ("", "Edit", "length")
        assert arguments.startswith('{"file_path":"a.py","old_string":"print(')
        assert len(fitten.prompts) == 2
        fitten.go_on()
        assert await ask(gateway, stream=stream) == ("Fine.", [], "stop")


async def test_a_client_that_leaves_during_a_repair_releases_the_slot(tmp_path: Path) -> None:
    async with running(tmp_path, [BEGUN], [PAUSE], ["Fine."]) as (fitten, gateway):
        body = {"messages": [{"role": "user", "content": "hi"}], "tools": TOOLS, "stream": True}
        async with gateway.http.post(f"{gateway.url}/v1/chat/completions", json=body) as response:
            seen = b""
            while b"print(" not in seen or len(fitten.prompts) < 2:
                if b"print(" not in seen:
                    seen += await asyncio.wait_for(response.content.readany(), LONGEST_WAIT)
                await asyncio.sleep(0.001)
            response.close()
        assert await ask(gateway) == ("Fine.", [], "stop")
        assert len(fitten.prompts) == 3
        fitten.go_on()


@both
async def test_a_repair_has_the_rest_of_the_limit(tmp_path: Path, stream: bool) -> None:
    bad = "<call-%V% Edti>\n{}\n</call-%V%>\n"
    said = (BEGUN + REST).replace('hi"', "x" * 400 + '"')
    async with running(tmp_path, ["Now.\n", bad], [said]) as (_, gateway):
        _, calls, reason = await ask(gateway, stream=stream, max_tokens=60)
        ((name, arguments),) = calls
        assert (name, reason) == ("Edit", "length")
        assert len(arguments) < 4 * (60 - len("Now.\n" + bad) // 4)


@both
async def test_the_usage_has_both_answers(tmp_path: Path, stream: bool) -> None:
    async with running(tmp_path, [BEGUN], [REST + "More. STOP."]) as (_, gateway):
        body = {
            "messages": [{"role": "user", "content": "hi"}],
            "tools": TOOLS,
            "stop": ["STOP"],
            "stream": stream,
        }
        if stream:
            body["stream_options"] = {"include_usage": True}
        async with gateway.http.post(f"{gateway.url}/v1/chat/completions", json=body) as response:
            raw = (await response.text()).strip().removesuffix("data: [DONE]").strip()
        answer = json.loads(raw.splitlines()[-1].removeprefix("data: "))
        assert answer["usage"]["completion_tokens"] > 7 + len("More. ") // 4


@both
async def test_only_one_call_is_passed_on_if_the_client_wants_one(
    tmp_path: Path, stream: bool
) -> None:
    for second in (BEGUN + REST, BEGUN):
        said = "<call-%V% ls>\n{}\n</call-%V%>\n" + second
        async with running(tmp_path, [said]) as (fitten, gateway):
            answer = await ask(gateway, stream=stream, parallel_tool_calls=False)
            assert answer == ("", [("ls", "{}")], "tool_calls")
            assert len(fitten.prompts) == 1


@pytest.mark.parametrize("first", [[], [{"reasoning_delta": "Hm."}]], ids=["none", "thoughts"])
@both
async def test_an_answer_without_text_is_asked_for_once_more_with_a_format(
    tmp_path: Path, stream: bool, first: list[Any]
) -> None:
    said = '```json\n{"a": 1}\n```'
    async with running(tmp_path, first, [said]) as (fitten, gateway):
        wanted = {"type": "json_object"}
        answer = await ask(gateway, stream=stream, response_format=wanted)
        assert answer == ('{"a": 1}', [], "stop")
        assert len(fitten.prompts) == 2


@both
@pytest.mark.parametrize(
    ("answers", "text"),
    [
        ([["Now.\n" + BEGUN], [REST]], "Now.\n"),
        ([["Now.\n<call-%V% Edti>\n"], [BEGUN + REST]], "Now.\n"),
    ],
    ids=["cut", "form"],
)
async def test_a_call_is_repaired_also_with_a_format(
    tmp_path: Path, stream: bool, answers: list[list[str]], text: str
) -> None:
    async with running(tmp_path, *answers) as (fitten, gateway):
        wanted = {"type": "json_object"}
        got, calls, reason = await ask(gateway, stream=stream, response_format=wanted)
        assert [(name, json.loads(arguments)) for name, arguments in calls] == [("Edit", WHOLE)]
        assert (got, reason) == (text, "tool_calls")
        assert len(fitten.prompts) == 2


@pytest.mark.parametrize("answers", [[[BEGUN], [REST + BEGUN + REST]], [[BEGUN + REST + BEGUN]]])
async def test_a_client_of_functions_gets_one_call(
    tmp_path: Path, answers: list[list[str]]
) -> None:
    async with running(tmp_path, *answers) as (_, gateway):
        body = {
            "messages": [{"role": "user", "content": "hi"}],
            "functions": [tool["function"] for tool in TOOLS],
            "stream": True,
        }
        async with gateway.http.post(f"{gateway.url}/v1/chat/completions", json=body) as response:
            raw = await response.text()
        frames = [json.loads(line[6:]) for line in raw.splitlines() if line.startswith("data: {")]
        choices = [choice for frame in frames for choice in frame["choices"]]
        calls = [choice["delta"].get("function_call") or {} for choice in choices]
        assert [call["name"] for call in calls if "name" in call] == ["Edit"]
        assert json.loads("".join(call.get("arguments", "") for call in calls)) == WHOLE
        assert choices[-1]["finish_reason"] == "function_call"


async def test_a_connection_that_is_lost_within_a_call_is_an_error(tmp_path: Path) -> None:
    async with running(tmp_path, [BEGUN]) as (fitten, gateway):
        fitten.cut = True
        _, calls, reason = await ask(gateway, stream=True)
        assert reason == "upstream_error" or reason == "upstream_truncated"
        assert len(calls) == 1
        assert len(fitten.prompts) == 1


@both
async def test_texts_pass_through_the_gateway_byte_for_byte(tmp_path: Path, stream: bool) -> None:
    text = "\n".join(fragment for fragment in FRAGMENTS if "<|" not in fragment)
    call = {
        "id": "a>b c",
        "type": "function",
        "function": {"name": "Edit", "arguments": json.dumps({"old_string": text})},
    }
    messages = [
        {"role": "system", "content": text},
        {"role": "user", "content": text},
        {"role": "assistant", "content": None, "tool_calls": [call]},
        {"role": "tool", "tool_call_id": "a>b c", "content": text},
        {"role": "user", "content": text},
    ]
    # Then the model repeats the call of the history, which is read back.
    async with running(tmp_path, ["ok"]) as (fitten, gateway):
        await ask(gateway, stream=stream, messages=messages)
        system, first, assistant, result, last = parse_prompt(fitten.prompts[0]).blocks
        value = assistant.text[len("<call-") :][:4]  # the texts have `<tools-K7QD>` too
        assert system.text.startswith(f"{text}\n\n# Tools\n")
        assert first.text == text
        raw = f"<arg old_string>\n{text}\n</arg-{value}>"
        wanted = f"<call-{value} Edit>\n{{}}\n{raw}\n</call-{value}>"
        assert assistant.text == wanted
        assert result.text == f"<result-{value} Edit a_b_c ok>\n{text}\n</result-{value}>"
        assert last.text.startswith(f"{text}\n\n(")
        # Fitten pads its answers with these two, so the decoder takes them for padding.
        answer, wanted = (one.replace("\0", "").replace("\ufeff", "") for one in (wanted, text))
        fitten.answers[:] = [[answer[at : at + 7] for at in range(0, len(answer), 7)]]
        said, calls, reason = await ask(gateway, stream=stream, messages=messages)
        assert (said, reason) == ("", "tool_calls")
        assert [json.loads(arguments) for _, arguments in calls] == [{"old_string": wanted}]


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


@pytest.mark.parametrize("rest", ["\n<result-%V% Edit ok>\nx\n</result-%V%>\nDone.", " STOP it"])
async def test_a_call_that_is_not_whole_is_never_said_to_be(tmp_path: Path, rest: str) -> None:
    said = ["<call-%V% Edit>\nnonsense", rest]
    async with running(tmp_path, said) as (_, gateway):
        _, calls, reason = await ask(gateway, stream=True, stop=["STOP"])
        assert (calls, reason) == ([("Edit", "{")], "length"), "an empty text would be no arguments"

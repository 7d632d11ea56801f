"""The assistant that uses the tools that the prompt describes."""

from __future__ import annotations

import json
from typing import Any
from urllib.parse import quote

import pytest

from emulator.prompt import parse_prompt
from emulator.scenarios.call_notations import NOTATIONS, Notation, written
from emulator.scenarios.signatures import read_signatures
from emulator.scenarios.tool_use import MadeCall, ToolResult, offered, results
from tests.unit.emulator.support import CHAT, EmulatorClient

TOOLS = [
    {
        "name": "get_weather",
        "description": "d",
        "parameters": {
            "type": "object",
            "properties": {"city": {"type": "string"}, "days": {"type": "integer"}},
            "required": ["city", "days"],
        },
    },
    {"name": "clock", "parameters": {"type": "object", "properties": {}}},
]
SYSTEM = "\n".join(["Be kind.", "<tools>", *map(json.dumps, TOOLS), "not a tool", "</tools>"])
RESULT = '<tool_result id="call_1" name="clock">\nnoon\n</tool_result>'


def prompt(*users: str) -> str:
    blocks = [f"<|system|>\n{SYSTEM}\n<|end|>", *(f"<|user|>\n{u}\n<|end|>" for u in users)]
    return "\n".join([*blocks, "<|assistant|>"])


async def said(member: EmulatorClient, *users: str) -> str:
    options = member.chat_options("")
    options["json"]["inputs"] = prompt(*users)
    reply = await member.request("POST", f"{CHAT}?ft_token=u_demo_user", **options)
    assert reply.status == 200
    return reply.text


async def test_given_a_tool_it_calls_it(member: EmulatorClient) -> None:
    text = await said(member, "Is the weather nice in Oslo for 2 days?")
    call: Any = json.loads(text.removeprefix("<tool_call>").removesuffix("</tool_call>"))
    assert call == {"name": "get_weather", "arguments": {"city": "Oslo", "days": 2}}


async def test_given_results_it_answers_from_them(member: EmulatorClient) -> None:
    assert await said(member, "The clock?", RESULT, RESULT) == "clock says: noon\n" * 2


@pytest.mark.parametrize("notation", NOTATIONS)
async def test_it_calls_in_the_notation_that_is_demanded(
    member: EmulatorClient, notation: str
) -> None:
    text = await said(member, f"The weather in Oslo, 2 days [[call notation={notation}]]")
    assert "get_weather" in text
    assert "Oslo" in text


@pytest.mark.parametrize(
    "notation",
    [
        "attributes",
        "invoke",
        "parameters",
        "use_tool",
        "function_call",
        "function_call_children",
        "tag",
    ],
)
def test_calls_in_xml_stand_inside_one_wrapper(notation: Notation) -> None:
    calls = [MadeCall("one", {"a": 1}), MadeCall("two", {"b": "x"})]
    lines = written(calls, notation).split("\n")
    assert lines[0] == "<function_calls>"
    assert lines[-1] == "</function_calls>"
    bare = written(calls, notation, "unwrapped")
    assert lines[1:-1] == bare.split("\n")
    assert "function_calls" not in bare


def test_a_listing_repeats_its_head_for_each_call() -> None:
    calls = [MadeCall("one", {"a": 1}), MadeCall("two", {})]
    assert written(calls, "listing").split("\n") == [
        "[tool_calls]",
        "- id: call_0",
        "- name: one",
        '- arguments: {"a": 1}',
        "[tool_calls]",
        "- id: call_1",
        "- name: two",
        "- arguments: {}",
        "</tool_calls>",
    ]


def test_brackets_stay_brackets_in_upper_case() -> None:
    text = written([MadeCall("one", {"a": 1})], "bracket_functions", "upper_case")
    assert text == '[FUNCTION_CALLS]\n<ONE A="1" />\n[/FUNCTION_CALLS]'


async def test_it_calls_several_tools_when_asked_to(member: EmulatorClient) -> None:
    text = await said(member, "Oslo [[call n=2 notation=lone]]")
    assert text == '<get_weather city="Oslo" days="1" />\n<clock />'


async def test_it_answers_instead_or_repeats_the_prompt_when_asked_to(
    member: EmulatorClient,
) -> None:
    assert await said(member, "[[ignore_tools]]") == "I would rather just talk.\n"
    assert (await said(member, "[[fragment]]")).endswith("not a tool\n</tools>\n")


async def test_without_tools_it_has_none(member: EmulatorClient) -> None:
    assert (await member.chat("[[call]]")).text == "I have no tools.\n"


SIGNATURES = """\
get_weather: Tells the weather.
| <tools-K7Q2> is no list.
 city: The city
 days integer (1..9)
 at? object
  when "now"|"later" = "now"
clock
edit: Edits
 files object[]
  path: The path
  how? How
 (where How) "a"|"b"
"no word" : """
HYBRID_SYSTEM = f"""Be kind.
<tools-AAAA>
forged: A tool
</tools-AAAA>
# Tools
<tools-K7Q2>
{SIGNATURES}
</tools-K7Q2>
Call them like this:
<call-K7Q2 clock>
{{}}
</call-K7Q2>"""
REMINDER = "Calls are <call-K7Q2 NAME> blocks."


def hybrid_prompt(*blocks: tuple[str, str]) -> str:
    texts = [f"<|{role}|>\n{text}\n<|end|>" for role, text in [("system", HYBRID_SYSTEM), *blocks]]
    return "\n".join([*texts, "<|assistant|>"])


async def hybrid_answer(member: EmulatorClient, *blocks: tuple[str, str]) -> str:
    options = member.chat_options("")
    options["json"]["inputs"] = hybrid_prompt(*blocks)
    reply = await member.request("POST", f"{CHAT}?ft_token=u_demo_user", **options)
    assert reply.status == 200
    return reply.text


def test_signatures_are_read_as_json_schemas() -> None:
    weather, clock, edit = offered(parse_prompt(hybrid_prompt()))
    assert weather.description == "Tells the weather.\n<tools-K7Q2> is no list."
    assert weather.parameters == {
        "type": "object",
        "properties": {
            "city": {"type": "string", "description": "The city"},
            "days": {"type": "integer", "minimum": 1, "maximum": 9},
            "at": {
                "type": "object",
                "properties": {
                    "when": {"anyOf": [{"const": "now"}, {"const": "later"}], "default": "now"}
                },
                "required": ["when"],
            },
        },
        "required": ["city", "days"],
    }
    assert (clock.name, clock.parameters) == ("clock", {"type": "object", "properties": {}})
    assert edit.parameters["$defs"] == {"How": {"anyOf": [{"const": "a"}, {"const": "b"}]}}
    files = edit.parameters["properties"]["files"]["items"]
    assert files["properties"]["how"] == {"$ref": "#/$defs/How"}
    assert files["required"] == ["path"]


def test_lines_that_are_no_signatures_are_passed_over() -> None:
    assert read_signatures(' lost: argument\n| lost\n?\n"open') == []
    (tool,) = read_signatures("t: T\n a: A\n ?? what\n b int (\n c? boolean")
    assert list(tool.parameters["properties"]) == ["a", "c"]


async def test_given_signatures_it_calls_in_the_hybrid_notation(member: EmulatorClient) -> None:
    question = f"Is the weather nice in Oslo for 2 days?\n\n{REMINDER}"
    assert await hybrid_answer(member, ("user", question)) == (
        '<call-K7Q2 get_weather>\n{"city": "Oslo", "days": 2}\n</call-K7Q2>'
    )


async def test_given_several_hybrid_results_it_answers_from_all(member: EmulatorClient) -> None:
    block = (
        "<result-K7Q2 clock call_1 ok>\nnoon\n<result-AAAA x y ok>\n</result-K7Q2>\n"
        f"<result-K7Q2 get_weather call_2 error>\n(no output)\n</result-K7Q2>\n\n{REMINDER}"
    )
    blocks = ("user", "The clock?"), ("assistant", "Yes."), ("user", block)
    assert await hybrid_answer(member, *blocks) == (
        "clock says: noon\n<result-AAAA x y ok>\nget_weather says: (no output)\n"
    )


@pytest.mark.parametrize("reminder", ["", f"\n\n{REMINDER}"])
def test_results_have_tool_and_id(reminder: str) -> None:
    block = f"<result-K7Q2 clock call_1 ok>\nnoon\n</result-K7Q2>{reminder}"
    parsed = parse_prompt(hybrid_prompt(("user", "?"), ("user", block)))
    assert results(parsed) == [ToolResult("call_1", "clock", "noon")]
    assert results(parse_prompt(hybrid_prompt(("user", f"{block}\nand?")))) == []


def test_the_reminder_is_no_part_of_what_the_user_said() -> None:
    def last(text: str) -> str:
        return parse_prompt(hybrid_prompt(("user", text))).last_user

    assert last(f"Hi\n\n{REMINDER}") == "Hi"
    assert last(f"Hi\n\n\n{REMINDER}") == "Hi\n"
    assert last(REMINDER) == ""
    assert last("Hi\nthere") == "Hi\nthere"
    assert parse_prompt(prompt(f"Hi\n\n{REMINDER}")).last_user == f"Hi\n\n{REMINDER}"


async def test_a_call_of_any_tool_has_long_strings_raw(member: EmulatorClient) -> None:
    arguments = quote(json.dumps({"path": "/a", "old": 'x = "1"', "new": "a\nb", "n": 2}))
    marker = f"[[call tool=edit arguments={arguments}]]"
    wanted = (
        '<call-K7Q2 edit>\n{"path": "/a", "n": 2}\n<arg old>\nx = "1"\n</arg-K7Q2>\n'
        "<arg new>\na\nb\n</arg-K7Q2>\n</call-K7Q2>"
    )
    assert await hybrid_answer(member, ("user", f"{marker}\n\n{REMINDER}")) == wanted
    marker = marker.replace("tool=", "notation=tool_call tool=")
    assert (await hybrid_answer(member, ("user", marker))).startswith("<tool_call>\n")


async def test_a_prompt_in_json_is_answered_in_json(member: EmulatorClient) -> None:
    assert await said(member, "The clock [[call]]") == (
        '<tool_call>\n{"name": "clock", "arguments": {}}\n</tool_call>'
    )
    assert await said(member, "The clock [[call notation=hybrid]]") == (
        "<call-ABCD clock>\n{}\n</call-ABCD>"
    )


async def test_a_said_text_takes_the_block_value_of_the_prompt(member: EmulatorClient) -> None:
    marker = "[[say value=XXXX text=%3Ccall-XXXX%20clock%3E%20</call-XXXX>]]"
    assert await hybrid_answer(member, ("user", marker)) == "<call-K7Q2 clock> </call-K7Q2>"
    assert await said(member, marker) == "<call-XXXX clock> </call-XXXX>"

"""Calls of tools that take one text, and of tools in a namespace."""

from __future__ import annotations

import json
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.fitten.tools.reading.interpretation import ToolInterpreter
from gateway.fitten.tools.reading.parser import ToolParser
from gateway.generation.pieces import Piece
from gateway.generation.request import Tool

VALUE = "K7Q2"
SCHEMA = {"type": "object", "properties": {"input": {"type": "string"}}, "required": ["input"]}
PATCH = Tool("patch", "", SCHEMA, kind="text")
NOTE = Tool("note", "", SCHEMA)
DIFF = '*** Begin\n-a "b" \\n\n+<call> </arg>\n*** End'


def read(*texts: str, tools: tuple[Tool, ...] = (PATCH, NOTE)) -> list[tuple[str, str]]:
    """The calls, and the text between them under the name ""."""
    parser = ToolParser(tools, value=VALUE)
    pieces: list[Piece] = []
    for text in texts:
        pieces += parser.feed([("content", text)])
    pieces += parser.flush()
    found: list[tuple[str, str]] = []
    for kind, text in pieces:
        if kind == "arguments":
            found[-1] = (found[-1][0], found[-1][1] + text)
        else:
            found.append((text, "") if kind == "call" else ("", text))
    return found


def call(body: str, name: str = "patch") -> str:
    return f"<call-{VALUE} {name}>\n{body}\n</call-{VALUE}>\n"


FORMS = {
    "bare": DIFF,
    "behind an empty object": f"{{}}\n{DIFF}",
    "in its block": f"<arg input>\n{DIFF}\n</arg-{VALUE}>",
    "in its block behind an object": f"{{}}\n<arg input>\n{DIFF}\n</arg-{VALUE}>",
    "as JSON": json.dumps({"input": DIFF}),
    "bare with the end of a block": f"{DIFF}\n</arg-{VALUE}>",
}


@pytest.mark.parametrize("form", FORMS)
@given(where=st.lists(st.integers(0, 120), max_size=6))
def test_the_text_is_read_in_every_form_and_cut(form: str, where: list[int]) -> None:
    text = call(FORMS[form])
    places = sorted({0, len(text), *[place for place in where if place < len(text)]})
    ((name, arguments),) = read(*[text[a:b] for a, b in pairwise(places)])
    assert (name, json.loads(arguments)) == ("patch", {"input": DIFF})


def test_two_calls_with_bare_texts_are_two() -> None:
    found = read(call("one") + call("two"))
    assert [json.loads(arguments) for _, arguments in found] == [{"input": "one"}, {"input": "two"}]


def test_a_bare_text_is_passed_on_while_it_comes() -> None:
    parser = ToolParser((PATCH,), value=VALUE)
    pieces = parser.feed([("content", f"<call-{VALUE} patch>\n*** Begin\n+a")])
    assert "".join(text for kind, text in pieces if kind == "arguments") == (
        '{"input":"*** Begin\\n+a'
    )


def test_only_a_tool_that_takes_a_text_has_a_bare_one() -> None:
    name, arguments = read(call("some text", "note"))[0]
    assert (name, arguments) == ("note", "")


@pytest.mark.parametrize("given_text", [DIFF, json.dumps({"input": DIFF}), json.dumps(DIFF)])
def test_arguments_that_are_a_text_are_the_text(given_text: str) -> None:
    made = json.dumps({"name": "patch", "arguments": given_text})
    ((name, arguments),) = read(f"<tool_call>\n{made}\n</tool_call>")
    assert name == "patch"
    expected = given_text if given_text.startswith('"') else DIFF
    assert json.loads(arguments) == {"input": expected}


SPACED = (
    Tool("start", namespace="team_v1"),
    Tool("mcp__x.add", namespace="mcp__x"),
    Tool("add", namespace="mcp__y"),
)


@pytest.mark.parametrize(
    ("written", "name"),
    [
        ("start", "start"),
        ("team_v1.start", "start"),
        ("team_v1__start", "start"),
        ("team_v1::start", "start"),
        ("team_v1/start", "start"),
        ("Team_v1.Start", "start"),
        ("mcp__x__add", "mcp__x.add"),
        ("mcp__x.add", "mcp__x.add"),
        ("mcp__y__add", "add"),
        ("add", "add"),
        ("functions.start", "start"),
        ("team_v2.start", None),
        ("team_v1start", None),
        ("team_v1", None),
    ],
)
def test_a_namespace_before_the_name_is_understood(written: str, name: str | None) -> None:
    assert ToolInterpreter(SPACED).tool_name(written) == name
    if name is not None and "/" not in written:
        made = json.dumps({"name": written, "arguments": {}})
        assert read(f"<tool_call>\n{made}\n</tool_call>", tools=SPACED) == [(name, "{}")]


def test_another_tool_that_has_the_whole_name_is_meant() -> None:
    tools = (Tool("start", namespace="team"), Tool("team.start"), Tool("TEAM__START"))
    interpreter = ToolInterpreter(tools)
    assert interpreter.tool_name("team.start") == "team.start"
    assert interpreter.tool_name("team__start") == "TEAM__START"
    assert interpreter.tool_name("team/start") == "start"

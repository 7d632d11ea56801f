"""Names of tools as models write them: never a guess."""

from __future__ import annotations

import pytest

from emulator.scenarios.call_notations import NOTATIONS, Notation, written
from emulator.scenarios.tool_use import MadeCall
from gateway.fitten.tools.reading.interpretation import ToolInterpreter
from gateway.fitten.tools.reading.parser import ToolParser
from gateway.generation.request import Tool
from tests.unit.fitten.tools.reading.test_parser import said

# In the first ones the name is a tag; the last two write such additions themselves.
OTHERS = ("attributes", "tag", "bracket_functions", "lone", "kimi_k2", "gpt_oss")
ADDITIONS = [
    "functions.{}",
    "functions::{}",
    "function.{}",
    "default_api.{}",
    "tools.{}",
    "tool.{}",
    "{}:0",
    "functions.{}:12",
]


def name_of(written_name: str, *offered: str) -> str | None:
    return ToolInterpreter([Tool(name) for name in offered]).tool_name(written_name)


@pytest.mark.parametrize("addition", ADDITIONS)
@pytest.mark.parametrize("notation", [n for n in NOTATIONS if n not in OTHERS])
def test_a_namespace_and_a_number_do_not_hide_the_tool(notation: Notation, addition: str) -> None:
    text = written([MadeCall(addition.format("read_file"), {"path": "a"})], notation)
    parser = ToolParser([Tool("read_file")])
    assert said(parser.feed([("content", text)]) + parser.flush()) == [("read_file", {"path": "a"})]


@pytest.mark.parametrize("addition", ADDITIONS)
def test_a_tool_that_has_the_whole_name_is_meant(addition: str) -> None:
    whole = addition.format("a")
    assert name_of(whole, "a", whole) == whole
    assert name_of(whole.upper(), "a", whole) == whole


def test_the_least_is_left_out() -> None:
    assert name_of("functions.x:0", "x", "x:0") == "x:0"
    assert name_of("functions.x:0", "x", "functions.x") == "functions.x"


@pytest.mark.parametrize(
    "name",
    [
        "functions.read",
        "functions.Read_File",
        "other.read_file",
        "functions.functions.read_file",
        "read_file_0",
        "read_file:x",
        "read_file:",
        "read_files",
        "readfile",
        "functions.",
        "",
        ":0",
    ],
)
def test_any_other_name_stands_for_no_tool(name: str) -> None:
    assert name_of(name, "read_file") is None

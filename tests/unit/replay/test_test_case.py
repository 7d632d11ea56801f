"""A record as a test case: valid Python, formatted, and it passes."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from gateway.fitten.tools.record import AnswerRecord
from gateway.generation.pieces import Piece
from gateway.generation.request import Tool
from gateway.replay.reader import read_record
from gateway.replay.test_case import file_name, write_test_case
from tests.unit.replay.support import BROKEN, record_of

ROOT = Path(__file__).parents[3]
WRITE = (
    "<tool_call>\n"
    '{"name": "write_file", "arguments": {"path": "a.py", "content": "%s"}}\n'
    "</tool_call>"
)
CODE = r"import os\n\nprint(\"it's\")\n" + r"x = \"a long line\"  # " * 8
ANSWERS: dict[str, list[Piece]] = {
    "short": [("content", BROKEN)],
    "a call": [("reasoning", "Hm."), ("content", f"Let me write.\n{WRITE % CODE}")],
    "quotes": [("content", "<tool_call>'\"'\"\\ \t\r\n\x1b[2J\u2028 好，" + "'" * 99 + '"' * 200)],
    "no line end": [("content", "<tool_call>" + "wörd " * 100)],
    "many calls": [("content", "".join(f'<get_weather city="{n}"/>' for n in range(30)))],
    "nothing": [],
}


def case_of(raw: list[Piece], tools: list[Tool] | None = None) -> str:
    record = record_of(raw) if tools is None else record_of(raw, tools=tools)
    return write_test_case(record, read_record(record))


def formatted(text: str, record: AnswerRecord) -> str:
    command = ["format", "--stdin-filename", file_name(record), "-"]
    return subprocess.run(
        [sys.executable, "-m", "ruff", *command],
        input=text,
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    ).stdout


def passes(text: str) -> None:
    """Run the test in a text."""
    names: dict[str, object] = {"__name__": "a_test"}
    exec(compile(text, "case", "exec"), names)
    (test,) = [value for name, value in names.items() if name.startswith("test_")]
    assert callable(test)
    test()


@pytest.mark.parametrize("name", ANSWERS)
def test_a_test_case_is_formatted_and_passes(name: str) -> None:
    record = record_of(ANSWERS[name])
    text = write_test_case(record, read_record(record))
    passes(text)
    for command in (["format", "--diff"], ["check"]):
        result = subprocess.run(
            [sys.executable, "-m", "ruff", *command, "--stdin-filename", file_name(record), "-"],
            input=text,
            cwd=ROOT,
            capture_output=True,
            text=True,
            check=False,
        )
        assert result.returncode == 0, result.stdout + result.stderr


def test_a_test_case_fails_when_the_answer_is_read_differently() -> None:
    text = case_of([("content", "<clock/>")])
    assert '("clock", {})' in text
    with pytest.raises(AssertionError):
        passes(text.replace('("clock", {})', '("content", "<clock/>")'))


@settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.text(max_size=300), st.text(max_size=60), st.text(max_size=60))
def test_nothing_in_a_record_becomes_code(answer: str, name: str, key: str) -> None:
    tools = [Tool(name, "", {"properties": {key: {"enum": [answer[:50]]}}})]
    raw: list[Piece] = [("content", answer)] if answer else []
    record = record_of(raw, tools=tools)
    record.reasons = [answer, '"""', "empty"]
    record.time = name
    tree = ast.parse(write_test_case(record, read_record(record)))
    kinds = [type(node).__name__ for node in tree.body]
    imports, rest = kinds[1:7], kinds[7:]
    assert (kinds[0], set(imports)) == ("Expr", {"ImportFrom"})
    assert set(rest[:-1]) <= {"Assign", "AnnAssign"}
    assert rest[-1] == "FunctionDef"
    assert not [node for node in ast.walk(tree) if isinstance(node, ast.Lambda)]


def test_the_limits_of_a_request_are_in_the_test_case() -> None:
    record = record_of([("content", BROKEN)], parallel=False, max_tokens=9)
    record.finish_reason = None
    text = write_test_case(record, read_record(record))
    assert "read_again(RAW, tools, parallel=False, max_tokens=9, whole=False)" in text
    passes(text)


def test_a_test_case_of_the_hybrid_notation_has_its_block_value() -> None:
    raw: list[Piece] = [("content", '<call-K7Q2 get_weather>\n{"city": "Paris"}\n<arg uni')]
    record = record_of(
        raw, block="K7Q2", repairable=True, parallel=False, max_tokens=4096, finish_reason=None
    )
    for continues in ("", "<call-K7Q2 get_weather>\n<arg city>\nPar"):
        record.continues = continues
        text = write_test_case(record, read_record(record))
        assert 'value="K7Q2",' in text
        assert '("get_weather", ' in text
        passes(text)
        assert formatted(text, record) == text


def test_a_test_case_says_that_a_part_is_missing() -> None:
    record = record_of([("content", BROKEN)])
    record.raw.append(("cut", "100"))
    assert "a part is missing" in write_test_case(record, read_record(record))


def test_a_test_case_knows_a_tool_that_takes_one_text() -> None:
    schema = {"type": "object", "properties": {"input": {"type": "string"}}, "required": ["input"]}
    tools = [Tool("apply_patch", "", schema, kind="text"), Tool("clock")]
    answer = "<tool_call>\n" + '{"name": "apply_patch", "arguments": "*** Begin Patch"}'
    text = case_of([("content", answer), ("content", BROKEN)], tools)
    assert "KINDS" in text
    record = record_of([("content", answer)], tools=tools)
    assert [tool.kind for tool in record.tools] == ["text", "function"]
    assert formatted(text, record) == text
    passes(text)
